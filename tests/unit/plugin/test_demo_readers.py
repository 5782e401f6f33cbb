"""The demonstration's readers fill worksheets in: two that err on their own, one that settles."""

import csv
from pathlib import Path
from typing import Any

from labeling.vocabulary import WHOLE
from labeling.worksheet import Sheet, adjudication, worksheet
from plugin.demo.readers import _of_images, _of_report, read_samples
from plugin.simulation.hospital import HospitalPlan, plan_hospital
from plugin.simulation.truth import LEVELS, OBSERVATIONS

PLACES = [(name, site) for name in OBSERVATIONS for site in (WHOLE, *LEVELS)]


class FakeNode:
    """Draws every subject that the plan can answer, and keeps what it is given."""

    def __init__(self, plan: HospitalPlan) -> None:
        self.plan = plan
        self.said: dict[str, dict[tuple[str, ...], dict[str, str]]] = {"report": {}, "image": {}}

    def command(self, *words: str) -> dict[str, Any]:
        return {"sample": self._sample, "disagreements": self._disputed, "import": self._import}[
            words[1]
        ](words)

    def _subjects(self, level: str) -> list[str]:
        if level == "image":
            return sorted(self.plan.awaiting)
        studies = (self.plan.studies[uid] for uid in self.plan.report_states)
        numbers = [each.header.accession_number for each in studies]
        return sorted(each for each in numbers if numbers.count(each) == 1)[:10]

    def _sample(self, words: tuple[str, ...]) -> dict[str, Any]:
        level, folder = words[3], Path(words[words.index("--output") + 1])
        folder.mkdir(parents=True)
        subjects = self._subjects(level)
        paths = [folder / f"{number}.csv" for number in (1, 2)]
        for number, path in enumerate(paths, start=1):
            sheet = Sheet(level, level, PLACES, 1)
            path.write_bytes(worksheet(sheet, subjects, number, f"reader {number}"))
        return {"sample": level, "n": len(subjects), "frame": 40, "worksheets": map(str, paths)}

    def _import(self, words: tuple[str, ...]) -> dict[str, Any]:
        with Path(words[2]).open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["state"]]
        for row in rows:
            place = (row["subject"], row["observation"], row["site"])
            self.said[words[4]].setdefault(place, {})[row["reader"]] = row["state"]
        return {"imported": len(rows)}

    def _disputed(self, words: tuple[str, ...]) -> dict[str, Any]:
        level = words[3]
        said = self.said[level]
        settled = [place for place, each in said.items() if "simulated adjudicator" in each]
        open_ = [
            place
            for place, each in said.items()
            if len(set(each.values())) > 1 and place not in settled
        ]
        if "--output" in words:
            rows = [(level, each[0], (each[1], each[2]), "a / b") for each in open_]
            Path(words[-1]).write_bytes(adjudication(level, rows, "adjudicator"))
        agreed = len(said) - len(open_) - len(settled)
        return {"agreed": agreed, "adjudicated": len(settled), "disputed": len(open_)}


def test_readers_err_on_their_own_and_what_is_settled_is_true(tmp_path: Path) -> None:
    plan = plan_hospital(3, patients=40, awaiting=6, priors=3)
    node = FakeNode(plan)
    found = read_samples(node, plan, tmp_path)
    assert (found["report"]["n"], found["image"]["n"]) == (10, 6)
    assert _of_report(plan, "a number of no study") == {}
    assert found["report"]["adjudicated"] + found["image"]["adjudicated"] > 0
    for level, truth in (("report", _of_report), ("image", _of_images)):
        assert found[level]["agreed"] + found[level]["adjudicated"] == len(node.said[level])
        readings = 0
        for (subject, *place), said in node.said[level].items():
            readings += len(said)
            known = truth(plan, subject)[place[0], place[1]]
            if "simulated adjudicator" in said:
                assert said["simulated adjudicator"] == known
            assert all(reader.startswith("simulated ") for reader in said)
        assert readings == found[level]["labels"]

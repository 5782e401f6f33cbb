"""Files of labels are judged by known ones: what is counted, what is refused, what is said."""

import hashlib
import json
from pathlib import Path

import pytest

from labeling.errors import LabelingError
from labeling.evaluation.calibration import FitRule
from labeling.schema_file import parse_schema
from labeling.thresholds import Thresholds
from labeling.thresholds import fitted_for as held_for
from labeling.truth_file import read_truth
from plugin.errors import Permanent
from plugin.scoring import FEW, ScoreJob, fit, score

SCHEMA = parse_schema(
    b"""\
name: knee
title: Knee
modality: MR
body_parts: [KNEE]
procedure: {value: "1", scheme: 99TEST, meaning: MRI of knee}
sites:
  - {id: medial, name: medial meniscus, code: {value: "2", scheme: 99TEST, meaning: medial}}
observations:
  - {id: tear, name: Tear, definition: A tear., synonyms: [],
     code: {value: "3", scheme: 99TEST, meaning: tear}}
""",
    "knee.yaml",
)
RUN = {
    "labeler": "token_scores",
    "schema": "knee",
    "schema_digest": SCHEMA.digest,
    "model_digest": "m",
    "question_digest": "q",
    "calibration_digest": "",
    "reports_sha256": "r",
}
# Present where the margin is above 0; the truth is present from 5 on.
MARGINS = {str(number): number - 4.5 for number in range(10)}
PRESENT = {name for name in MARGINS if int(name) >= 6}


def label(margin: float) -> dict:
    state = "present" if margin > 0 else "absent"
    evidence = [{"start": 0, "end": 4}] if margin > -0.25 else []
    said = {"state": state, "probability": None, "margin": margin, "evidence": evidence}
    return said | {"detail": "uncalibrated"}


def write_labels(path: Path, margins: dict[str, float], **run: str) -> Path:
    rows = [
        {"id": name, "labels": {"tear": label(margin) | {"levels": {"medial": label(margin)}}}}
        for name, margin in margins.items()
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    path.with_name(f"{path.name}.run.json").write_text(json.dumps(RUN | run), "utf-8")
    return path


def write_truth(path: Path, *more: str) -> Path:
    lines = ["level,subject,observation,site,reader,state"]
    for name in MARGINS:
        state = "present" if name in PRESENT else "absent"
        lines += [f"file,{name},tear,whole,anna,{state}", f"file,{name},tear,medial,anna,{state}"]
    path.write_text("\n".join([*lines, *more, ""]), "utf-8")
    return path


def job(folder: Path, **changed: object) -> ScoreJob:
    labels = write_labels(folder / "labels.jsonl", MARGINS)
    truth = write_truth(folder / "truth.csv")
    given = {"labels": (labels,), "truth": truth, "schema": SCHEMA, "resamples": 20}
    return ScoreJob(**(given | changed))


def test_whole_reports_and_sites_are_judged_with_intervals(tmp_path: Path) -> None:
    found = score(job(tmp_path, each_site=True))
    whole, sites = found["figures"]
    assert [(each["at"], each["n"], each["present"]) for each in (whole, sites)] == [
        ("whole", 10, 4),
        ("sites", 10, 4),
    ]
    assert whole["auroc"] == 1.0
    # Five of six are absent below the cut at 0, where one is called present.
    assert whole["balanced_accuracy"] == pytest.approx((1 + 5 / 6) / 2, abs=1e-4)
    assert whole["balanced_accuracy_low"] <= whole["balanced_accuracy"]
    assert whole["macro_f1"] == pytest.approx((8 / 9 + 10 / 11) / 2, abs=1e-4)
    assert [row["site"] for row in found["each_site"]] == ["medial"]
    assert "margin 0" in found["judged_by"]["token_scores"]
    assert any("uncalibrated" in each for each in found["cautions"])
    assert found["readers"] == ["anna"]


def test_folds_decide_by_thresholds_of_other_patients(tmp_path: Path) -> None:
    found = score(job(tmp_path, folds=5))
    assert "5-fold" in found["judged_by"]["token_scores"]
    assert not any("uncalibrated" in each for each in found["cautions"])
    decided = write_labels(tmp_path / "decided.jsonl", MARGINS, calibration_digest="c")
    with pytest.raises(Permanent, match=r"decided\.jsonl: thresholds decided these labels"):
        score(job(tmp_path, folds=5, labels=(decided,)))
    assert "thresholds c" in score(job(tmp_path, labels=(decided,)))["judged_by"]["token_scores"]


def test_a_floor_stands_beside_it_on_the_same_reports(tmp_path: Path) -> None:
    floor = {name: -margin for name, margin in MARGINS.items() if name != "9"}
    rules = write_labels(tmp_path / "rules.jsonl", floor, labeler="rules")
    found = score(job(tmp_path, labels=(tmp_path / "labels.jsonl", rules)))
    assert [(row["at"], row["labeler"]) for row in found["figures"]] == [
        ("whole", "token_scores"), ("whole", "rules"), ("sites", "token_scores"), ("sites", "rules")
    ]  # fmt: skip
    assert found["reports"] == 9
    assert found["missing"] == {"rules": ["9"]}
    assert any("1 of 10 reports have no labels of rules" in each for each in found["cautions"])
    [auroc] = [
        row for row in found["differences"] if (row["figure"], row["at"]) == ("auroc", "whole")
    ]
    assert (auroc["between"], auroc["difference"]) == ("token_scores - rules", 1.0)


def test_reports_that_nobody_judged_are_named(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "more.jsonl", MARGINS | {"x": 1.0})
    assert score(job(tmp_path, labels=(labels,)))["without_truth"] == ["x"]


def test_labels_on_which_readers_disagree_are_no_truth(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "two.csv", "file,9,tear,whole,berta,absent")
    found = score(job(tmp_path, truth=truth))
    assert (found["figures"][0]["n"], found["figures"][0]["present"]) == (9, 3)
    assert "1 labels on which readers disagree are left out" in found["cautions"]


def test_labels_of_another_schema_are_refused(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "o.jsonl", MARGINS, schema_digest="other", schema="spine")
    with pytest.raises(LabelingError, match=r"o\.jsonl: labels of schema 'spine' \(other\)"):
        score(job(tmp_path, labels=(labels,)))


def test_files_without_a_common_report_are_refused(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "other.jsonl", {"007": 1.0})
    with pytest.raises(Permanent, match=r"no report is in all files: 10 .* 1 in other\.jsonl"):
        score(job(tmp_path, labels=(labels,)))


def test_labels_of_which_nobody_noted_the_labeler_are_judged_and_fit_nothing(
    tmp_path: Path,
) -> None:
    given = job(tmp_path)
    (tmp_path / "labels.jsonl.run.json").unlink()
    found = score(given)
    assert list(found["judged_by"]) == ["labels.jsonl"]
    assert "nobody noted" in found["judged_by"]["labels.jsonl"]
    with pytest.raises(LabelingError, match="does not say what read the reports"):
        fit(given.labels[0], given.truth, SCHEMA, FitRule(), 5, tmp_path / "t.json")


def test_thresholds_of_files_hold_for_what_made_the_labels(tmp_path: Path) -> None:
    given = job(tmp_path)
    output = tmp_path / "thresholds.json"
    with pytest.raises(Permanent, match="of no stored sample, so they calibrate nothing"):
        fit(given.labels[0], given.truth, SCHEMA, FitRule(), 5, output)
    assert not output.exists()
    found = fit(given.labels[0], given.truth, SCHEMA, FitRule(), 5, output, accept_unsampled=True)
    assert found["rests_on"].startswith("agreement with report labels")
    content = output.read_text("utf-8")
    assert held_for(content) == {
        name: RUN[name] for name in ("labeler", "schema_digest", "model_digest", "question_digest")
    }
    fitted = Thresholds.from_json(content).of("tear")
    # Between the highest absent and the lowest present margin.
    assert 0.5 < (fitted.low + fitted.high) / 2 < 1.5
    assert [row["at"] for row in found["thresholds"]] == ["whole", "sites"]
    decided = write_labels(tmp_path / "d.jsonl", MARGINS, calibration_digest="c")
    with pytest.raises(Permanent, match="decided these labels"):
        fit(decided, given.truth, SCHEMA, FitRule(), 5, output)


def test_generated_truth_is_called_so(tmp_path: Path) -> None:
    rows = [
        {"id": name, "patient": name, "text": "-", "split": "test", "labels": {
            "tear": {"state": "present" if name in PRESENT else "absent",
                     "evidence": [{"start": 0, "end": 4}],
                     "levels": {"medial": {"state": "not_mentioned", "evidence": []}}}}}
        for name in MARGINS
    ]  # fmt: skip
    truth = tmp_path / "generated.jsonl"
    truth.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    found = score(job(tmp_path, truth=truth))
    assert any("say nothing of how real ones are read" in each for each in found["cautions"])
    assert found["called"].startswith("agreement with what generated reports say")
    assert score(job(tmp_path))["called"].startswith("agreement with report labels")
    assert found["evidence"][0]["touched"] == 1.0
    assert found["figures"][1]["present"] == 0
    assert found["figures"][1]["auroc"] is None
    assert any("did not read the reports of generated.jsonl" in e for e in found["cautions"])
    read = hashlib.sha256(truth.read_bytes()).hexdigest()
    labels = write_labels(tmp_path / "own.jsonl", MARGINS, reports_sha256=read)
    own = score(job(tmp_path, truth=truth, labels=(labels,)))
    assert not any("did not read" in each for each in own["cautions"])
    cautions = fit(labels, truth, SCHEMA, FitRule(), 0, tmp_path / "t.json")["cautions"]
    assert [each.partition(":")[0] for each in cautions] == [
        "the reports are generated",
        f"fewer than {FEW} positives, a cut is a guess",
    ]


def test_patients_of_a_label_source_are_kept_together(tmp_path: Path) -> None:
    rows = [{"id": name, "patient": "p", "labels": {"tear": "absent"}} for name in "12"]
    truth = tmp_path / "t.jsonl"
    truth.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    found = read_truth(truth, SCHEMA)
    assert found.names_patients
    assert {each.patient for each in found.reports.values()} == {"p"}

"""A labeler of a site that a report kills, in a real process: the file is labelled all the same."""

import json
import os
from pathlib import Path

import pytest

from labeling.settings import LabelingSettings
from labeling.thresholds import UNCALIBRATED
from plugin.errors import ChildFailed
from plugin.label_file import FileJob, label_file
from plugin.labeler_child import DIED

FRAGILE = """
import os, signal
from labeling.rules.labeler import RuleLabeler

class Fragile(RuleLabeler):
    def label_reports(self, texts):
        if any(WORD in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        if any("deep" in text for text in texts):
            raise RecursionError(texts)
        yield from super().label_reports(texts)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a package of a site, as an installation would leave it."""
    installed = tmp_path / "fragile-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: fragile\nVersion: 1.0\n")
    entry = "[radloop.labelers]\nfragile = fragile:Fragile\n"
    (installed / "entry_points.txt").write_text(entry)
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(filter(None, (str(tmp_path), before)))
    monkeypatch.setenv("PYTHONPATH", path)
    return tmp_path


def job(site: Path, word: str) -> FileJob:
    (site / "fragile.py").write_text(FRAGILE.replace("WORD", repr(word)))
    rows = {"a": "No stenosis.", "b": "deadly", "c": "L4-L5 stenosis.", "d": "deep", "e": "Normal."}
    lines = [json.dumps({"id": key, "report": text}) for key, text in rows.items()]
    reports = site / "reports.jsonl"
    reports.write_text("\n".join(lines), "utf-8")
    return FileJob(
        reports, site / "out.jsonl", "fragile", LabelingSettings(), site / "models", UNCALIBRATED
    )


def test_deadly_reports_fail_alone_and_say_why(site: Path) -> None:
    done = label_file(job(site, "deadly"), lambda _: None)
    assert (done["reports"], done["failed"]) == (5, 2)
    lines = [json.loads(each) for each in (site / "out.jsonl").read_text("utf-8").splitlines()]
    found = {line["id"]: line["labels"]["stenosis"] for line in lines}
    assert list(found) == ["a", "b", "c", "d", "e"]
    assert (found["b"]["state"], found["b"]["detail"]) == ("failed", DIED)
    assert found["c"]["state"] == "present"
    assert found["d"]["detail"].startswith("unexpected RecursionError at fragile.py, line")


def test_a_labeler_that_survives_nothing_writes_nothing(site: Path) -> None:
    with pytest.raises(ChildFailed):
        label_file(job(site, ""), lambda _: None)
    assert not (site / "out.jsonl").exists()

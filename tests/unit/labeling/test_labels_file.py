"""Files of labels and of known labels are read strictly; errors name line, not words."""

import json
from pathlib import Path

import pytest

from labeling.decision import decide
from labeling.labels_file import InvalidLabels, read_labels
from labeling.report_file import labels_of, read_reports
from labeling.schema_file import shipped_schema
from labeling.thresholds import UNCALIBRATED
from labeling.truth_file import InvalidTruth, read_truth
from tests.labeling_builders import rules_of

SPINE = shipped_schema("spine")
TEXT = "FINDINGS: Severe stenosis at L4-L5. Possible herniation. SECRET"


def line(identifier: str = "1") -> dict:
    return labels_of(identifier, decide(rules_of(SPINE).label_report(TEXT), SPINE, UNCALIBRATED))


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    odd = line("a\u2028b\x85c")
    path = write(tmp_path / "l.jsonl", line(), odd)
    found = read_labels(path, SPINE)
    assert list(found.results) == ["1", "a\u2028b\x85c"]
    assert labels_of("1", found.results["1"]) == line()
    assert (found.labeler, found.calibration_digest) == ("", "")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"labels": {}}, "line 2: its observations are not those of schema 'spine'"),
        ({"labels": "SECRET"}, "line 2: not a report with labels"),
        ({"labels": line()["labels"] | {"stenosis": "present"}}, "line 2: the sites of stenosis"),
        ({"labels": line()["labels"] | {"cancer": {"state": "SECRET"}}}, "not a label of cancer"),
        ({"id": "1"}, "line 2: the id stands twice"),
    ],
)
def test_what_is_no_label_is_refused_by_line(tmp_path: Path, changed: dict, reason: str) -> None:
    path = write(tmp_path / "l.jsonl", line(), line("2") | changed)
    with pytest.raises(InvalidLabels, match=reason) as caught:
        read_labels(path, SPINE)
    assert "SECRET" not in str(caught.value)


def test_a_note_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "l.jsonl", line())
    (tmp_path / "l.jsonl.run.json").write_text("[]")
    with pytest.raises(InvalidLabels, match="not what `radloop label` notes"):
        read_labels(path, SPINE)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", "level,subject,observation,site,reader,state\nfile,1,SECRET,whole,a,absent\n",
         "line 2: observation is not in schema spine"),
        ("t.csv", "level,subject,observation,site,reader,state\nimage,1.2,cancer,whole,a,absent\n",
         "line 2: what images show"),
        ("t.jsonl", '{"id": "1", "labels": {"SECRET": "present"}}\n',
         "line 1: 1 observations are not in schema"),
        ("t.jsonl", '{"id": "1", "labels": {"cancer": "SECRET"}}\n', "line 1: not a report with"),
        ("t.jsonl", '{"id": "1", "labels": {}}\n{"id": "1", "labels": {}}\n', "id stands twice"),
    ],
)  # fmt: skip
def test_what_is_no_truth_is_refused_by_line(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(InvalidTruth, match=reason) as caught:
        read_truth(path, SPINE)
    assert "SECRET" not in str(caught.value)


def test_reference_labels_may_be_json_lines_and_failed_ones_say_nothing(tmp_path: Path) -> None:
    row = {"level": "report", "subject": "1", "observation": "cancer", "site": "whole",
           "reader": "a", "state": "present"}  # fmt: skip
    assert read_truth(write(tmp_path / "r.jsonl", row), SPINE).readers == ("a",)
    source = write(tmp_path / "s.jsonl", {"id": "1", "labels": {"cancer": {"state": "failed"}}})
    assert read_truth(source, SPINE).reports["1"].references == {}


def test_a_label_source_can_be_labelled_by_its_texts(tmp_path: Path) -> None:
    rows = ({"id": "1", "text": "A.", "labels": {}}, {"id": "2", "report": "B.", "text": "C."})
    assert read_reports(write(tmp_path / "r.jsonl", *rows)) == [("1", "A."), ("2", "B.")]

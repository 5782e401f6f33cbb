"""Import of reference labels: every refusal, repetition, and what readers agree on."""

import csv
import hashlib
import json

import pytest
from sqlmodel import select

from labeling.errors import Permanent
from labeling.models import ReferenceLabel
from labeling.reference import import_reference_labels, reader_labels, reference_states
from labeling.reference_file import COLUMNS
from labeling.vocabulary import State
from tests.cohort_builders import NOW, SCHEMA, add_reference, blank_session, clock

GOOD = ("image", "1.2.3", "narrowing", "L4-L5", "reader 1", "present")


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


def as_csv(path, *rows, columns=COLUMNS):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def as_jsonl(path, *rows):
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in rows]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def load(session, path):
    return import_reference_labels(session, path, clock, SCHEMA)


@pytest.mark.parametrize(("write", "name"), [(as_csv, "labels.csv"), (as_jsonl, "labels.JSONL")])
def test_rows_are_imported_once(session, tmp_path, write, name):
    report = ("report", "ACC 17/b", "fracture", "whole", "reader 2", "uncertain")
    path = write(tmp_path / name, GOOD, report, GOOD)
    first = load(session, path)
    assert (first.imported, first.unchanged, first.problems) == (2, 1, ())
    again = load(session, path)
    assert (again.imported, again.unchanged, again.problems) == (0, 3, ())
    label = session.exec(select(ReferenceLabel).where(ReferenceLabel.level == "image")).one()
    assert tuple(getattr(label, column) for column in COLUMNS) == GOOD
    assert label.source_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert label.imported_at == NOW


def test_another_state_is_a_problem_and_not_an_overwrite(session, tmp_path):
    changed = (*GOOD[:5], "absent")
    load(session, as_csv(tmp_path / "first.csv", GOOD))
    result = load(session, as_csv(tmp_path / "second.csv", GOOD, changed))
    assert (result.imported, result.unchanged) == (0, 1)
    [(line, reason)] = result.problems
    assert line == 3
    assert reason == "this reader gave another state or severity here before, at level image"
    assert session.exec(select(ReferenceLabel)).one().state == "present"


def test_a_contradiction_within_one_file_is_a_problem(session, tmp_path):
    result = load(session, as_csv(tmp_path / "labels.csv", GOOD, (*GOOD[:5], "absent")))
    assert (result.imported, len(result.problems)) == (1, 1)


BAD = [
    (0, "study", "level"),
    (1, "../../x", "Study Instance UID"),
    (1, "1.02.3", "Study Instance UID"),
    (1, "1." + "1" * 63, "Study Instance UID"),
    (1, "", "Study Instance UID"),
    (2, "cancer", "observation"),
    (3, "L1-L2", "site"),
    (3, "", "site"),
    (4, "", "reader"),
    (4, "a\x00b", "reader"),
    (4, "r" * 65, "reader"),
    (5, "failed", "state"),
    (5, "Present", "state"),
    (5, "", "state"),
]


@pytest.mark.parametrize(("column", "value", "reason"), BAD)
def test_a_bad_value_is_refused_with_its_line_and_not_repeated(
    session, tmp_path, column, value, reason
):
    bad = list(GOOD)
    bad[column] = value
    result = load(session, as_jsonl(tmp_path / "labels.jsonl", GOOD, tuple(bad)))
    assert (result.imported, len(result.problems)) == (1, 1)
    assert result.problems[0].line == 2
    assert reason in result.problems[0].reason
    assert len(value) < 3 or value not in result.problems[0].reason


def test_an_accession_number_has_no_control_characters(session, tmp_path):
    bad = ("report", "A\tB", *GOOD[2:])
    assert load(session, as_jsonl(tmp_path / "labels.jsonl", bad)).problems


def test_lines_that_are_no_objects_are_named(session, tmp_path):
    path = tmp_path / "labels.jsonl"
    short = json.dumps({"level": "image"})
    deep = "[" * 100_000
    path.write_text(f"[1]\n\nnot json\n{short}\n{deep}\n", encoding="utf-8")
    assert [line for line, _ in load(session, path).problems] == [1, 3, 4, 5]


def test_a_short_row_is_named(session, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(",".join(COLUMNS) + "\nimage,1.2.3\n", encoding="utf-8-sig")
    assert load(session, path).problems == ((2, "a column is missing or not text"),)


def test_a_row_with_more_values_than_columns_is_named(session, tmp_path):
    path = as_csv(tmp_path / "labels.csv", GOOD, (*GOOD[:4], "reader 2", "absent", "present"))
    problems = load(session, path).problems
    assert problems == ((3, "more columns than the head names"),)


def test_further_columns_are_allowed(session, tmp_path):
    path = as_csv(tmp_path / "labels.csv", (*GOOD, "sure"), columns=(*COLUMNS, "comment"))
    assert load(session, path).imported == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.xlsx", b"", "ends in"),
        ("labels.csv", b"level,subject\n", "observation, site, reader, state"),
        ("labels.csv", b"", "lacks columns"),
        ("labels.csv", b"\xff\xfe", "UTF-8"),
        ("labels.csv", b'level,subject,observation,site,reader,state\n"a"b,', "line 2"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(session, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Permanent, match=message):
        load(session, path)


def test_a_missing_file_is_an_error_of_labeling(session, tmp_path):
    with pytest.raises(Permanent, match="cannot be read"):
        load(session, tmp_path / "none.csv")


def test_readers_who_disagree_leave_no_truth(session):
    here, there = ("narrowing", "L4-L5"), ("narrowing", "L5-S1")
    add_reference(session, "1.2", {here: "present", there: "absent"})
    add_reference(session, "1.2", {here: "absent", there: "absent"}, reader="reader 2")
    add_reference(session, "1.2", {here: "absent"}, reader="reader 3")
    add_reference(session, "1.3", {here: "present"})
    found = reference_states(session, "image")
    assert found["1.2"] == {here: None, there: State.ABSENT}
    assert found["1.3"] == {here: State.PRESENT}
    assert reference_states(session, "image", ["1.3", "1.9"]).keys() == {"1.3"}
    assert reference_states(session, "report") == {}


def test_readers_may_say_more(session, tmp_path):
    path = tmp_path / "labels.jsonl"
    row = dict(zip(COLUMNS, ("file", "note 1", "fracture", "whole", "r1", "present"), strict=True))
    more = {"quote": "old fracture", "blinded": "yes", "sampling": "random"}
    other = {**row, "reader": "r2", "severity": None}
    path.write_text("\n".join(map(json.dumps, ({**row, **more}, other))), encoding="utf-8")
    result = load(session, path)
    assert (result.imported, result.problems) == (2, ())
    together = reader_labels(session, "file")["note 1"]["fracture", "whole"]
    assert together.state is State.PRESENT
    assert (together.quotes, together.readers) == (("old fracture",), ("r1", "r2"))
    assert (together.blinded, together.sampling, len(together.ids)) == ("", "", 2)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("severity", "dreadful", "severity is not one of the observation's"),
        ("quote", "x" * 2001, "quote is too long"),
        ("blinded", "half", "blinded is neither yes nor no"),
        ("sampling", "a\nb", "sampling is too long or not printable"),
        ("quote", 7, "a column is missing or not text"),
    ],
)
def test_what_more_they_say_is_checked(session, tmp_path, name, value, reason):
    path = tmp_path / "labels.jsonl"
    row = {**dict(zip(COLUMNS, GOOD, strict=True)), name: value}
    path.write_text(json.dumps(row), encoding="utf-8")
    assert load(session, path).problems == ((1, reason),)

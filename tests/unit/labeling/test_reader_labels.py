"""What readers say together, and what of it may calibrate, gate and test."""

import csv

import pytest
from sqlmodel import select

from labeling.errors import Permanent
from labeling.evaluation.sampling import Drawn
from labeling.models import ReferenceLabel, ReferenceSample
from labeling.reader_labels import IN_DISPUTE, NOT_BLINDED, OF_NO_SAMPLE, TOO_FEW, reader_labels
from labeling.reference import import_reference_labels, reference_states
from labeling.reference_file import COLUMNS, read_reader_states
from labeling.reference_samples import drawn_subjects, find_sample, store_sample
from labeling.truth_file import read_truth
from labeling.vocabulary import State
from labeling.worksheet import Sheet, worksheet
from tests.cohort_builders import NOW, SCHEMA, add_reference, blank_session, clock

HERE = ("narrowing", "L4-L5")
HEAD = (*COLUMNS, "blinded", "sampling", "role")


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


def drawn(session, *subjects, readers=2, probability=0.25, level="report", seed=1):
    sample = ReferenceSample(
        digest="", level=level, design="stratified", seed=seed, frame_size=40, n=len(subjects),
        readers=readers, places=[list(HERE)], drawn_at=NOW,
    )  # fmt: skip
    each = [Drawn(subject, subject, "said", probability) for subject in subjects]
    return store_sample(session, sample, each).digest


def load(session, path, rows, sample="", level="report"):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEAD)
        for subject, reader, state, *more in rows:
            more = (*more, "", "", "")[:3]
            writer.writerow((level, subject, *HERE, reader, state, *more))
    return import_reference_labels(session, path, clock, SCHEMA, sample)


def said(session, subject="A1"):
    return reader_labels(session, "report")[subject][HERE]


def test_what_a_file_claims_of_its_sampling_makes_no_sample(session, tmp_path):
    drawn(session, "A1")
    rows = [("A1", reader, "present", "yes", "random") for reader in ("r1", "r2")]
    load(session, tmp_path / "a.csv", rows)
    label = said(session)
    assert (label.state, label.lacks, label.weight) == (State.PRESENT, OF_NO_SAMPLE, None)
    assert reference_states(session, "report", deserving=True) == {}


def test_two_blinded_readers_of_a_sample_who_agree_are_a_reference(session, tmp_path):
    digest = drawn(session, "A1", "A2")
    rows = [("A1", "r1", "present", "", "convenience"), ("A2", "r1", "absent")]
    load(session, tmp_path / "a.csv", rows, digest[:8])
    assert said(session).lacks == TOO_FEW
    result = load(session, tmp_path / "b.csv", [("A1", "r2", "present"), ("A2", "r2", "")], digest)
    assert (result.imported, result.unread, result.problems) == (1, 1, ())
    label = said(session)
    assert (label.state, label.lacks, label.weight) == (State.PRESENT, "", 4.0)
    # The record says how it was drawn, whatever the file says.
    assert (label.sampling, label.blinded) == ("stratified", "yes")
    assert said(session, "A2").lacks == TOO_FEW
    assert reference_states(session, "report", deserving=True) == {"A1": {HERE: State.PRESENT}}


def test_one_reader_suffices_where_the_sample_says_so(session, tmp_path):
    digest = drawn(session, "A1", readers=1)
    load(session, tmp_path / "a.csv", [("A1", "r1", "absent")], digest)
    assert said(session).lacks == ""


def test_a_reader_who_saw_the_machine_is_not_blinded_whatever_the_sample_says(session, tmp_path):
    digest = drawn(session, "A1", readers=1)
    load(session, tmp_path / "a.csv", [("A1", "r1", "absent", "no")], digest)
    assert said(session).lacks == NOT_BLINDED
    load(session, tmp_path / "b.csv", [("A1", "r2", "present")], digest)
    assert (said(session).state, said(session).lacks) == (State.PRESENT, "")


def test_an_adjudicator_settles_what_readers_dispute(session, tmp_path):
    digest = drawn(session, "A1")
    load(session, tmp_path / "a.csv", [("A1", "r1", "absent"), ("A1", "r2", "present")], digest)
    assert (said(session).state, said(session).lacks) == (None, IN_DISPUTE)
    again = [("A1", "r1", "absent", "", "", "adjudicator")]
    assert "other role" in load(session, tmp_path / "b.csv", again, digest).problems[0].reason
    load(session, tmp_path / "c.csv", [("A1", "r3", "absent", "", "", "adjudicator")], digest)
    label = said(session)
    assert (label.state, label.lacks, label.readers) == (State.ABSENT, "", ("r1", "r2", "r3"))
    load(session, tmp_path / "d.csv", [("A1", "r4", "present", "", "", "adjudicator")], digest)
    assert said(session).lacks == IN_DISPUTE


def test_whoever_reads_outside_the_sample_neither_adds_nor_takes_away(session, tmp_path):
    digest = drawn(session, "A1")
    load(session, tmp_path / "a.csv", [("A1", "r0", "absent"), ("A1", "r9", "present")])
    assert said(session).state is None
    load(session, tmp_path / "b.csv", [("A1", "r1", "present")], digest)
    assert (said(session).state, said(session).lacks) == (State.PRESENT, TOO_FEW)
    load(session, tmp_path / "c.csv", [("A1", "r2", "present")], digest)
    assert said(session).lacks == ""


def test_a_subject_that_was_not_drawn_is_refused(session, tmp_path):
    digest = drawn(session, "A1")
    result = load(session, tmp_path / "a.csv", [("A7", "r1", "present")], digest)
    assert [each.reason for each in result.problems] == [
        "the subject was not drawn for this sample"
    ]
    image = load(session, tmp_path / "b.csv", [("1.2", "r1", "present")], digest, level="image")
    assert len(image.problems) == 1
    assert session.exec(select(ReferenceLabel)).all() == []


def test_labels_imported_without_their_sample_can_be_tied_later_but_not_earlier_ones(
    session, tmp_path
):
    digest = drawn(session, "A1")
    rows = [("A1", "r1", "present")]
    load(session, tmp_path / "a.csv", rows)
    result = load(session, tmp_path / "a.csv", rows, digest)
    assert (result.tied, result.imported, result.unchanged) == (1, 0, 0)
    assert said(session).lacks == TOO_FEW
    again = load(session, tmp_path / "a.csv", rows, digest)
    assert (again.tied, again.unchanged) == (0, 1)
    other = drawn(session, "A1", seed=2)
    assert "another sample" in load(session, tmp_path / "a.csv", rows, other).problems[0].reason
    add_reference(session, "A2", {HERE: "present"}, level="report", sampled=False)
    late = find_sample(session, drawn(session, "A2", seed=3))
    late.drawn_at = NOW.replace(year=2027)
    session.add(late)
    early = load(session, tmp_path / "e.csv", [("A2", "reader 1", "present")], late.digest)
    assert "before the sample was drawn" in early.problems[0].reason


def test_a_sample_is_found_by_the_beginning_of_its_digest(session):
    digest = drawn(session, "A1")
    assert find_sample(session, digest[:6]).digest == digest
    for beginning in ("", digest[:5], "x" * 8):
        with pytest.raises(Permanent, match="no stored sample"):
            find_sample(session, beginning)
    assert drawn_subjects(session, "report") == {"A1"}
    assert drawn_subjects(session, "report", {"fracture"}) == set()
    assert drawn_subjects(session, "image") == set()


def test_an_adjudicator_counts_in_files_without_a_node(tmp_path):
    path = tmp_path / "read.csv"
    rows = [("r1", "present", ""), ("r2", "absent", "reader"), ("r3", "absent", "adjudicator")]
    lines = [("file", "7", *HERE, reader, state, role) for reader, state, role in rows]
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([(*COLUMNS, "role"), *lines])
    assert read_reader_states(path, SCHEMA) == {"7": {HERE: State.ABSENT}}
    truth = read_truth(path, SCHEMA)
    assert (truth.reports["7"].references[HERE].state, truth.disputed) == (State.ABSENT, 0)


def test_worksheets_hold_no_states_and_differ_in_order():
    sheet = Sheet("d" * 64, "report", [HERE, ("fracture", "whole")], seed=1)
    names = [f"A{number}" for number in range(30)]
    texts = dict.fromkeys(names, "=HYPERLINK() stenosis")
    orders = []
    for reader in (1, 2):
        content = worksheet(sheet, names, reader, f"reader {reader}", texts)
        assert content.startswith(b"\xef\xbb\xbf")
        rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
        assert len(rows) == 60
        assert {row["state"] for row in rows} == {""}
        assert {row["reader"] for row in rows} == {f"reader {reader}"}
        assert {row["report"] for row in rows} == {"'=HYPERLINK() stenosis", ""}
        orders.append(list(dict.fromkeys(row["subject"] for row in rows)))
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(names)
    assert orders[0] != orders[1]
    assert "report" not in worksheet(sheet, names, 1, "r").decode("utf-8-sig").splitlines()[
        0
    ].split(",")

import datetime as dt
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, select

from dicom_node.database import Database
from dicom_node.models import Report
from labeling.labeler import InvalidResults, LabelResult, checked
from labeling.models import Label
from labeling.runs import (
    LabelerIdentity,
    anything_readable,
    open_run,
    reports_without_labels,
    store_labels,
    texts_of,
    unread_reports,
)
from labeling.schema_file import shipped_schema
from labeling.vocabulary import State
from tests.labeling_builders import rules_of

SCHEMA = shipped_schema("spine")
LABELER = rules_of(SCHEMA)
IDENTITY = LabelerIdentity("rules", LABELER.model_digest, LABELER.prompt_digest)
NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def clock():
    return NOW


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite'}")
    SQLModel.metadata.create_all(database.engine)
    yield database
    database.close()


def report(identity, version=1, text="L4-L5 herniation.", **values):
    return Report(report_identity=identity, version=version, text=text, received_at=NOW, **values)


def test_a_run_is_opened_once_per_configuration(database):
    with database.write() as session:
        first = open_run(session, IDENTITY, SCHEMA, clock)
        again = open_run(session, IDENTITY, SCHEMA, clock)
        assert first.id == again.id
        other = replace(IDENTITY, model_digest="other")
        assert open_run(session, other, SCHEMA, clock).id != first.id
        calibrated = open_run(session, IDENTITY, SCHEMA, clock, "fitted")
        assert calibrated.id != first.id
        assert open_run(session, IDENTITY, SCHEMA, clock, "fitted").id == calibrated.id
        assert calibrated.question_digest == first.question_digest == first.prompt_digest


def test_labels_are_stored_once_and_resume_where_they_stopped(database):
    with database.write() as session:
        session.add_all([report("a"), report("b"), report("c")])
        session.flush()
        run = open_run(session, IDENTITY, SCHEMA, clock)
        waiting = reports_without_labels(session, run, limit=1)
        results = LABELER.label_report(waiting[0].text)
        assert store_labels(session, run, waiting[0].id, results, clock) == 38
        assert store_labels(session, run, waiting[0].id, results, clock) == 0
    with database.read() as session:
        assert [r.report_identity for r in reports_without_labels(session, run)] == ["b", "c"]
        label = session.exec(
            select(Label).where(Label.observation == "herniation", Label.site == "L4-L5")
        ).one()
        assert (label.state, label.evidence_start, label.evidence_end) == ("present", 0, 17)
        assert label.created_at == NOW


def test_only_current_versions_with_a_result_need_labels(database):
    with database.write() as session:
        session.add_all(
            [
                report("old", is_current=False),
                report("old", version=2, result_status="C"),
                report("cancelled", result_status="X"),
                report("empty", text=""),
            ]
        )
        session.flush()
        run = open_run(session, IDENTITY, SCHEMA, clock)
        waiting = reports_without_labels(session, run)
        assert [(r.report_identity, r.version) for r in waiting] == [("old", 2)]


@pytest.mark.parametrize("status", sorted("PRSA"))
def test_a_provisional_report_is_read_and_its_labels_say_so(database, status):
    with database.write() as session:
        session.add(report("early", result_status=status))
        session.flush()
        run = open_run(session, IDENTITY, SCHEMA, clock)
        (waiting,) = reports_without_labels(session, run)
        store_labels(session, run, waiting.id, LABELER.label_report(waiting.text), clock)
        assert {each.provisional for each in session.exec(select(Label))} == {True}


@pytest.mark.parametrize("status", sorted("WXUIOYZ"))
def test_what_carries_no_result_is_not_read(database, status):
    with database.write() as session:
        session.add(report("none", result_status=status))
        session.flush()
        assert not reports_without_labels(session, open_run(session, IDENTITY, SCHEMA, clock))


def test_a_report_that_is_corrected_while_it_is_read_is_read_anew(database):
    with database.write() as session:
        session.add(report("a", result_status="P"))
        session.flush()
        run = open_run(session, IDENTITY, SCHEMA, clock)
        (first,) = reports_without_labels(session, run)
        results = LABELER.label_report(first.text)
        first.is_current = False
        session.add(report("a", version=2, result_status="F"))
        session.flush()
        assert store_labels(session, run, first.id, results, clock) == 0
        (second,) = reports_without_labels(session, run)
        assert second.version == 2
        assert store_labels(session, run, second.id, results, clock) == len(results)
        assert {each.provisional for each in session.exec(select(Label))} == {False}
        second.is_current, first.is_current = False, True  # a late message had the last word
        session.flush()
        assert reports_without_labels(session, run) == [first]
        assert store_labels(session, run, 99, results, clock) == 0  # erased meanwhile


def test_the_database_refuses_a_second_label(database):
    with database.write() as session:
        session.add(report("a"))
        session.flush()
        run = open_run(session, IDENTITY, SCHEMA, clock)
        twice = [LabelResult("stenosis", "whole", State.ABSENT)] * 2
        with pytest.raises(IntegrityError):
            store_labels(session, run, 1, twice, clock)
        session.rollback()


def test_results_of_other_labelers_are_checked():
    text = "L4-L5 herniation."
    good = LABELER.label_report(text)
    assert checked(good, SCHEMA, text) == good
    with pytest.raises(InvalidResults, match="each observation"):
        checked(good[1:], SCHEMA, text)
    with pytest.raises(InvalidResults, match="outside"):
        checked(good, SCHEMA, text[:5])


def test_a_long_list_of_unread_reports_holds_no_texts(database):
    with database.write() as session:
        assert not anything_readable(session)
        session.add_all([report("a", result_status="F"), report("b", result_status="P")])
        session.add_all([report("c", is_current=False), report("d", result_status="X")])
        session.flush()
        assert anything_readable(session)
        run = open_run(session, IDENTITY, SCHEMA, clock)
        waiting = unread_reports(session, run)
        assert [key for key, _ in waiting] == [r.id for r in reports_without_labels(session, run)]
        (first, early), (second, later) = waiting
        assert (early, later) == (False, True)
        session.get_one(Report, second).is_current = False  # corrected meanwhile
        session.flush()
        assert texts_of(session, [first, second, 99]) == [(first, "L4-L5 herniation.")]

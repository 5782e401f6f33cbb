import datetime as dt

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, select

from dicom_node.database import Database
from dicom_node.models import Report
from labeling.labeler import InvalidResults, LabelResult, checked
from labeling.models import Label
from labeling.rules import RuleLabeler
from labeling.runs import open_run, reports_without_labels, store_labels
from labeling.schema_file import shipped_schema
from labeling.vocabulary import State

SCHEMA = shipped_schema("spine")
LABELER = RuleLabeler(SCHEMA)
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
        first = open_run(session, LABELER, SCHEMA, clock)
        again = open_run(session, LABELER, SCHEMA, clock)
        assert first.id == again.id
        other = RuleLabeler(SCHEMA)
        other.model_digest = "other"
        assert open_run(session, other, SCHEMA, clock).id != first.id


def test_labels_are_stored_once_and_resume_where_they_stopped(database):
    with database.write() as session:
        session.add_all([report("a"), report("b"), report("c")])
        session.flush()
        run = open_run(session, LABELER, SCHEMA, clock)
        waiting = reports_without_labels(session, run, limit=1)
        results = LABELER.label_report(waiting[0].text)
        assert store_labels(session, run, waiting[0].id, results, clock) == 24
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
        run = open_run(session, LABELER, SCHEMA, clock)
        waiting = reports_without_labels(session, run)
        assert [(r.report_identity, r.version) for r in waiting] == [("old", 2)]


def test_the_database_refuses_a_second_label(database):
    with database.write() as session:
        session.add(report("a"))
        session.flush()
        run = open_run(session, LABELER, SCHEMA, clock)
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

"""Fetching studies from archives: what is asked for, what comes, what is missing and why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import select

from dicom_node.retrieval.models import Backfill, PriorStudy, Retrieval, State
from dicom_node.solicited import solicited_studies
from dicom_node.studies import study_digest
from plugin.errors import Permanent
from plugin.operations import run_operation
from plugin.pipeline import held
from plugin.questions import ask
from plugin.simulation.ports import free_ports
from plugin.stages.complete import complete_study
from plugin.stages.erase import erase_patient
from plugin.stages.priors import want_priors
from plugin.stages.retrieve import Retriever
from tests.builders import mr_image, uid
from tests.cohort_builders import add_said
from tests.retrieval_builders import real_archive
from tests.retrieval_room import Room, indexed, retrieval_room, start, studies
from training.models import Model
from training.predictions import studies_to_predict
from training.settings import PredictionRule

RULE = """
[retrieval]
priors_from = "pacs"
[[prediction]]
model = "said"
priors = 2
"""


@pytest.fixture(params=["move", "get"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    with retrieval_room(tmp_path, request.param) as room:
        yield room


@pytest.fixture
def getting(tmp_path: Path) -> Iterator[Room]:
    with retrieval_room(tmp_path, "get") as room:
        yield room


def status(room: Room, name: str = "all") -> dict[str, Any]:
    return ask(room.context.settings, "backfill", {"name": name})


def test_a_list_is_fetched_and_what_is_missing_is_told(room: Room) -> None:
    room.hold(*studies(["1", "2"]))
    room.hold(*(mr_image(study=each, AccessionNumber="TWO") for each in ("3a", "3b")))
    asked = start(room, ["A-1"], ["A-2"], ["A-2"], ["NONE"], ["TWO"], ["A*"], [""])
    assert asked["asks"] == 4
    assert [(each["line"], each["reason"]) for each in asked["refused"]] == [
        (4, "the same as line 3"),
        (7, "a value with *, ? or a backslash would match others: it is not asked for"),
    ]
    room.work(6)
    assert room.states() == [State.FETCHED, State.FETCHED, State.UNKNOWN, State.SEVERAL]
    said = status(room)
    assert said["trouble"] == ""
    with pytest.raises(Permanent, match="has finished: there is nothing to stop"):
        run_operation(room.context, "backfill stop", {"name": ""}, print)
    assert (said["state"], said["studies"], said["fetched"]) == ("finished", 4, 2)
    assert [each["accession"] for each in said["missing"]] == ["NONE", "TWO"]
    assert indexed(room) == room.solicited() == {uid("study", "1"), uid("study", "2")}
    assert sorted(room.asked) == sorted(room.solicited())


def test_what_is_here_and_whole_is_not_fetched_again(room: Room) -> None:
    images = studies(["1", "2"])
    room.hold(*images)
    room.take(*images[:3])
    start(room, ["A-1"], ["A-2"])
    room.work(3)
    assert room.states() == [State.PRESENT, State.FETCHED]
    assert room.asked == [uid("study", "2")]
    assert room.solicited() == set()  # both were routed here first


def test_what_the_archive_fails_to_send_is_told(getting: Room) -> None:
    images = studies(["1"], 3)
    getting.hold(*images)
    lost = str(images[1].SOPInstanceUID)
    getting.pacs.habits.withheld = {lost}
    start(getting, ["A-1"])
    getting.work(8)
    (row,) = getting.rows()
    assert (row.state, row.arrived, row.expected) == (State.INCOMPLETE, 2, 3)
    assert (row.completed, row.failed, row.failed_uids) == (0, 1, [lost])  # of the last asking
    # The whole study once, then what was missing; when that changed nothing, nothing more.
    assert row.attempts == 2
    assert getting.pacs.retrieval.levels == ["STUDY", "IMAGE"]
    assert getting.pacs.retrieval.sent[3:] == [lost]
    getting.work(8)
    assert len(getting.asked) == 2
    getting.pacs.habits.withheld = set()
    run_operation(getting.context, "backfill resume", {"name": "all", "again": True}, print)
    getting.work(3)
    assert getting.states() == [State.FETCHED]


def test_an_archive_that_is_away_costs_no_attempt(tmp_path: Path) -> None:
    with retrieval_room(tmp_path, "get") as room:
        room.hold(*studies(["1"]))
        start(room, ["A-1"])
        room.pacs.stop()
        passed = [0.0]
        room.retriever = Retriever(room.context, monotonic=lambda: passed[0])
        for _ in range(10):
            room.retriever.attend()
            passed[0] += 1000.0
        (row,) = room.rows()
        assert (row.state, row.attempts) == (State.WAITING, 0)
        assert status(room)["trouble"] == row.detail != ""


def test_a_study_that_is_too_large_is_left_out(tmp_path: Path) -> None:
    with retrieval_room(tmp_path, "get", extra="[retrieval]\nmaximum_instances = 2\n") as room:
        room.hold(*studies(["1"], 3), *studies(["2"], 2))
        start(room, ["A-1"], ["A-2"])
        room.work(3)
        assert room.states() == [State.TOO_LARGE, State.FETCHED]
        assert room.asked == [uid("study", "2")]


def test_the_rate_and_the_hours_hold(tmp_path: Path) -> None:
    extra = '[retrieval]\nstudies_per_hour = 2\nhours = "20:00-06:00"\ntime_zone = "Asia/Tokyo"\n'
    with retrieval_room(tmp_path, "get", extra=extra) as room:
        room.hold(*studies([str(number) for number in range(5)]))
        room.pass_time(-2 * 3600)  # 10:00 UTC is 19:00 in Tokyo
        start(room, *[[f"A-{number}"] for number in range(5)])
        room.work(5, seconds=60)
        assert room.asked == []
        room.pass_time(3600)
        room.work(5, seconds=60)
        assert len(room.asked) == 2
        room.pass_time(3600)
        room.work(5, seconds=60)
        assert len(room.asked) == 4


def test_numbers_of_another_issuer_are_not_taken(getting: Room) -> None:
    getting.hold(*studies(["1"]))
    header = ["Accession Number", "Issuer"]
    start(getting, ["A-1", "OTHER"], header=header, name="other")
    start(getting, ["A-1", "RIS"], header=header, name="ours")
    getting.work(3)
    assert getting.states() == [State.UNKNOWN, State.FETCHED]


def test_a_stopped_list_asks_for_nothing(getting: Room) -> None:
    getting.hold(*studies(["1"]))
    start(getting, ["A-1"])
    assert run_operation(getting.context, "backfill stop", {"name": "all"}, print)["state"] == (
        "stopped"
    )
    getting.work(2)
    assert getting.asked == []
    run_operation(getting.context, "backfill resume", {"name": "all", "again": False}, print)
    getting.work(3)
    assert getting.states() == [State.FETCHED]


def test_a_trial_tells_and_changes_nothing(getting: Room) -> None:
    images = studies(["1", "2"])
    getting.hold(*images, mr_image(patient="P1", study="old", StudyDate="20200101"))
    getting.take(*images[2:])
    arguments = {"path": getting.file([["A-1"], ["A-2"], ["NO"]]), "peer": "pacs", "priors": 1}
    told = run_operation(getting.context, "backfill try", arguments, lambda _line: None)
    assert told["would"] == {"fetch": 1, "here already": 1, "unknown to the PACS": 1}
    assert (told["instances"], told["priors"]) == (2, 1)
    assert getting.rows() == []
    assert getting.asked == []


@pytest.mark.parametrize("way", ["move", "get"])
def test_priors_are_fetched_and_never_answered(tmp_path: Path, way: str) -> None:
    with retrieval_room(tmp_path, way) as room:
        room.pacs.habits.says_for_whom = False
        room.hold(
            mr_image(patient="P1", study="now", AccessionNumber="NOW"),
            mr_image(patient="P1", study="old", StudyDate="20200101"),
            mr_image(patient="P1", study="older", StudyDate="20190101"),
            mr_image(patient="P1", study="oldest", StudyDate="20180101"),
            mr_image(patient="P1", study="ct", StudyDate="20210101", Modality="CT"),
            mr_image(patient="P1", study="knee", StudyDate="20210101", BodyPartExamined="KNEE"),
            mr_image(patient="P1", study="later", StudyDate="20260301"),
            mr_image(patient="P1", study="twin", StudyDate="20210101", PatientBirthDate="19710101"),
            mr_image(patient="P1", study="else", StudyDate="20210101", IssuerOfPatientID="ELSE"),
            mr_image(patient="P2", study="other", StudyDate="20200101"),
        )
        start(room, ["NOW"], priors=2)
        room.work(4)
        priors = {uid("study", "old"), uid("study", "older")}
        everything = {*priors, uid("study", "now")}
        assert room.states() == [State.FETCHED] * 3
        assert indexed(room) == room.solicited() == everything
        with room.context.database.write() as session:
            pairs = session.exec(
                select(PriorStudy.study_instance_uid, PriorStudy.prior_instance_uid)
            ).all()
            assert set(pairs) == {(uid("study", "now"), each) for each in priors}
            add_said(session, uid("study", "now"), "1.2.3")
            model = session.exec(select(Model)).one()
            rule = PredictionRule(model="said")
            assert studies_to_predict(session, rule, model, everything, study_digest) == []
            assert all("asked for it" in held(session, each) for each in everything)
            for each in solicited_studies(session).values():
                session.delete(each)
            session.flush()
            found = studies_to_predict(session, rule, model, everything, study_digest)
            assert set(found) == everything  # nothing else keeps them from being predicted on
            session.rollback()


def test_priors_of_what_arrives_for_a_model_are_fetched(tmp_path: Path) -> None:
    with retrieval_room(tmp_path, "get", extra=RULE) as room:
        identity = {"patient": "P1", "IssuerOfPatientID": "HOSP"}
        room.hold(
            mr_image(study="old", StudyDate="20200101", **identity),
            mr_image(study="older", StudyDate="20190101", **identity),
        )
        room.pass_time(-86400.0)  # before the model works
        room.take(mr_image(study="x"))
        with room.context.database.write() as session:
            add_said(session, uid("study", "x"), "1.2.3.4")
        room.pass_time(86400.0)
        room.take(mr_image(study="now", **identity))
        assert want_priors(room.context) == 0  # images of it may still come
        complete_study(room.context, uid("study", "now"), by="test", reason="a test")
        assert want_priors(room.context) == 1
        assert want_priors(room.context) == 0
        room.work(4)
        assert room.states() == [State.SEARCHED, State.FETCHED, State.FETCHED]
        assert room.solicited() == {uid("study", "old"), uid("study", "older")}
        assert want_priors(room.context) == 0  # what was fetched wants no priors of its own
        shown = ask(room.context.settings, "study", {"study_instance_uid": uid("study", "now")})
        assert set(shown["priors"]) == room.solicited()
        assert ask(room.context.settings, "backfills", {})["backfills"][0]["name"] == (
            "priors-of-said"
        )


def test_a_model_that_does_not_work_wants_no_priors(tmp_path: Path) -> None:
    with retrieval_room(tmp_path, "get", extra=RULE) as room:
        room.take(mr_image(IssuerOfPatientID="HOSP"))
        assert want_priors(room.context) == 0


def test_an_erasure_takes_the_requests_along(getting: Room) -> None:
    getting.hold(
        mr_image(patient="P1", study="1"),
        mr_image(patient="P1", study="old", StudyDate="20200101"),
        mr_image(patient="P2", study="2"),
    )
    getting.take(mr_image(patient="P1", study="1", IssuerOfPatientID="HOSP"))
    start(getting, ["A-1"], ["A-2"], priors=1)
    getting.work(3)
    assert len(getting.rows()) == 3
    erase_patient(
        getting.context, issuer="HOSP", patient_id="P1", by="officer", reason="asked", dry_run=False
    )
    assert [row.accession_number for row in getting.rows()] == ["A-2"]
    with getting.context.database.read() as session:
        assert session.exec(select(PriorStudy)).all() == []


def test_a_row_that_was_erased_while_it_was_asked_about_asks_for_nothing(getting: Room) -> None:
    getting.hold(*studies(["1"]))
    start(getting, ["A-1"])

    def erase() -> None:
        with getting.context.database.write() as session:
            session.execute(sa.delete(Retrieval))

    getting.pacs.habits.before_answering = erase
    getting.work(2)
    assert getting.asked == []
    assert getting.rows() == []
    assert getting.solicited() == set()


def test_names_and_archives_are_checked(getting: Room) -> None:
    start(getting, ["A-1"])
    for values in ({"name": "all"}, {"name": "../x"}, {"name": "priors-of-x"}, {"priors": 21}):
        with pytest.raises(Permanent):
            start(getting, ["A-1"], **values)
    with pytest.raises(Permanent, match=r"all of its 2 lines are refused, line 2 because: "):
        start(getting, ["A*1"], ["B*1"], name="b")
    with pytest.raises(Permanent, match="asks for nothing"):
        start(getting, ["x"], header=["number"], name="b")
    with getting.context.database.read() as session:
        assert len(session.exec(select(Backfill)).all()) == 1


@pytest.mark.peer
@pytest.mark.parametrize("way", ["move", "get"])
@pytest.mark.parametrize("kind", ["orthanc", "dcmqrscp"])
def test_real_archives_give_studies_and_priors(tmp_path: Path, kind: str, way: str) -> None:
    (port,) = free_ports(1)
    us = ("127.0.0.1", port)
    running = real_archive(kind, tmp_path / "p", us)
    with running as pacs, retrieval_room(tmp_path, way, pacs, port=port) as room:
        room.hold(
            *studies(["1"], 3, patient="P1"),
            mr_image(patient="P1", study="old", StudyDate="20200101"),
            mr_image(patient="P1", study="knee", StudyDate="20210101", BodyPartExamined="KNEE"),
        )
        start(room, ["A-1"], ["NONE"], priors=2)
        room.work(7)
        found = {row.study_instance_uid: row.state for row in room.rows()}
        assert found[uid("study", "1")] == found[uid("study", "old")] == State.FETCHED
        assert found[""] == State.UNKNOWN
        assert set(found) <= {"", *(uid("study", each) for each in ("1", "old", "knee"))}
        assert {uid("study", "1"), uid("study", "old")} <= room.solicited()

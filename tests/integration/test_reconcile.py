"""Cohorts against a PACS: what differs becomes impact notes, what cannot be asked does not."""

import datetime as dt
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from dicom_node.errors import DicomNodeError
from dicom_node.retrieval.models import PacsDifference
from labeling.runs import LabelerIdentity, open_run
from plugin import errors
from plugin.operations import run_operation
from plugin.questions import ask
from plugin.stages.cohort import SHORTCOMINGS, freeze_cohort
from plugin.stages.complete import complete_study
from plugin.stages.ground import ground_of
from plugin.stages.impact import note_impacts
from plugin.stages.impact_question import trained_on
from plugin.stages.reconcile import NightlyReconciliation
from tests import peers
from tests.builders import mr_image, uid
from tests.cohort_builders import NOW, add_labels, add_report
from tests.hl7_builders import merge
from tests.retrieval_room import Room, retrieval_room, tell
from training.impact import Artefact
from training.impact_closing import close_note, open_notes
from training.models import TrainingRun
from training.registry import register
from training.standing import Fault

NAMES = [f"{number:02}" for number in range(12)]


def image(name: str, number: int = 0, **changes: str) -> Any:
    values = {"IssuerOfPatientID": "HOSP", **changes}
    # Each picture is another one: of twins in two folds no cohort would be frozen.
    instance = number or int(name) + 1
    return mr_image(patient=f"P{name}", study=name, instance=instance, rows=32, **values)


def images(names: list[str]) -> list[Any]:
    """One image of each study, two of study 02."""
    return [image(name) for name in names] + ([image("02", 70)] if "02" in names else [])


@contextmanager
def cohort_room(folder: Path, pacs: Any = None, extra: str = "") -> Iterator[Room]:
    """A node with a cohort of twelve studies and a model that learned from them."""
    with retrieval_room(folder, "get", pacs, extra) as room:
        context = room.context
        room.take(*images(NAMES))
        with context.database.write() as session:
            run = open_run(
                session, LabelerIdentity("rules", "m", "p"), context.schema(), context.clock
            )
            for name in NAMES:
                report = add_report(session, uid("study", name))
                add_labels(session, run, report, {("stenosis", "L4-L5"): "present"})
        for name in NAMES:
            complete_study(context, uid("study", name), by="test", reason="a test")
        assert freeze_cohort(context, "spine", "rules", SHORTCOMINGS)["members"] == len(NAMES)
        with context.database.write() as session:
            _model(session)
        assert note_impacts(context) == 0
        yield room


def _model(session: Session) -> None:
    training = TrainingRun(
        cohort_id=1, classifier="c", seed=1, code_version="t", started_at=NOW, finished_at=NOW
    )
    session.add(training)
    session.flush()
    register(
        session,
        weights_digest="1" * 64,
        name="spine",
        training_run=training,
        operating_points={},
        uid_source=lambda: "2.25.1",
        decided_by="test",
        clock=lambda: NOW,
    )


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with cohort_room(tmp_path) as room:
        yield room


def reconcile(room: Room, *, dry_run: bool = False) -> dict[str, Any]:
    arguments = {"peer": "", "dry_run": dry_run}
    return run_operation(room.context, "reconcile", arguments, lambda _line: None)


def causes(room: Room) -> list[str]:
    with room.context.database.read() as session:
        return sorted(each.cause for each in open_notes(session, Artefact.MODEL, 1))


def kinds(found: dict[str, Any]) -> dict[str, str]:
    return {each["study_instance_uid"]: each["difference"] for each in found["differences"]}


def test_a_pacs_that_holds_the_same_makes_no_note(room: Room) -> None:
    room.hold(*images(NAMES))
    found = reconcile(room)
    assert (found["compared"], found["same"], found["notes"]) == (12, 12, 0)
    assert causes(room) == []


def test_identity_existence_and_images_that_differ_are_noted(room: Room) -> None:
    others = images(NAMES[3:-1])
    room.hold(
        image("00", PatientBirthDate="19710101"),
        image("01", PatientID="ANOTHER"),
        image("02"),  # one of two
        image("11", PatientName="Renamed^Somebody"),
        *others,
    )
    trial = reconcile(room, dry_run=True)
    assert causes(room) == []
    found = reconcile(room)
    assert kinds(found) == kinds(trial)
    assert kinds(found) == {
        uid("study", "00"): "identity",
        uid("study", "01"): "identity",
        uid("study", "02"): "images",
    }
    assert causes(room) == sorted([Fault.PACS_IDENTITY, Fault.PACS_IDENTITY, Fault.PACS_IMAGES])
    assert found["notes"] > 0
    assert [each["study_instance_uid"] for each in found["hints"]] == [uid("study", "11")]
    written = json.dumps(found) + str(_rows(room))
    assert not any(word in written for word in ("ANOTHER", "19710101", "Renamed", "P00"))
    assert reconcile(room)["notes"] == 0  # the same difference is noted once


def _rows(room: Room) -> list[dict[str, Any]]:
    with room.context.database.read() as session:
        return [row.model_dump() for row in session.exec(select(PacsDifference))]


def test_what_the_pacs_lost_is_noted_and_stands_again_when_it_is_back(room: Room) -> None:
    room.hold(*images(NAMES[1:]))
    assert kinds(reconcile(room)) == {uid("study", "00"): "absent"}
    assert causes(room) == [Fault.PACS_ABSENT]
    with room.context.database.write() as session:
        said = trained_on(session, ground_of(room.context.settings), 1)
        assert said == "trained on 1 studies that the PACS does not hold any more"
        (note,) = open_notes(session, Artefact.MODEL, 1)
        close_note(session, note.id or 0, decided_by="a", reason="known", clock=room.context.clock)
    assert causes(room) == []
    room.hold(image("00"))
    assert kinds(reconcile(room)) == {}
    with room.context.database.read() as session:
        assert trained_on(session, ground_of(room.context.settings), 1) == ""


def test_a_merge_that_messages_told_is_no_difference(room: Room) -> None:
    room.hold(image("00", PatientID="NEW"), *images(NAMES[1:]))
    assert kinds(reconcile(room, dry_run=True)) == {uid("study", "00"): "identity"}
    tell(room, merge("P00^^^HOSP", "NEW^^^HOSP"))
    assert kinds(reconcile(room, dry_run=True)) == {}


def test_a_pacs_that_is_away_or_another_one_is_no_difference(room: Room) -> None:
    with pytest.raises(errors.Permanent, match="right archive"):
        reconcile(room)
    room.pacs.stop()
    with pytest.raises((errors.Transient, DicomNodeError), match="0 of 12 compared"):
        reconcile(room)
    assert _rows(room) == []
    assert causes(room) == []


def test_each_night_has_one_comparison(tmp_path: Path) -> None:
    extra = '[retrieval]\nreconcile_with = "pacs"\nreconcile_hour = 3\ntime_zone = "Asia/Tokyo"\n'
    with cohort_room(tmp_path, extra=extra) as room:
        room.hold(*images(NAMES[1:]))
        nightly = NightlyReconciliation(room.context)
        room.now[0] = dt.datetime(2026, 3, 5, 17, 59, tzinfo=dt.UTC)
        nightly.attend()
        assert causes(room) == []
        room.pass_time(120)  # 03:01 in Tokyo
        nightly.attend()
        assert causes(room) == [Fault.PACS_ABSENT]
        room.hold(image("00"))
        nightly.attend()
        assert causes(room) == [Fault.PACS_ABSENT]
        room.pass_time(86400)
        nightly.attend()
        assert causes(room) == []


@pytest.mark.peer
def test_a_patient_that_was_replaced_in_orthanc_is_noticed(tmp_path: Path) -> None:
    with (
        peers.running_orthanc(tmp_path / "pacs") as pacs,
        cohort_room(tmp_path, pacs) as room,
    ):
        room.hold(*images(NAMES))
        assert kinds(reconcile(room)) == {}
        (patient,) = post(pacs, "/tools/lookup", "P05")
        change = {
            "Replace": {"PatientID": "SOMEBODY"},
            "Keep": ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"],
            "Force": True,
            "KeepSource": False,
        }
        post(pacs, f"/patients/{patient['ID']}/modify", json.dumps(change))
        assert kinds(reconcile(room)) == {uid("study", "05"): "identity"}
        assert causes(room) == [Fault.PACS_IDENTITY]
        notes = ask(room.context.settings, "model history", {"name": "spine"})["notes"]
        assert [each["said"] for each in notes if each["open"]] == [Fault.PACS_IDENTITY]


def post(pacs: Any, path: str, body: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", pacs.http_port, timeout=30)
    try:
        connection.request("POST", path, body.encode())
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == http.client.OK, content
        return json.loads(content)
    finally:
        connection.close()

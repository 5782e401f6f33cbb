"""The same SOP Instance UID with other bytes: versions, other identities, other content."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from sqlmodel import Session, col, select

from dicom_node.database import Database
from dicom_node.errors import Permanent
from dicom_node.models import Instance, Link, Quarantined, Report, SupersededInstance, Transmission
from dicom_node.studies import frozen_studies, is_frozen, study_digest
from tests.builders import mr_image, received, uid
from tests.index_room import NOW, Room, index_database, index_room

OTHER_PIXELS = bytes(128)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with index_database(tmp_path_factory.mktemp("index")) as database:
        yield database


@pytest.fixture
def room(database: Database) -> Iterator[Room]:
    with index_room(database) as room:
        yield room


def frozen(room: Room, study: str = "S1") -> bool:
    with room.database.read() as session:
        return is_frozen(session, uid("study", study))


def current(room: Room) -> set[str]:
    with room.database.read() as session:
        return set(session.exec(select(Instance.digest)))


def superseded(room: Room) -> dict[str, str]:
    with room.database.read() as session:
        rows = session.exec(select(SupersededInstance.digest, SupersededInstance.superseded_by))
        return dict(rows.all())


def causes(room: Room) -> list[str]:
    with room.database.read() as session:
        return list(session.exec(select(Quarantined.cause).order_by(col(Quarantined.received_at))))


def digest_of(room: Room) -> str:
    with room.database.read() as session:
        return study_digest(session, uid("study", "S1"))


@pytest.mark.parametrize("together", [True, False])
def test_changed_header_makes_a_new_version(room: Room, together: bool) -> None:
    first = room.take(mr_image())
    if not together:
        room.index()
        before = digest_of(room)
    second = room.take(
        mr_image(StudyDescription="MR spine, corrected", SeriesDescription="sag T2 FS")
    )
    grown: list[str] = []
    room.index(lambda _, study: grown.append(study.study_instance_uid))

    assert current(room) == {second}
    assert superseded(room) == {first: second}
    assert grown == [uid("study", "S1")]
    assert room.store.path(first).exists()
    assert room.study().study_description == "MR spine, corrected"
    assert not frozen(room)
    assert together or digest_of(room) != before


def test_other_transfer_syntax_of_the_same_pixels_is_a_new_version(room: Room) -> None:
    first = room.take(mr_image())
    second = room.store.store(received(mr_image(), ImplicitVRLittleEndian))
    room.index()
    assert current(room) == {second}
    assert superseded(room) == {first: second}


def test_bytes_of_an_earlier_version_sent_again_change_nothing(room: Room) -> None:
    room.take(mr_image())
    room.take(mr_image(StudyDescription="corrected"))
    room.index()
    before = room.dump()
    room.take(mr_image())
    room.index()
    assert room.dump() == before


def test_study_keeps_the_times_of_all_its_versions(room: Room) -> None:
    room.take(mr_image())
    room.index()
    room.now += dt.timedelta(minutes=5)
    room.take(mr_image(StudyDescription="corrected"))
    room.index()
    study = room.study()
    assert (study.first_received_at, study.last_received_at - NOW) == (
        NOW,
        dt.timedelta(minutes=5, microseconds=1),
    )


@pytest.mark.parametrize("together", [True, False])
def test_other_content_freezes_the_study(room: Room, together: bool) -> None:
    first = room.take(mr_image())
    if not together:
        room.index()
    second = room.take(mr_image(PixelData=OTHER_PIXELS))
    room.index()
    assert current(room) == {first}
    assert causes(room) == ["content"]
    assert frozen(room)
    assert room.store.quarantined_path(second).exists()


def test_what_cannot_be_decoded_is_other_content(room: Room) -> None:
    room.take(mr_image())
    room.take(mr_image(PixelData=bytes(16)))
    room.index()
    assert causes(room) in (["content"], ["unreadable"])
    assert frozen(room)


def test_other_study_for_a_uid_freezes_both(room: Room) -> None:
    room.take(mr_image(study="A"))
    stranger = mr_image(study="B")
    stranger.SOPInstanceUID = mr_image(study="A").SOPInstanceUID
    room.take(mr_image(study="B", instance=2))
    room.take(stranger)
    room.index()
    assert causes(room) == ["place"]
    assert frozen(room, "A")
    assert frozen(room, "B")
    with room.database.read() as session:
        assert frozen_studies(session).keys() == {uid("study", "A"), uid("study", "B")}


def test_other_series_for_a_uid_freezes(room: Room) -> None:
    room.take(mr_image())
    room.take(mr_image(SeriesInstanceUID="1.2.3"))
    room.index()
    assert causes(room) == ["place"]


def corrected(instance: int, **attributes: Any) -> Dataset:
    return mr_image(patient="P9", instance=instance, **attributes)


def test_other_identity_waits_until_the_whole_study_has_come_so(room: Room) -> None:
    old = [room.take(mr_image(instance=number)) for number in range(3)]
    room.index()
    new = [room.take(corrected(number)) for number in range(2)]
    room.index()
    assert current(room) == set(old)
    assert room.study().patient_id == "P1"
    assert frozen(room)
    new.append(room.take(corrected(7)))  # an image that is new to the study waits as well
    room.index()
    assert room.study().patient_id == "P1"
    new.append(room.take(corrected(2)))
    room.index()
    assert room.study().patient_id == "P9"
    assert current(room) == set(new)
    assert superseded(room).keys() == set(old)
    assert not frozen(room)
    assert set(room.places().values()) == {"archive"}


def test_other_identity_may_come_in_one_batch_with_the_first(room: Room) -> None:
    for number in range(3):
        room.take(mr_image(instance=number))
    for number in range(3):
        room.take(corrected(number))
    room.index()
    assert room.study().patient_id == "P9"
    assert len(current(room)) == 3
    assert not frozen(room)


def test_changed_name_alone_is_another_identity(room: Room) -> None:
    room.take(mr_image(instance=1))
    room.take(mr_image(instance=2))
    room.take(mr_image(instance=1, PatientName="Right^Name"))
    room.index()
    assert causes(room) == ["identity"]
    room.take(mr_image(instance=3, PatientName="Right^Name"))
    room.take(mr_image(instance=2, PatientName="Right^Name"))
    room.index()
    assert room.study().patient_name == "Right^Name"
    assert len(current(room)) == 3


def test_two_other_identities_never_mix(room: Room) -> None:
    for number in (1, 2):
        room.take(mr_image(instance=number))
    room.take(mr_image(instance=1, patient="P2"))
    room.take(mr_image(instance=2, patient="P3"))
    room.index()
    assert room.study().patient_id == "P1"
    assert causes(room) == ["identity", "identity"]
    room.take(mr_image(instance=1, patient="P3"))
    room.index()
    assert room.study().patient_id == "P3"
    assert frozen(room)


def test_content_that_came_between_ends_the_change_of_identity(room: Room) -> None:
    room.take(mr_image(instance=1))
    room.take(corrected(2))  # new to the study: waits
    room.take(mr_image(instance=2, PixelData=OTHER_PIXELS))
    room.index()
    room.take(corrected(1))
    room.index()
    assert room.study().patient_id == "P1"
    assert causes(room) == ["content", "identity"]


def test_links_and_waiting_reports_end_with_the_identity(room: Room) -> None:
    room.take(mr_image())
    room.index()
    with room.database.write() as session:
        report = Report(report_identity="R", version=1, text="t", received_at=NOW)
        session.add(report)
        session.flush()
        session.add(
            Link(
                report_id=report.id or 0,
                study_instance_uid=uid("study", "S1"),
                state="confirmed",
                rule="",
                reason="",
                decided_by="a person",
                decided_at=NOW,
            )
        )
        for number, state in enumerate(("queued", "delivered")):
            session.add(
                Transmission(
                    sop_instance_uid=f"2.25.{number}",
                    sop_class_uid="1.2",
                    study_instance_uid=uid("study", "S1"),
                    peer="pacs",
                    path="x",
                    state=state,
                    created_at=NOW,
                )
            )
    room.take(corrected(1))
    seen: list[str] = []
    room.index(lambda session, _: seen.extend(session.exec(select(Link.state)).all()))
    assert seen == ["withdrawn"]
    with room.database.read() as session:
        states = session.exec(select(Transmission.state).order_by(col(Transmission.id))).all()
    assert states == ["failed", "delivered"]


def test_early_rows_without_identity_are_read_from_their_files(room: Room) -> None:
    for number in (1, 2):
        room.take(mr_image(instance=number))
    room.index()
    with room.database.write() as session:
        for row in session.exec(select(Instance)):
            row.declared_identity = ""
            session.add(row)
    version = room.take(mr_image(instance=1, StudyDescription="corrected"))
    room.index()
    assert version in current(room)
    room.take(corrected(1))
    room.take(corrected(2))
    room.index()
    assert room.study().patient_id == "P9"


def test_refused_bytes_that_come_properly_are_filed(room: Room) -> None:
    room.refuse(mr_image())
    room.index()
    digest = room.take(mr_image())
    room.index()
    assert current(room) == {digest}
    assert causes(room) == []
    assert room.places() == {f"{digest}.dcm": "archive"}


def test_filed_bytes_that_a_receiver_refuses_later_stay_filed(room: Room) -> None:
    digest = room.take(mr_image())
    room.index()
    before = room.dump()
    room.refuse(mr_image())
    room.index()
    assert room.dump() == before
    assert room.places() == {f"{digest}.dcm": "archive"}


def test_accepted_content_takes_the_place_and_can_be_taken_back(room: Room) -> None:
    first = room.take(mr_image())
    second = room.take(mr_image(PixelData=OTHER_PIXELS))
    room.index()
    before, places = room.dump(), room.places()
    assert room.decide("accept", second).superseded == 1
    assert current(room) == {second}
    assert superseded(room) == {first: second}
    assert not frozen(room)
    assert room.places()[f"{second}.dcm"] == "archive"
    room.decide("reject", second)
    assert current(room) == {first}
    assert not frozen(room)
    assert room.places() == places
    after = room.dump()
    for table in ("study", "series", "instance", "superseded_instance"):
        assert after[table] == before[table]
    assert [row["action"] for row in after["quarantine_decision"]] == ["accept", "reject"]


def test_a_second_decision_that_breaks_an_earlier_one_is_refused(room: Room) -> None:
    room.take(mr_image(study="A"))
    stranger = mr_image(study="B", patient="P2")
    stranger.SOPInstanceUID = mr_image(study="A").SOPInstanceUID
    accepted = room.take(stranger)
    room.index()
    room.decide("accept", accepted)
    later = room.take(mr_image(study="B", patient="P2", instance=2))
    room.index()
    refused = room.take(
        mr_image(study="C", patient="P3", SeriesInstanceUID=uid("series", "B", "1"))
    )
    room.index()
    assert later in current(room)
    before = room.dump()
    with pytest.raises(Permanent, match="series belongs to another study"):
        room.decide("accept", refused)
    assert room.dump() == before


def test_rejected_bytes_stay_out_when_they_come_again(room: Room) -> None:
    room.take(mr_image())
    second = room.take(mr_image(PixelData=OTHER_PIXELS))
    room.index()
    room.decide("reject", second)
    before, places = room.dump(), room.places()
    room.take(mr_image(PixelData=OTHER_PIXELS))
    assert room.index().duplicates == 1
    assert (room.dump(), room.places()) == (before, places)


def test_accepted_identity_leaves_nothing_of_the_earlier_one(room: Room) -> None:
    old = [room.take(mr_image(instance=number)) for number in range(3)]
    new = [room.take(corrected(number)) for number in range(2)]
    room.index()
    linked: list[str] = []
    room.decide("accept", new[0], lambda _, study: linked.append(study.patient_id))
    assert linked == ["P9"]
    assert current(room) == set(new)
    assert superseded(room).keys() == set(old)
    room.decide("reject", new[0])
    assert room.study().patient_id == "P1"
    assert current(room) == set(old)
    assert frozen(room)  # the other one still waits
    room.decide("reject", new[1])
    assert not frozen(room)


def test_other_study_can_be_accepted_for_a_uid(room: Room) -> None:
    first = room.take(mr_image(study="A"))
    stranger = mr_image(study="B", patient="P2")
    stranger.SOPInstanceUID = mr_image(study="A").SOPInstanceUID
    second = room.take(stranger)
    room.index()
    room.decide("accept", second)
    assert current(room) == {second}
    assert superseded(room) == {first: second}
    assert room.study("B").patient_id == "P2"
    room.decide("reject", second)
    assert current(room) == {first}
    with room.database.read() as session:
        assert room.dump()["study"][0]["study_instance_uid"] == uid("study", "A")
        assert len(room.dump()["study"]) == 1
        assert not frozen_studies(session)


def test_refused_object_can_be_accepted(room: Room) -> None:
    digest = room.refuse(mr_image())
    room.index()
    room.decide("accept", digest)
    assert current(room) == {digest}
    assert room.places()[f"{digest}.dcm"] == "archive"
    room.decide("reject", digest)
    assert room.dump()["study"] == []
    assert room.places()[f"{digest}.dcm"] == "quarantine"


@pytest.mark.parametrize(
    "case", ["series", "patient", "unreadable", "unknown", "path", "nobody", "twice"]
)
def test_what_nobody_can_accept(room: Room, case: str) -> None:
    room.take(mr_image(study="A"))
    stranger = room.take(mr_image(study="B", SeriesInstanceUID=uid("series", "A", "1")))
    garbage = received(mr_image(study="C"))
    broken = room.store.store(type(garbage)(**{**garbage.__dict__, "data": b"\xff" * 300}))
    patient = room.take(mr_image(study="A", patient="P2", PixelData=OTHER_PIXELS))
    room.index()
    digest, reason = {
        "patient": (patient, "another patient"),
        "series": (stranger, "series belongs to another study"),
        "unreadable": (broken, "cannot be read"),
        "unknown": ("0" * 64, "no object"),
        "path": ("../../etc/passwd", "no object"),
        "nobody": (stranger, "who decides and why"),
        "twice": (stranger, "rejected already"),
    }[case]
    before = room.dump()
    if case == "twice":
        room.decide("reject", digest)
        before = room.dump()
    by = " " if case == "nobody" else "radiographer"
    with pytest.raises(Permanent, match=reason):
        room.decide("reject" if case == "twice" else "accept", digest, by=by)
    assert room.dump() == before


def test_decided_links_follow(room: Room) -> None:
    room.take(mr_image())
    second = room.take(mr_image(PixelData=OTHER_PIXELS))
    room.index()
    seen: list[int] = []

    def link(session: Session, _: Any) -> None:
        seen.append(len(session.exec(select(Instance)).all()))

    room.decide("accept", second, link)
    assert seen == [1]

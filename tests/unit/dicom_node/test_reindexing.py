"""The index rebuilt from files equals the one that grew object by object."""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from dicom_node.arrivals import nanoseconds
from dicom_node.database import Database
from dicom_node.life_models import ExpiredStudy, PendingDeletion
from dicom_node.models import Instance, Link, Quarantined, Report, Study, Transmission
from dicom_node.quarantine import QuarantineNotice, notice_text
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


def fill(room: Room) -> dict[str, str]:
    """Receive one object of every fate; return the digests of those that matter."""
    found = {"kept": room.take(mr_image(study="A", instance=1))}
    room.take(mr_image(study="A", instance=2))
    found["rejected"] = room.take(mr_image(study="A", instance=2, PixelData=OTHER_PIXELS))
    room.take(mr_image(study="B", patient="P2"))
    room.take(mr_image(study="B", patient="P2", StudyDescription="corrected"))
    found["accepted"] = room.take(mr_image(study="B", patient="P2", PixelData=OTHER_PIXELS))
    room.take(mr_image(study="C", patient="P3", instance=1))
    room.take(mr_image(study="C", patient="P3", instance=2))
    found["waiting"] = room.take(mr_image(study="C", patient="P4", instance=1))
    room.take(mr_image(study="D", patient="P5"))
    room.take(mr_image(study="D", patient="P6"))
    garbage = received(mr_image(study="E"))
    broken = {**garbage.__dict__, "data": b"\xff" * 300}
    found["unreadable"] = room.store.store(type(garbage)(**broken))
    found["refused"] = room.refuse(mr_image(study="F"))
    found["refused, then came"] = room.refuse(mr_image(study="G"))
    room.take(mr_image(study="G"))
    room.index()
    room.decide("accept", found["accepted"])
    room.decide("reject", found["rejected"])
    return found


def test_every_row_comes_back_from_files(room: Room) -> None:
    fill(room)
    before, places = room.dump(), room.places()
    room.forget()

    result = room.reindex()

    assert room.dump() == before
    assert room.places() == places
    assert (result.files, result.instances, result.moved) == (14, 7, 0)
    assert room.reindex().studies == result.studies
    assert room.dump() == before


def test_a_new_database_gets_every_row(room: Room, tmp_path: Path) -> None:
    fill(room)
    before = room.dump()
    with index_database(tmp_path) as empty:
        room.database = empty
        room.reindex()
        assert room.dump() == before


def test_what_is_spooled_is_left_to_the_indexer(room: Room) -> None:
    room.take(mr_image(instance=1))
    room.index()
    room.take(mr_image(instance=2))
    room.refuse(mr_image(instance=3))
    assert room.reindex().instances == 1
    assert room.index().indexed == 1
    assert len(room.dump()["quarantined"]) == 1


def test_dry_run_changes_nothing(room: Room) -> None:
    fill(room)
    room.forget()
    empty, places = room.dump(), room.places()
    result = room.reindex(dry_run=True)
    assert result.instances == 7
    assert (room.dump(), room.places()) == (empty, places)


def test_rows_of_other_stages_stay_and_links_follow(room: Room) -> None:
    room.take(mr_image())
    room.take(mr_image(study="gone", patient="P7"))
    room.index()
    lost = {uid("study", "gone"), "1.2.3"}
    with room.database.write() as session:
        session.add(Study(study_instance_uid="1.2.3", first_received_at=NOW, last_received_at=NOW))
        report = Report(report_identity="R", version=1, text="t", received_at=NOW)
        session.add(report)
        session.flush()
        for study in (uid("study", "S1"), uid("study", "gone")):
            link = {"state": "confirmed", "rule": "r", "reason": "", "decided_at": NOW}
            session.add(Link(report_id=report.id or 0, study_instance_uid=study, **link))
        digest = session.exec(
            select(Instance.digest).where(
                Instance.sop_instance_uid == uid("instance", "gone", "1", 1)
            )
        ).one()
    room.store.path(digest).unlink()
    seen: list[str] = []

    result = room.reindex(lambda _, study: seen.append(study.study_instance_uid))

    assert seen == [uid("study", "S1")]
    assert result.without_files == [uid("study", "gone")]
    with room.database.write() as session:
        gone = uid("study", "gone")
        session.add(ExpiredStudy(study_instance_uid=gone, rule="old", expired_at=NOW))
    assert room.reindex().without_files == []
    with room.database.read() as session:
        assert len(session.exec(select(Link)).all()) == 2
        left = set(session.exec(select(Study.study_instance_uid)))
        assert lost & left == {uid("study", "gone")}


def test_other_settings_give_studies_another_identity_and_links_end(room: Room) -> None:
    room.take(mr_image())
    room.index()
    with room.database.write() as session:
        report = Report(report_identity="R", version=1, text="t", received_at=NOW)
        session.add(report)
        session.flush()
        link = {"state": "confirmed", "rule": "r", "reason": "", "decided_at": NOW}
        study = uid("study", "S1")
        session.add(Link(report_id=report.id or 0, study_instance_uid=study, **link))
        session.add(
            Transmission(
                sop_instance_uid="2.25.1", sop_class_uid="1.2", study_instance_uid=study,
                peer="pacs", path="x", created_at=NOW,
            )
        )  # fmt: skip
    room.settings = room.settings.model_copy(update={"default_issuer_of_patient_id": "NORTH"})
    assert room.reindex().reidentified == 1
    with room.database.read() as session:
        assert session.exec(select(Link.state)).one() == "withdrawn"
        assert session.exec(select(Transmission.state)).one() == "failed"


def test_a_linker_that_fails_leaves_the_index(room: Room) -> None:
    fill(room)
    before = room.dump()

    def fail(session: Session, study: Study) -> None:
        uid = study.study_instance_uid
        session.add(Report(report_identity=uid, version=1, text="", received_at=NOW))
        session.flush()
        if study.patient_id == "P1":
            raise RuntimeError("never")

    assert room.reindex(fail).not_linked == 2
    assert room.dump() == before
    with room.database.read() as session:
        assert len(session.exec(select(Report)).all()) == len(before["study"]) - 2


def test_files_go_where_the_rows_say(room: Room) -> None:
    found = fill(room)
    places = room.places()
    room.store.keep_notice(found["kept"], notice_text(QuarantineNotice(found["kept"], "")))
    room.store.withdraw(found["kept"])
    room.store.release(found["waiting"])
    assert room.reindex().moved == 2
    assert room.places() == places


def test_a_file_that_waits_for_its_deletion_does_not_come_back(room: Room) -> None:
    digest = room.take(mr_image())
    room.index()
    path = room.store.path(digest).relative_to(room.store.root)
    with room.database.write() as session:
        session.add(PendingDeletion(path=str(path), recorded_at=NOW))
    room.reindex()
    assert room.dump()["instance"] == []


def test_damaged_notice_is_counted_and_its_object_judged_again(room: Room) -> None:
    found = fill(room)
    before = room.dump()
    room.store.notice_path(found["waiting"]).write_text("{")
    assert room.reindex().damaged_notices == 1
    assert room.dump() == before


def test_notices_of_earlier_versions_are_understood(room: Room) -> None:
    found = fill(room)
    before = room.dump()
    for name in ("waiting", "unreadable", "refused"):
        path = room.store.notice_path(found[name])
        with room.database.read() as session:
            row = session.exec(select(Quarantined).where(Quarantined.digest == found[name])).one()
        early = '{"digest": "%s", "reason": "%s", "sender": "%s", "sop_instance_uid": "%s"}'
        sop = row.sop_instance_uid if name == "refused" else ""
        path.write_text(early % (row.digest, row.reason, row.sender, sop))
    room.reindex()
    assert room.dump() == before


def test_arrival_order_is_the_order_of_indexing_whatever_the_clock_says(room: Room) -> None:
    first = room.take(mr_image())
    room.index()
    room.now -= dt.timedelta(days=400)
    second = room.take(mr_image(StudyDescription="corrected"))
    room.index()
    with room.database.read() as session:
        assert session.exec(select(Instance.digest)).one() == second
    times = {name: os.stat(room.store.path(name)).st_mtime_ns for name in (first, second)}
    assert times[second] == nanoseconds(NOW + dt.timedelta(microseconds=1))
    before = room.dump()
    room.reindex()
    assert room.dump() == before


def test_accepting_fails_again_only_if_it_must(room: Room, monkeypatch: Any) -> None:
    found = fill(room)
    path = room.store.path(found["accepted"])
    status = path.stat()
    path.write_bytes(b"damaged since")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = room.reindex()
    assert result.not_accepted == [found["accepted"]]
    assert room.places()[path.name] == "quarantine"

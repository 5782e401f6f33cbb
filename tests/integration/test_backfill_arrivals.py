"""What waits, comes late, comes in part or does not come: nothing is asked for in vain."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from sqlmodel import select

from dicom_node.arrivals import nanoseconds
from dicom_node.asked_for import LIST_NAME, AskedFor
from dicom_node.life_models import SolicitedStudy
from dicom_node.models import Study
from dicom_node.retrieval.models import Backfill, Retrieval, State
from dicom_node.solicited import solicited_studies
from dicom_node.storage import DicomStore
from plugin.context import open_context
from plugin.operations import run_operation
from plugin.settings import load_settings
from plugin.simulation import retrieval as double
from plugin.simulation.ports import free_ports
from plugin.stages import retrieve
from plugin.stages.retrieve import Retriever
from tests.builders import mr_image, received, uid
from tests.retrieval_builders import real_archive
from tests.retrieval_room import Room, retrieval_room, start, studies

S1 = uid("study", "1")


@pytest.fixture(params=["move", "get"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    with retrieval_room(tmp_path, request.param) as room:
        yield room


@pytest.fixture
def getting(tmp_path: Path) -> Iterator[Room]:
    with retrieval_room(tmp_path, "get") as room:
        yield room


@pytest.fixture
def study_level_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive answers to queries of studies alone, and tells no number of instances."""
    find, answer = double.Retrieval._on_find, double._answer

    def on_find(self: Any, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        if event.identifier.QueryRetrieveLevel != "STUDY":
            yield 0xA900, None
            return
        yield from find(self, event)

    def without_number(*arguments: Any) -> Dataset:
        told = answer(*arguments)
        del told.NumberOfStudyRelatedInstances
        return told

    monkeypatch.setattr(double.Retrieval, "_on_find", on_find)
    monkeypatch.setattr(double, "_answer", without_number)


def route(room: Room, *images: Dataset) -> None:
    """Have objects be acknowledged by a receiver; nobody has indexed them yet."""
    store = DicomStore(room.context.folder.root)
    for each in images:
        store.date_spooled(store.store(received(each)), nanoseconds(room.now[0]))


def test_a_routed_study_in_the_spool_is_neither_fetched_nor_silenced(room: Room) -> None:
    images = studies(["1"])
    room.hold(*images)
    route(room, *images)
    room.pass_time(60)
    answered: list[int] = []
    room.pacs.habits.before_answering = lambda: answered.append(1)
    start(room, ["A-1"])
    for _ in range(3):
        room.retriever.attend()
        room.pass_time(60)
    assert (room.asked, room.states()) == ([], [State.WAITING])
    assert room.rows()[0].attempts == 0
    assert len(answered) == 4  # the study, its series, its images: once
    room.work(3)
    assert (room.asked, room.states()) == ([], [State.PRESENT])
    assert room.solicited() == set()
    assert AskedFor(room.context.folder.root).look_up([S1]) == {}


def test_of_a_study_that_was_routed_in_part_the_rest_is_fetched_and_it_stays_answerable(
    room: Room,
) -> None:
    images = studies(["1"], 3)
    room.hold(*images)
    route(room, images[0])
    start(room, ["A-1"])
    room.work(4)
    assert room.states() == [State.FETCHED]
    assert room.pacs.retrieval.levels == ["IMAGE"]
    assert sorted(room.pacs.retrieval.sent) == sorted(str(i.SOPInstanceUID) for i in images[1:])
    assert room.solicited() == set()


def test_images_that_come_while_the_mark_is_written_take_it_back(getting: Room) -> None:
    images = studies(["1"], 2)
    getting.hold(*images)
    start(getting, ["A-1"])
    looked = getting.retriever._book._has_come

    def comes(study: str, in_spool: Any) -> bool:
        with getting.context.database.read() as session:
            assert session.get(SolicitedStudy, study) is not None
        route(getting, *images)
        return looked(study, in_spool)

    getting.retriever._book._has_come = comes  # type: ignore[method-assign]
    getting.retriever.attend()
    assert (getting.asked, getting.solicited()) == ([], set())
    getting.work(3)
    assert (getting.asked, getting.states()) == ([], [State.PRESENT])
    assert getting.solicited() == set()


def test_the_spool_of_others_keeps_nothing_from_being_fetched(getting: Room) -> None:
    getting.hold(*studies(["1"]))
    route(getting, mr_image(study="other", patient="P9"))
    start(getting, ["A-1"])
    getting.retriever.attend()
    assert getting.asked == [S1]


def test_a_study_is_not_asked_for_again_while_the_index_is_behind(room: Room) -> None:
    room.hold(*studies(["1"], 3))
    start(room, ["A-1"])
    for _ in range(12):
        room.retriever.attend()
        room.pass_time(130)
    assert (room.asked, room.states()) == ([S1], [State.ARRIVING])
    room.work(1)
    room.retriever.attend()
    assert (room.asked, room.states()) == ([S1], [State.FETCHED])


def test_a_study_that_grows_is_waited_for(getting: Room) -> None:
    images = studies(["1"], 6)
    getting.hold(*images)
    getting.pacs.habits.withheld = {str(each.SOPInstanceUID) for each in images[2:]}
    start(getting, ["A-1"])
    getting.work(1, seconds=130)
    for each in images[2:]:  # an archive that sends on after its last response
        getting.take(each)
        getting.retriever.attend()
        getting.pass_time(100)
    getting.retriever.attend()
    assert (getting.asked, getting.states()) == ([S1], [State.FETCHED])


def test_other_images_do_not_make_up_for_those_that_failed(getting: Room) -> None:
    held = studies(["1"], 3)
    getting.hold(*held)
    getting.take(*[mr_image(study="1", patient="P1", instance=number) for number in (50, 51)])
    getting.pacs.habits.withheld = {str(each.SOPInstanceUID) for each in held[:2]}
    start(getting, ["A-1"])
    getting.work(10)
    (row,) = getting.rows()
    assert (row.state, row.expected, row.failed) == (State.INCOMPLETE, 3, 2)
    assert "failed" in row.detail
    assert row.wanted_uids == []  # of no use any more


@pytest.mark.usefixtures("study_level_alone")
def test_without_uids_a_study_is_not_fetched_while_some_failed(getting: Room) -> None:
    held = studies(["1"], 3)
    getting.hold(*held)
    getting.pacs.habits.withheld = {str(held[0].SOPInstanceUID)}
    start(getting, ["A-1"])
    getting.work(10)
    (row,) = getting.rows()
    assert (row.state, row.arrived, row.failed) == (State.INCOMPLETE, 2, 1)
    assert len(getting.asked) == 2
    getting.pacs.habits.withheld = set()
    run_operation(getting.context, "backfill resume", {"name": "all", "again": True}, print)
    getting.work(4)
    assert getting.states() == [State.FETCHED]


@pytest.mark.usefixtures("study_level_alone")
def test_an_archive_that_tells_no_number_ends_with_what_came(
    getting: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = retrieve.SubOperations(0x0000)  # numbers of sub-operations are optional

    def get_study(*arguments: Any, **values: Any) -> retrieve.SubOperations:
        fetch(*arguments, **values)
        return ended

    fetch = retrieve.get_study
    monkeypatch.setattr(retrieve, "get_study", get_study)
    getting.hold(*studies(["1"], 2))
    start(getting, ["A-1"])
    getting.work(1)
    getting.retriever.attend()
    assert getting.states() == [State.ARRIVING]  # one image is not all, for all that is known
    getting.work(3)
    (row,) = getting.rows()
    assert (row.state, row.arrived, len(getting.asked)) == (State.FETCHED, 2, 1)
    assert "no number" in row.detail


def test_an_archive_that_refuses_the_image_level_is_asked_for_the_study(
    getting: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = double.Retrieval._send

    def whole_studies(self: Any, event: Any) -> Iterator[Any]:
        if event.identifier.QueryRetrieveLevel == "STUDY":
            yield from send(self, event)
            return
        yield 1
        yield 0xA900, None

    monkeypatch.setattr(double.Retrieval, "_send", whole_studies)
    images = studies(["1"], 3)
    getting.hold(*images)
    getting.take(images[0])
    start(getting, ["A-1"])
    getting.work(3)
    assert getting.states() == [State.FETCHED]
    assert getting.pacs.retrieval.levels == ["STUDY"]


def test_a_removed_archive_ends_its_rows_and_no_others(getting: Room) -> None:
    getting.hold(*studies(["1", "2"]))
    start(getting, ["A-1"], name="gone")
    getting.work(1)
    start(getting, ["A-1"], name="waits")
    start(getting, ["A-2"], name="other")
    with getting.context.database.write() as session:
        for name in ("gone", "waits"):
            row = session.exec(select(Backfill).where(Backfill.name == name)).one()
            row.peer = "removed"
            session.add(row)
        lost = session.exec(select(Retrieval).order_by(sa.text("id"))).first()
        assert lost is not None
        lost.wanted_uids = [*lost.wanted_uids, "1.2.3"]  # it waits for more
        session.add(lost)
    getting.work(6, seconds=300)
    assert getting.states() == [State.REFUSED, State.REFUSED, State.FETCHED]


def test_a_row_that_cannot_be_judged_keeps_no_other_from_its_end(
    getting: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    getting.hold(*studies(["1", "2"]))
    start(getting, ["A-1"], ["A-2"])
    getting.work(2, seconds=1)
    look = getting.retriever._arrivals._look_at

    def broken(row: Retrieval) -> None:
        if row.study_instance_uid == S1:
            raise ValueError("unexpected")
        look(row)

    monkeypatch.setattr(getting.retriever._arrivals, "_look_at", broken)
    with getting.context.database.write() as session:
        session.execute(sa.update(Retrieval).values(state="arriving"))
    getting.work(2)
    assert getting.states() == [State.ARRIVING, State.FETCHED]


def test_rows_write_what_the_list_does_not_hold(getting: Room) -> None:
    with getting.context.database.write() as session:
        session.add(
            SolicitedStudy(
                study_instance_uid="1.2", way="retrieved", reason="r", asked_at=getting.now[0]
            )
        )
    Retriever(getting.context).attend()
    assert set(AskedFor(getting.context.folder.root).look_up(["1.2", "1.3"])) == {"1.2"}


@pytest.mark.parametrize("way", ["move", "get"])
def test_what_was_fetched_is_never_answered_after_the_database_is_lost(
    tmp_path: Path, way: str
) -> None:
    with retrieval_room(tmp_path, way) as room:
        room.pacs.habits.says_for_whom = False
        room.hold(*studies(["1"]))
        room.take(mr_image(study="routed", patient="P2"))
        start(room, ["A-1"])
        room.work(2)
        root = room.context.folder.root
    for path in root.glob("radloop.sqlite*"):
        path.unlink()
    with open_context(load_settings(tmp_path / "radloop.toml")) as context:
        run_operation(context, "reindex", {"dry_run": False}, lambda _line: None)
        with context.database.read() as session:
            assert set(solicited_studies(session)) == {S1}
            assert len(session.exec(select(Study)).all()) == 2


def test_with_a_damaged_list_nothing_is_asked_for(getting: Room) -> None:
    getting.hold(*studies(["1"]))
    start(getting, ["A-1"])
    (getting.context.folder.root / LIST_NAME).write_bytes(b"\0\n")
    getting.work(3)
    assert (getting.asked, getting.states()) == ([], [State.WAITING])


@pytest.mark.peer
@pytest.mark.parametrize("way", ["move", "get"])
@pytest.mark.parametrize("kind", ["orthanc", "dcmqrscp"])
def test_real_archives_send_what_is_missing(tmp_path: Path, kind: str, way: str) -> None:
    (port,) = free_ports(1)
    us = ("127.0.0.1", port)
    running = real_archive(kind, tmp_path / "p", us)
    with running as pacs, retrieval_room(tmp_path, way, pacs, port=port) as room:
        images = studies(["1"], 5)
        images[4].SeriesInstanceUID = uid("series", "another")
        room.hold(*images)
        room.take(images[0])
        start(room, ["A-1"])
        room.work(4)
        (row,) = room.rows()
        assert (row.state, row.completed, row.arrived) == (State.FETCHED, 4, 5)
        assert room.solicited() == set()

"""A patient who is erased during a fetch stays erased, whatever the archive still sends."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from dicom_node.asked_for import AskedFor
from dicom_node.models import Instance
from dicom_node.retrieval.models import Retrieval, State
from plugin.stages.erase import erase_patient
from plugin.stages.retrieve import Retriever
from tests.builders import mr_image, uid
from tests.integration.test_backfill_arrivals import route
from tests.retrieval_room import Room, indexed, retrieval_room, start, studies

S1 = uid("study", "1")


@pytest.fixture(params=["move", "get"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    with retrieval_room(tmp_path, request.param) as room:
        room.pacs.habits.says_for_whom = False
        room.hold(
            *(
                mr_image(study="1", patient="P1", instance=number, IssuerOfPatientID="HOSP")
                for number in range(1, 6)
            )
        )
        yield room


def erase(room: Room, **values: Any) -> dict[str, Any]:
    asked = {"issuer": "HOSP", "patient_id": "P1", "by": "officer", "reason": "asked"}
    return erase_patient(room.context, **{**asked, "dry_run": False, **values})


def at_object(room: Room, number: int, do: Callable[[], Any]) -> None:
    """Have something happen when the archive is about to send its object of this number."""
    sent = [0]

    def before_sending() -> None:
        sent[0] += 1
        if sent[0] == number:
            do()

    room.pacs.habits.before_sending = before_sending


def objects(room: Room) -> list[str]:
    """Return where objects lie, relative to the data folder."""
    root = room.context.folder.root
    return [str(path.relative_to(root)) for path in root.rglob("*.dcm")]


@pytest.mark.parametrize("is_indexed", [True, False])
def test_what_an_archive_goes_on_sending_does_not_come_back(room: Room, is_indexed: bool) -> None:
    """Nothing holds the retriever still here: as with an archive that heeds no C-CANCEL."""

    def do() -> None:
        if is_indexed:
            room.index()
        assert erase(room)["found"]

    at_object(room, 3, do)
    start(room, ["A-1"])
    room.work(4)
    assert len(room.pacs.retrieval.sent) == 5
    assert (room.rows(), indexed(room), objects(room)) == ([], set(), [])


def test_what_comes_long_after_an_erasure_is_new_and_never_answered(room: Room) -> None:
    at_object(room, 3, lambda: (room.index(), erase(room)))
    start(room, ["A-1"])
    room.work(1)
    room.pass_time(2 * 3600)
    room.take(mr_image(study="1", patient="P1", instance=9, IssuerOfPatientID="HOSP"))
    assert indexed(room) == room.solicited() == {S1}


def test_a_study_that_is_asked_for_anew_after_an_erasure_comes(room: Room) -> None:
    at_object(room, 3, lambda: (room.index(), erase(room)))
    start(room, ["A-1"])
    room.work(1)
    start(room, ["A-1"], name="anew")
    room.work(3)
    assert room.states() == [State.FETCHED]
    assert indexed(room) == room.solicited() == {S1}


def test_others_studies_are_indexed_meanwhile(room: Room) -> None:
    at_object(room, 3, lambda: (room.index(), erase(room)))
    start(room, ["A-1"])
    room.retriever.attend()
    room.take(mr_image(study="2", patient="P2"))
    assert indexed(room) == {uid("study", "2")}


def test_a_trial_of_an_erasure_removes_nothing(room: Room) -> None:
    at_object(room, 3, lambda: (room.index(), erase(room, dry_run=True)))
    start(room, ["A-1"])
    room.work(3)
    assert room.states() == [State.FETCHED]


def test_a_study_that_was_not_being_fetched_may_be_routed_again_at_once(room: Room) -> None:
    start(room, ["A-1"])
    room.work(2)
    room.pass_time(2 * 3600)
    erase(room)
    room.take(mr_image(study="1", patient="P1", IssuerOfPatientID="HOSP"))
    assert indexed(room) == room.solicited() == {S1}  # but it is known that it was asked for


def test_an_erasure_cancels_what_is_being_fetched_and_waits_for_its_end(tmp_path: Path) -> None:
    with retrieval_room(tmp_path, "get") as room:
        room.hold(*studies(["1"], 6), *studies(["2"], 2))
        begun, cancelled = threading.Event(), threading.Event()
        room.pacs.habits.before_sending = lambda: (begun.set(), cancelled.wait(10))
        stopped: list[bool] = []
        room.retriever = Retriever(room.context)
        context = dataclasses.replace(room.context, still=room.retriever.still)
        start(room, ["A-1"], ["A-2"])
        working = threading.Thread(target=room.retriever.attend)
        working.start()
        assert begun.wait(20)

        def release_soon() -> None:
            while not room.retriever._is_stopping():
                if cancelled.wait(0.05):
                    return
            cancelled.set()

        releasing = threading.Thread(target=release_soon)
        releasing.start()
        with context.still():
            stopped.append(room.retriever.attend() == 0)
            assert room.retriever._working.locked()
            sent = len(room.pacs.retrieval.sent)
        releasing.join(20)
        working.join(20)
        assert stopped == [True]
        assert not working.is_alive()
        assert sent < 6  # it was cancelled before its end
        assert room.states() == [State.WAITING] * 2  # each waits as it stood
        assert all(row.attempts == 0 for row in room.rows())
        room.work(8)
        assert room.states() == [State.FETCHED] * 2


def test_an_erasure_between_the_mark_and_the_asking_asks_for_nothing(room: Room) -> None:
    looked = room.retriever._book._has_come

    def erased(study: str, in_spool: Any) -> bool:
        with room.context.database.write() as session:
            for row in session.exec(select(Retrieval)):
                session.delete(row)
        return looked(study, in_spool)

    room.retriever._book._has_come = erased  # type: ignore[method-assign]
    start(room, ["A-1"])
    room.work(2)
    assert (room.asked, room.rows(), room.solicited()) == ([], [], set())
    assert AskedFor(room.context.folder.root).look_up([S1]) == {}


def test_a_strangers_study_is_not_taken_for_the_patients(room: Room) -> None:
    """An object in the spool that claims another patient's study takes nothing of it along."""
    room.take(mr_image(study="2", patient="P2", IssuerOfPatientID="HOSP"))
    start(room, ["A-2"])
    route(room, mr_image(study="2", patient="P1", instance=7, IssuerOfPatientID="HOSP"))
    assert erase(room)["found"]
    assert [row.accession_number for row in room.rows()] == ["A-2"]
    room.index()
    with room.context.database.read() as session:
        assert len(session.exec(select(Instance)).all()) == 1

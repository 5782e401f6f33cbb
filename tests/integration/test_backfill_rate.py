"""The rate counts every asking, a hiccup costs a list nothing, and a clock may be set back."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlmodel import select

from dicom_node.retrieval.models import Asking, State
from plugin.simulation import retrieval as double
from plugin.stages.retrieve import Retriever
from tests.builders import uid
from tests.retrieval_room import Room, retrieval_room, start, studies

TWO_AN_HOUR = "[retrieval]\nstudies_per_hour = 2\nmaximum_attempts = 50\nretry_seconds = 60.0\n"


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The archive answers Out of Resources to queries of the accession numbers in the list."""
    numbers: list[str] = []
    find = double.Retrieval._on_find

    def on_find(self: Any, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        if str(event.identifier.get("AccessionNumber") or "") in numbers:
            yield 0xA700, None
            return
        yield from find(self, event)

    monkeypatch.setattr(double.Retrieval, "_on_find", on_find)
    return numbers


def by_hand(room: Room) -> list[float]:
    """Have the retriever's pauses pass by a clock of the test; return it."""
    passed = [0.0]
    room.retriever = Retriever(room.context, monotonic=lambda: passed[0])
    return passed


def test_the_rate_counts_every_asking(tmp_path: Path) -> None:
    with retrieval_room(tmp_path, "get", extra=TWO_AN_HOUR) as room:
        held = studies(["1", "2", "3"], 3)
        room.hold(*held)
        room.pacs.habits.withheld = {str(each.SOPInstanceUID) for each in held}
        start(room, ["A-1"], ["A-2"], ["A-3"])
        for hour in range(1, 4):
            room.work(60, seconds=50)  # a little less than an hour
            assert len(room.asked) <= 2 * hour
            room.pass_time(700)
        assert len(room.asked) > 3  # some of them a second time
        with room.context.database.read() as session:
            assert len(session.exec(select(Asking)).all()) <= 2


def test_a_study_that_does_not_come_is_asked_for_in_minutes_not_in_seconds(
    tmp_path: Path,
) -> None:
    with retrieval_room(tmp_path, "get") as room:
        held = studies(["1"], 2)
        room.hold(*held)
        room.pacs.habits.withheld = {str(each.SOPInstanceUID) for each in held}
        start(room, ["A-1"])
        room.work(28, seconds=10)
        assert len(room.asked) == 1
        room.work(5, seconds=10)
        assert len(room.asked) == 2


def test_a_hiccup_of_the_archive_costs_the_list_nothing(tmp_path: Path, busy: list[str]) -> None:
    names = [f"{number:02}" for number in range(12)]
    with retrieval_room(tmp_path, "get") as room:
        room.hold(*studies(names, 1))
        passed = by_hand(room)
        busy += [f"A-{name}" for name in names]
        start(room, *[[f"A-{name}"] for name in names])
        for _ in range(60):  # ten minutes
            room.retriever.attend()
            room.pass_time(10)
            passed[0] += 10
        assert room.states() == [State.WAITING] * len(names)
        assert sum(row.attempts for row in room.rows()) < len(names)
        busy.clear()
        for _ in range(60):
            passed[0] += 1000
            room.work(1)
        assert room.states() == [State.FETCHED] * len(names)


def test_a_study_that_the_archive_never_answers_about_keeps_no_other(
    tmp_path: Path, busy: list[str]
) -> None:
    with retrieval_room(tmp_path, "get") as room:
        room.hold(*studies(["1", "2"], 1))
        passed = by_hand(room)
        busy.append("A-1")
        start(room, ["A-1"], ["A-2"])
        for _ in range(20):
            passed[0] += 1000
            room.work(1)
        assert room.states() == [State.FAILED, State.FETCHED]
        assert room.rows()[0].attempts == 4


def test_a_clock_that_was_ahead_stops_nothing_once_it_is_right(tmp_path: Path) -> None:
    year = 86400.0 * 365
    with retrieval_room(tmp_path, "get", extra="[retrieval]\nstudies_per_hour = 1\n") as room:
        room.hold(*studies(["1", "2", "3"]))
        room.pass_time(year)
        start(room, ["A-1"], ["A-2"])
        room.work(1, seconds=1)
        assert len(room.asked) == 1
        room.pass_time(-year)
        start(room, ["A-3"], name="later")
        room.work(6, seconds=3600)
        assert room.states() == [State.FETCHED] * 3
        with room.context.database.read() as session:
            latest = max(each.asked_at for each in session.exec(select(Asking)))
        assert latest <= room.now[0]


def test_what_arrives_is_not_waited_for_until_a_clock_that_was_ahead(tmp_path: Path) -> None:
    with retrieval_room(tmp_path, "get") as room:
        held = studies(["1"], 2)
        room.hold(*held)
        room.pacs.habits.withheld = {str(held[0].SOPInstanceUID)}
        room.pass_time(86400.0 * 365)
        start(room, ["A-1"])
        room.work(2, seconds=1)
        room.pass_time(-86400.0 * 365)
        room.pacs.habits.withheld = set()
        room.work(6)
        assert (room.states(), room.asked) == ([State.FETCHED], [uid("study", "1")] * 2)
        assert room.rows()[0].next_at < room.now[0] + dt.timedelta(days=1)

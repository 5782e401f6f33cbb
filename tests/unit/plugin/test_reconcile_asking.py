"""Asking about many studies: what fails is passed by, and the next round begins behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicom_node.errors import Permanent, Transient
from dicom_node.retrieval.archive import Away, Stopped
from dicom_node.retrieval.comparing import Compared
from plugin.stages import reconcile_asking
from plugin.stages.reconcile_asking import Outcome, Place, ask_about

STUDIES = [f"1.2.{number}" for number in range(40)]


class Asking:
    """Stands for the associations: each may be opened unless the archive is away."""

    def __init__(self) -> None:
        self.opened = 0
        self.away = False
        self.stays_open = True
        self.asked: list[str] = []
        self.fails: dict[str, Exception] = {}

    @contextmanager
    def finder(self, _archive: Any) -> Iterator[Any]:
        if self.away:
            raise Away("away")
        self.opened += 1
        yield SimpleNamespace(begin=lambda: None, is_open=self.stays_open)

    def compare(self, _finder: Any, uid: str) -> Compared:
        self.asked.append(uid)
        if uid in self.fails:
            raise self.fails[uid]
        return Compared(uid)

    def round(self, studies: list[str]) -> Outcome:
        return ask_about(object(), studies, self.compare, lambda _number: None)  # type: ignore[arg-type]


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Asking:
    made = Asking()
    monkeypatch.setattr(reconcile_asking, "finder", made.finder)
    return made


def test_a_study_that_is_not_answered_keeps_no_other_from_being_compared(asking: Asking) -> None:
    asking.fails = {STUDIES[0]: Transient("silent"), STUDIES[3]: Permanent("refused")}
    outcome = asking.round(STUDIES)
    assert outcome.failure is None
    assert len(outcome.found) == 38
    assert [each["study_instance_uid"] for each in outcome.unanswered] == [STUDIES[0]]
    assert [each["study_instance_uid"] for each in outcome.unclear] == [STUDIES[3]]
    assert outcome.settled == {*STUDIES[1:]}
    assert asking.opened == 2


def test_an_association_that_ended_is_no_fault_of_the_next_study(asking: Asking) -> None:
    asking.stays_open = False
    outcome = asking.round(STUDIES[:3])
    assert (len(outcome.found), asking.opened) == (3, 3)


def test_a_round_ends_with_the_tenth_failure(asking: Asking) -> None:
    asking.fails = dict.fromkeys(STUDIES[5:], Transient("silent"))
    outcome = asking.round(STUDIES)
    assert isinstance(outcome.failure, Transient)
    assert (len(outcome.found), len(outcome.unanswered)) == (5, 10)
    assert outcome.last == STUDIES[14]


@pytest.mark.parametrize("error", [Stopped("stop"), Away("away")])
def test_a_stop_and_an_archive_that_is_away_end_a_round_at_once(
    asking: Asking, error: Exception
) -> None:
    asking.fails = {STUDIES[2]: error}
    outcome = asking.round(STUDIES)
    assert outcome.failure is error
    assert asking.asked == STUDIES[:3]


def test_the_next_round_begins_behind_the_last_study(asking: Asking, tmp_path: Path) -> None:
    place = Place(tmp_path, "pacs")
    first = place.in_order(STUDIES)
    asking.fails = dict.fromkeys(first[:12], Transient("silent"))
    outcome = asking.round(first)
    place.keep(outcome)
    again = Place(tmp_path, "pacs").in_order(STUDIES)
    assert again == first[10:] + first[:10]
    assert Place(tmp_path, "other").in_order(STUDIES) == first
    assert not any(uid in path.read_text() for path in tmp_path.iterdir() for uid in STUDIES)
    asking.fails = {}
    place.keep(asking.round(again))
    assert place.in_order(STUDIES) == first
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_is_away_from_the_start_changes_no_place(
    asking: Asking, tmp_path: Path
) -> None:
    place = Place(tmp_path, "pacs")
    place.keep(Outcome(failure=Transient("silent"), last=STUDIES[7]))
    before = place.in_order(STUDIES)
    asking.away = True
    place.keep(asking.round(before))
    assert place.in_order(STUDIES) == before

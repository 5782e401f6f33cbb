"""Comparing with a PACS that fails, lacks much, states nothing, or is not asked any more."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from dicom_node.models import Study
from dicom_node.retrieval.models import PacsDifference
from dicom_node.retrieval.settings import RetrievalSettings
from plugin import errors
from plugin.operations import run_operation
from plugin.simulation import retrieval as pacs_double
from plugin.stages import reconcile_asking
from plugin.stages.ground import ground_of
from plugin.stages.impact import note_impacts
from plugin.stages.impact_question import trained_on
from plugin.stages.reconcile import NightlyReconciliation, night_of
from tests.builders import uid
from tests.hl7_builders import merge
from tests.integration.test_reconcile import (
    NAMES,
    causes,
    cohort_room,
    image,
    images,
    kinds,
    reconcile,
)
from tests.retrieval_room import Room, tell
from training.standing import Fault

NIGHTLY = '[retrieval]\nreconcile_with = "pacs"\nreconcile_hour = 3\n'
THREE = dt.datetime(2026, 3, 5, 3, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def silent_about(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The studies that the archive, once started, cannot answer about now."""
    studies: set[str] = set()
    real = pacs_double.Retrieval._on_find

    def on_find(self: Any, event: Any) -> Iterator[Any]:
        if str(event.identifier.get("StudyInstanceUID")) in studies:
            yield 0xA700, None
        else:
            yield from real(self, event)

    monkeypatch.setattr(pacs_double.Retrieval, "_on_find", on_find)
    return studies


@pytest.fixture
def room(tmp_path: Path, silent_about: set[str]) -> Iterator[Room]:
    with cohort_room(tmp_path) as room:
        yield room


def have_it_state(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    def answer(query: Any, level: str, headers: list[Any]) -> Any:
        found = _ANSWER(query, level, headers)
        if "IssuerOfPatientID" in found:
            found.IssuerOfPatientID = issuer
        return found

    monkeypatch.setattr(pacs_double, "_answer", answer)


_ANSWER = pacs_double._answer


def rows(room: Room) -> dict[str, str]:
    with room.context.database.read() as session:
        return {row.study_instance_uid: row.kind for row in session.exec(select(PacsDifference))}


def test_what_is_assumed_contradicts_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.hold(*images(NAMES))
    (peer,) = room.context.settings.pacs
    object.__setattr__(peer, "issuer_of_patient_id", "ELSEWHERE")
    have_it_state(monkeypatch, "")
    assert kinds(reconcile(room)) == {}
    # A stated one does contradict a stated one, and not one that was assumed here.
    have_it_state(monkeypatch, "ELSEWHERE")
    assert set(kinds(reconcile(room, dry_run=True)).values()) == {"identity"}
    with room.context.database.write() as session:
        for study in session.exec(select(Study)):
            study.issuer_assumed = True
            session.add(study)
    assert kinds(reconcile(room, dry_run=True)) == {}


def test_a_study_that_is_not_answered_is_told_and_the_others_are_compared(
    room: Room, silent_about: set[str]
) -> None:
    room.hold(*images(NAMES[1:]))
    silent_about.add(uid("study", "05"))
    found = reconcile(room)
    assert (found["compared"], found["unanswered"]) == (11, 1)
    assert kinds(found) == {uid("study", "00"): "absent"}
    assert [each["study_instance_uid"] for each in found["hints"]] == [uid("study", "05")]
    assert rows(room) == {uid("study", "00"): "absent"}


def test_too_many_absent_ones_are_not_believed_and_the_rest_is_noted(room: Room) -> None:
    held = [image("00", PatientBirthDate="19710101"), *images(NAMES[1:8])]
    room.hold(*held)
    with pytest.raises(errors.Permanent, match=r"4 of 12 studies.*right archive"):
        reconcile(room)
    assert rows(room) == {uid("study", "00"): "identity"}
    arguments = {"peer": "", "dry_run": False, "accept_absent": True}
    run_operation(room.context, "reconcile", arguments, lambda _line: None)
    assert list(rows(room).values()).count("absent") == 4
    assert len(kinds(reconcile(room))) == 5  # what is known to be absent is no news


def test_the_only_study_of_a_cohort_that_is_lost_is_noted(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = uid("study", "00")
    monkeypatch.setattr("plugin.stages.reconcile._members", lambda _session: [lost])
    assert kinds(reconcile(room)) == {lost: "absent"}
    assert rows(room) == {lost: "absent"}


def test_a_difference_with_an_archive_that_is_asked_no_more_ends(room: Room) -> None:
    room.hold(*images(NAMES))
    with room.context.database.write() as session:
        for peer in ("pacs", "old-name"):
            session.add(
                PacsDifference(
                    study_instance_uid=uid("study", "00"),
                    peer=peer,
                    kind="absent",
                    found_at=room.now[0],
                )
            )
    note_impacts(room.context)
    assert causes(room) == [Fault.PACS_ABSENT]
    assert kinds(reconcile(room)) == {}
    assert causes(room) == []
    with room.context.database.read() as session:
        assert trained_on(session, ground_of(room.context.settings), 1) == ""


def test_with_patient_root_alone_a_merged_patient_is_not_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacs_double, "_STUDY_ROOT", ())
    with cohort_room(tmp_path) as room:
        room.hold(image("00", PatientID="NEW"), *images(NAMES[1:]))
        assert kinds(reconcile(room, dry_run=True)) == {uid("study", "00"): "absent"}
        tell(room, merge("P00^^^HOSP", "NEW^^^HOSP"))
        assert kinds(reconcile(room, dry_run=True)) == {}


def test_what_was_not_answered_is_asked_again_within_the_hour(
    tmp_path: Path, silent_about: set[str]
) -> None:
    with cohort_room(tmp_path, extra=NIGHTLY) as room:
        room.hold(*images(NAMES[2:]))
        nightly = NightlyReconciliation(room.context)
        room.now[0] = THREE
        silent_about.add(uid("study", "00"))
        nightly.attend()
        assert rows(room) == {uid("study", "01"): "absent"}
        silent_about.clear()
        silent_about |= {uid("study", name) for name in NAMES[1:]}
        nightly.attend()  # not at once
        assert uid("study", "00") not in rows(room)
        room.pass_time(660)
        nightly.attend()  # and only about what is left
        assert rows(room)[uid("study", "00")] == "absent"


def test_an_archive_that_was_away_is_asked_again_in_the_same_night(tmp_path: Path) -> None:
    with cohort_room(tmp_path, extra=NIGHTLY) as room:
        room.hold(*images(NAMES[1:]))
        nightly = NightlyReconciliation(room.context)
        room.now[0] = THREE
        (peer,) = room.context.settings.pacs
        port = peer.port
        object.__setattr__(peer, "port", 1)
        nightly.attend()
        object.__setattr__(peer, "port", port)
        room.pass_time(660)
        nightly.attend()
        assert rows(room) == {uid("study", "00"): "absent"}


def test_an_error_of_ours_is_not_repeated_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fail(*_arguments: Any, **_named: Any) -> None:
        tried.append("")
        raise OSError("the disk")

    monkeypatch.setattr("plugin.stages.reconcile.reconcile", fail)
    with cohort_room(tmp_path, extra=NIGHTLY) as room:
        nightly = NightlyReconciliation(room.context)
        room.now[0] = THREE
        with pytest.raises(OSError, match="the disk"):
            nightly.attend()
        nightly.attend()
        assert len(tried) == 1


def test_nights_go_on_where_the_last_one_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_about: set[str]
) -> None:
    monkeypatch.setattr(reconcile_asking, "_MOST_UNANSWERED", 2)
    with cohort_room(tmp_path) as room:
        room.hold(*images(NAMES))
        in_order = reconcile_asking.Place(tmp_path, "x").in_order(uid("study", n) for n in NAMES)
        silent_about |= set(in_order[:4])
        compared = []
        for _ in range(3):
            try:
                compared.append(reconcile(room)["compared"])
            except errors.Transient as error:
                compared.append(int(str(error).split()[0]))
        assert compared == [0, 0, 8]


@pytest.mark.parametrize(
    ("now", "night"),
    [
        ("2026-03-05T01:59:59+00:00", None),  # 02:59:59 in Berlin
        ("2026-03-05T02:00:00+00:00", dt.date(2026, 3, 5)),
        ("2026-03-05T02:59:59+00:00", dt.date(2026, 3, 5)),
        ("2026-03-05T03:00:00+00:00", None),
    ],
)
def test_the_hour_is_that_of_the_zone(now: str, night: dt.date | None) -> None:
    settings = RetrievalSettings(reconcile_hour=3, time_zone="Europe/Berlin")
    assert night_of(settings, dt.datetime.fromisoformat(now)) == night


def test_an_hour_that_summer_time_leaves_out_or_repeats_is_one_all_the_same() -> None:
    settings = RetrievalSettings(reconcile_hour=2, time_zone="Europe/Berlin")

    def minutes(day: dt.datetime) -> list[str]:
        each = [day + dt.timedelta(minutes=number) for number in range(0, 24 * 60, 30)]
        return [f"{now:%H:%M}" for now in each if night_of(settings, now) is not None]

    assert minutes(dt.datetime(2026, 3, 29, tzinfo=dt.UTC)) == ["01:00", "01:30"]
    assert minutes(dt.datetime(2026, 10, 25, tzinfo=dt.UTC)) == ["00:00", "00:30"]

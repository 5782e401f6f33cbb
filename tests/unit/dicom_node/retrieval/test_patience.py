"""Asking an archive ends, whatever it answers, keeps back or repeats; a stop ends it, too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node import line_watch, query_scu
from dicom_node.errors import Permanent, Transient
from dicom_node.query_scu import find_study_identity
from dicom_node.requestor import Timeouts
from dicom_node.retrieval import archive as retrieval_archive
from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.archive import Stopped
from dicom_node.retrieval.fetching import move_study
from dicom_node.retrieval.finding import TooMany, finder
from dicom_node.send_outcomes import Outcome
from dicom_node.storage_scu import send_instances
from tests.builders import mr_image, write_file
from tests.raw_peers import (
    Behaviour,
    a_trickle,
    endless_data,
    ends,
    half_a_message,
    half_an_acceptance,
    raw_peer,
    silence,
    threads_of_associations,
)
from tests.retrieval_builders import Address, archive

# What pynetdicom itself waits for is longer: an archive is given up before.
_LIMIT = 30.0
_QUICK = {"response_seconds": 1.0, "total_seconds": 2.0}
_PATIENT = {"response_seconds": 300.0, "total_seconds": 300.0}


@pytest.fixture(autouse=True)
def short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_watch, "_STOP_SECONDS", 1.5)
    monkeypatch.setattr(retrieval_archive, "_CANCEL_SECONDS", 0.5)


@contextmanager
def answering(handler: Callable[..., Any], gone: threading.Event) -> Iterator[Address]:
    """Run an archive that answers C-FIND and C-MOVE by a handler of the test's."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, handler)]
    )
    try:
        yield Address(server.server_address[1])
    finally:
        gone.set()
        server.shutdown()
        server.server_close()


def look(peer: Any, **values: Any) -> Callable[[], object]:
    def work() -> None:
        with finder(archive(peer, **values)) as asked:
            asked.studies(accession_number="X")

    return work


def fetch(peer: Any, **values: Any) -> Callable[[], object]:
    return lambda: move_study(archive(peer, **values), "1.2.3")


def identity(peer: Any, **values: Any) -> Callable[[], object]:
    return lambda: find_study_identity(peer, "RADLOOP", "1.2.3", Timeouts(**values))


def assert_nothing_runs() -> None:
    for thread in threads_of_associations():
        thread.join(_LIMIT)
    assert threads_of_associations() == []


@pytest.mark.parametrize("asking", [look, fetch])
@pytest.mark.parametrize("behaviour", [half_a_message, a_trickle, endless_data, silence])
def test_an_archive_that_does_not_end_is_given_up(behaviour: Behaviour, asking: Any) -> None:
    with raw_peer(behaviour) as peer:
        (raised,) = ends(asking(peer, **_QUICK), _LIMIT)
        assert isinstance(raised, Transient)
        assert_nothing_runs()


@pytest.mark.parametrize("asking", [look, fetch])
@pytest.mark.parametrize("behaviour", [half_an_acceptance, half_a_message, a_trickle, silence])
def test_a_stop_ends_whatever_the_archive_does(behaviour: Behaviour, asking: Any) -> None:
    with raw_peer(behaviour) as peer:
        (raised,) = ends(asking(peer, **_PATIENT, stopping=lambda: True), _LIMIT)
        assert isinstance(raised, Stopped)
        assert_nothing_runs()


@pytest.mark.parametrize("how", ["time", "number", "stop"])
def test_answers_without_end_end_though_cancelling_is_ignored(how: str) -> None:
    gone, begun = threading.Event(), threading.Event()

    def endless(_event: Any) -> Iterator[tuple[int, Dataset]]:
        begun.set()
        while not gone.wait(0.001):
            answer = Dataset()
            answer.StudyInstanceUID, answer.AccessionNumber = "1.2.3", "X"
            yield 0xFF00, answer

    values: dict[str, Any] = {
        "time": _QUICK,
        "number": {**_PATIENT, "most_answers": 20},
        "stop": {**_PATIENT, "stopping": begun.is_set},
    }[how]
    with answering(endless, gone) as peer:
        (raised,) = ends(look(peer, **values), _LIMIT)
        kind = {"time": Transient, "number": TooMany, "stop": Stopped}[how]
        assert isinstance(raised, kind)


def test_answers_about_whose_a_study_is_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()
    monkeypatch.setattr(query_scu, "_TOTAL_SECONDS", 2.0)

    def endless(_event: Any) -> Iterator[tuple[int, Dataset]]:
        while not gone.wait(0.01):
            answer = Dataset()
            answer.StudyInstanceUID = "1.2.3"
            yield 0xFF00, answer

    with answering(endless, gone) as peer:
        (raised,) = ends(identity(peer), _LIMIT)
        assert isinstance(raised, Transient)


@pytest.mark.parametrize("behaviour", [half_an_acceptance, half_a_message, a_trickle, silence])
def test_a_stop_ends_the_question_before_a_report_is_sent(behaviour: Behaviour) -> None:
    with raw_peer(behaviour) as peer:
        (raised,) = ends(identity(peer, stopping=lambda: True), _LIMIT)
        assert isinstance(raised, Transient)
        assert_nothing_runs()


@pytest.mark.parametrize("behaviour", [half_an_acceptance, half_a_message, a_trickle, silence])
def test_a_stop_ends_a_sending(behaviour: Behaviour, tmp_path: Path) -> None:
    sent = []
    path = write_file(tmp_path / "1.dcm", mr_image())
    with raw_peer(behaviour) as peer:
        waits = Timeouts(stopping=lambda: True)
        assert (
            ends(lambda: sent.extend(send_instances(peer, "RADLOOP", [path], waits)), _LIMIT) == []
        )
        assert [each.outcome for each in sent] == [Outcome.TRANSIENT]
        assert_nothing_runs()


def test_all_questions_about_one_study_have_one_time() -> None:
    asked_about: list[str] = []

    def series(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked_about.append(event.identifier.QueryRetrieveLevel)
        if asked_about[-1] == "SERIES":
            for number in range(5):
                answer = Dataset()
                answer.StudyInstanceUID, answer.SeriesInstanceUID = "1.2.3", f"1.2.3.{number + 1}"
                yield 0xFF00, answer
        else:
            asked.ends = time.monotonic() - 1.0  # the time is up while the first series is asked
            yield 0x0000, None

    with answering(series, threading.Event()) as peer, finder(archive(peer)) as asked:
        with pytest.raises(Transient, match="longer than"):
            asked.content(StudyFound("1.2.3"), 10)
        assert asked_about == ["SERIES", "IMAGE"]
        asked.begin()
        assert len(asked.series(StudyFound("1.2.3"))) == 5


def test_series_without_instances_end_the_questions() -> None:
    levels: list[str] = []

    def empty(event: Any) -> Iterator[tuple[int, Dataset]]:
        levels.append(event.identifier.QueryRetrieveLevel)
        if levels[-1] == "SERIES":
            for number in range(300):
                answer = Dataset()
                answer.StudyInstanceUID, answer.SeriesInstanceUID = "1.2.3", f"1.2.3.{number + 1}"
                yield 0xFF00, answer

    with (
        answering(empty, threading.Event()) as peer,
        pytest.raises(Permanent, match="no instances"),
        finder(archive(peer)) as asked,
    ):
        asked.content(StudyFound("1.2.3"), 10)
    assert levels.count("IMAGE") == 101


def test_too_many_answers_are_told_as_that() -> None:
    def many(_event: Any) -> Iterator[tuple[int, Dataset]]:
        for number in range(6):
            answer = Dataset()
            answer.StudyInstanceUID, answer.AccessionNumber = f"1.2.{number + 1}", "X"
            yield 0xFF00, answer

    with (
        answering(many, threading.Event()) as peer,
        pytest.raises(TooMany, match="more than 5 times"),
        finder(archive(peer, most_answers=5)) as asked,
    ):
        asked.studies(accession_number="X")

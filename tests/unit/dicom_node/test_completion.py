"""When a study is complete, what opens it again, and what must not fool the judgement."""

import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import SQLModel, col, select

from dicom_node.completion import (
    Arrivals,
    StudyContent,
    Unchanged,
    contents,
    force_completion,
    judge,
    look,
    record_completion,
)
from dicom_node.database import Database
from dicom_node.errors import Permanent
from dicom_node.indexing import index_spool
from dicom_node.life_models import StudyCompletion
from dicom_node.settings import CompletionRule, DicomSettings
from dicom_node.storage import DicomStore
from dicom_node.studies import complete_studies, study_digest
from tests.builders import MEMORY_DISK, mr_image, received, uid

NOW = dt.datetime(2026, 1, 2, 12, 0, tzinfo=dt.UTC)
STUDY = uid("study", "S1")
SETTINGS = DicomSettings(study_quiet_seconds=60)
RULE = CompletionRule(modality="MR", body_part="LSPINE", series=("sag t2*", "*T1*"))


def after(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


class Room:
    """A store, a database, and arrivals at the times that the test says."""

    def __init__(self, root: Path, empty_database: Path) -> None:
        self.store = DicomStore(root)
        self.store.recover()
        shutil.copy(empty_database, root / "index.sqlite")
        self.database = Database(f"sqlite:///{root / 'index.sqlite'}")

    def take(self, seconds: float, study: str = "S1", **attributes: object) -> None:
        known = {path.name for path in self.store.spooled()}
        self.store.store(received(mr_image(study=study, **attributes)))  # type: ignore[arg-type]
        for path in self.store.spooled():
            if path.name not in known:
                moment = after(seconds).timestamp()
                os.utime(path, (moment, moment))

    def index(self, seconds: float) -> None:
        index_spool(self.database, self.store, SETTINGS, lambda: after(seconds))

    def content(self) -> StudyContent:
        with self.database.read() as session:
            return next(contents(session, [STUDY]))

    def complete(self, seconds: float) -> StudyCompletion | None:
        content = self.content()
        with self.database.write() as session:
            return record_completion(session, content, "quiet time", after(seconds))


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "index.sqlite"
    database = Database(f"sqlite:///{path}")
    SQLModel.metadata.create_all(database.engine)
    database.close()
    return path


@pytest.fixture
def room(empty_database: Path) -> Iterator[Room]:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        room = Room(Path(folder), empty_database)
        yield room
        room.database.close()


@pytest.fixture
def content(room: Room) -> StudyContent:
    room.take(0)
    room.index(0)
    return replace(room.content(), last_received_at=NOW)


def judged(
    content: StudyContent, seconds: float, spooled: float | None = None, *rules: CompletionRule
) -> tuple[bool, str]:
    settings = SETTINGS.model_copy(update={"completion": rules})
    oldest = None if spooled is None else after(spooled)
    verdict = judge(content, settings, Arrivals(after(seconds), oldest), Unchanged())
    return verdict.complete, verdict.why


def test_quiet_time(content: StudyContent) -> None:
    assert judged(content, 59.9) == (False, "quiet for 60 of 60 seconds")
    assert judged(content, 60) == (True, "quiet time")


def test_a_backlog_is_not_silence(content: StudyContent) -> None:
    complete, why = judged(content, 3600, 59.9)
    assert not complete
    assert "not indexed yet" in why
    # Everything that came before the oldest spooled object is known: nothing of this study.
    assert judged(content, 3600, 60) == (True, "quiet time")


def test_series_that_a_rule_requires(content: StudyContent) -> None:
    assert judged(content, 3600, None, RULE) == (False, "a series like '*T1*' has not come")
    t1 = replace(next(iter(content.series)), description="Sag T1 TSE")
    both = replace(content, series=content.series | {t1})
    assert judged(both, 9.9, None, RULE)[0] is False
    assert judged(both, 10, None, RULE) == (True, "required series")
    assert judged(both, 3600, 9.9, RULE)[0] is False


def test_required_series_that_never_come_are_given_up(content: StudyContent) -> None:
    assert judged(content, 86399, None, RULE)[0] is False
    assert judged(content, 86400, 86399, RULE)[0] is False
    assert judged(content, 86400, None, RULE) == (True, "required series did not come")
    patient = RULE.model_copy(update={"give_up_seconds": 0.0})
    assert judged(content, 10 * 86400, None, patient)[0] is False


@pytest.mark.parametrize(
    "other",
    [{"modality": "CT"}, {"body_part": "HEAD"}, {"study_description": "*head*"}],
)
def test_a_rule_about_other_studies_does_not_count(
    content: StudyContent, other: dict[str, str]
) -> None:
    assert judged(content, 60, None, RULE.model_copy(update=other)) == (True, "quiet time")


def test_a_clock_that_was_set_back_completes_nothing_early_and_holds_nothing_for_ever(
    content: StudyContent,
) -> None:
    seconds = 0.0
    unchanged = Unchanged(lambda: seconds)
    year_back = Arrivals(after(-365 * 86400))
    assert not judge(content, SETTINGS, year_back, unchanged).complete
    seconds = 59
    assert not judge(content, SETTINGS, year_back, unchanged).complete
    seconds = 61
    assert judge(content, SETTINGS, year_back, unchanged).complete
    # Something is on its way: the wait begins anew.
    spooled = replace(year_back, oldest_spooled=year_back.now)
    assert not judge(content, SETTINGS, spooled, unchanged).complete
    assert not judge(content, SETTINGS, year_back, unchanged).complete
    # Another content: so it does.
    seconds = 200
    grown = replace(content, study_digest="another")
    assert not judge(grown, SETTINGS, year_back, unchanged).complete


def test_each_content_is_recorded_once_and_later_images_open_the_study(room: Room) -> None:
    room.take(0)
    room.index(0)
    first = room.complete(60)
    assert first is not None
    again = room.complete(61)
    assert again is not None
    assert again.id == first.id
    with room.database.read() as session:
        assert complete_studies(session) == [STUDY]
    room.take(100, instance=2)
    room.take(101, instance=3)
    room.index(101)
    with room.database.read() as session:
        assert complete_studies(session) == []
    second = room.complete(170)
    assert second is not None
    assert (second.number, second.images) == (2, 3)
    with room.database.read() as session:
        assert complete_studies(session) == [STUDY]
        assert second.study_digest == study_digest(session, STUDY)


def test_a_content_that_is_no_longer_there_is_not_recorded(room: Room) -> None:
    room.take(0)
    room.index(0)
    seen = room.content()
    room.take(1, instance=2)
    room.index(1)
    with room.database.write() as session:
        assert record_completion(session, seen, "quiet time", after(60)) is None
        assert session.exec(select(StudyCompletion)).all() == []


def test_forced_by_a_person(room: Room) -> None:
    room.take(0)
    room.index(0)
    with room.database.write() as session:
        row = force_completion(session, STUDY, by="Dr Who", reason="urgent", now=after(1))
        assert (row.cause, row.decided_by, row.reason) == ("forced", "Dr Who", "urgent")
        assert complete_studies(session) == [STUDY]
        for uids, by, reason in (("1.2", "me", "why"), (STUDY, " ", "why"), (STUDY, "me", "")):
            with pytest.raises(Permanent):
                force_completion(session, uids, by=by, reason=reason, now=after(1))
        assert (
            len(session.exec(select(StudyCompletion).order_by(col(StudyCompletion.id))).all()) == 1
        )


def test_the_oldest_object_in_the_spool(room: Room) -> None:
    assert look(room.store, NOW) == Arrivals(NOW)
    room.take(-30)
    room.take(-20, instance=2)
    seen = look(room.store, NOW)
    assert seen.known_until == after(-30)

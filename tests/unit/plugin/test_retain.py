"""Retention: what a rule deletes, what it keeps, and what a crash leaves to be finished."""

import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session, select

from dicom_node.database import Database
from dicom_node.deletion import finish_deletions
from dicom_node.indexing import index_spool
from dicom_node.keeping_settings import RetentionRule
from dicom_node.life_models import ExpiredStudy, PendingDeletion
from dicom_node.models import Instance, Report, Series, Study
from dicom_node.storage import DicomStore
from plugin.context import Context
from plugin.folders import DataFolder
from plugin.migrations import migrate
from plugin.settings import Settings
from plugin.stages.retain import (
    DailyRetention,
    Expiry,
    _expire,
    expire_studies,
    what_expired,
)
from tests.builders import MEMORY_DISK, mr_image, received, uid
from tests.cohort_builders import add_report

RULE = RetentionRule(name="a year", older_than_days=365, modality="MR")
OLD, OTHER = uid("study", "A"), uid("study", "B")


class Site:
    """A node with two studies and a clock in the test's hand."""

    def __init__(self, root: Path, empty: Path) -> None:
        folder = DataFolder(root)
        folder.create()
        shutil.copy(empty, folder.database)
        self.now = dt.datetime.now(dt.UTC)
        self.store = DicomStore(root)
        self.store.recover()
        self.context = Context(
            Settings(data_folder=root, retention=(RULE,)),
            folder,
            Database(folder.database_url),
            lambda: self.now,
        )
        for number, study in ((1, "A"), (2, "A"), (1, "B")):
            self.take(study, number)

    def take(self, study: str, number: int) -> None:
        image = mr_image(patient=study, study=study, instance=number)
        image.Modality = {"A": "MR", "B": "CT"}[study]
        self.store.store(received(image))
        index_spool(
            self.context.database, self.store, self.context.settings.dicom, lambda: self.now
        )

    def session(self) -> Session:
        return Session(self.context.database.engine)

    def files(self) -> int:
        return len(list(self.store.archived()))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "radloop.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.compact()
    database.close()
    return path


@pytest.fixture
def site(empty: Path) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        site = Site(Path(folder) / "data", empty)
        yield site
        site.context.database.close()


def test_what_is_old_goes_with_a_tombstone_and_the_rest_stays(site: Site) -> None:
    assert expire_studies(site.context, dry_run=False)["expired"] == []
    site.now += dt.timedelta(days=366)
    prepared = site.context.folder.prepared / "input.npy"
    prepared.write_bytes(b"made of some images")
    shown = expire_studies(site.context, dry_run=True)
    assert [each["study_instance_uid"] for each in shown["expired"]] == [OLD]
    assert site.files() == 3
    assert prepared.exists()
    done = expire_studies(site.context, dry_run=False)
    assert not prepared.exists()
    assert (done["expired"], done["files"], site.files()) == (shown["expired"], 2, 1)
    salt = site.context.folder.patient_key_salt()
    with site.session() as session:
        assert session.exec(select(Study.study_instance_uid)).all() == [OTHER]
        assert session.exec(select(ExpiredStudy)).all() == []
        gone = what_expired(session, uid("instance", "A", "1", 2), salt)
        assert (gone["expired"], gone["instances"]) == (True, 1)
        assert gone["by"][0].startswith("a year, ")
        assert what_expired(session, OLD, salt)["instances"] == 2
        assert not what_expired(session, OTHER, salt)["expired"]
    # The same images may come again, and are new.
    site.take("A", 1)
    assert site.files() == 2


def test_a_study_that_a_link_refers_to_stays_as_expired(site: Site) -> None:
    with site.session() as session:
        add_report(session, OLD)
        session.commit()
    site.now += dt.timedelta(days=366)
    expire_studies(site.context, dry_run=False)
    with site.session() as session:
        assert session.get(Study, OLD) is not None
        assert session.get_one(ExpiredStudy, OLD).rule == "a year"
        assert session.exec(select(Series).where(Series.study_instance_uid == OLD)).all() == []
        assert session.exec(select(Report)).one()
    # It has no images any more, so no rule is about it.
    assert expire_studies(site.context, dry_run=False)["expired"] == []


def test_a_crash_between_rows_and_files_is_finished_later(site: Site) -> None:
    site.now += dt.timedelta(days=366)
    context = site.context
    with site.session() as session:
        last = session.get_one(Study, OLD).last_received_at
    with context.database.write() as session:
        assert _expire(context, session, Expiry(OLD, "a year", last)) == 2
    assert site.files() == 3
    assert finish_deletions(context.database, context.folder.root) == 2
    assert site.files() == 1
    with site.session() as session:
        assert session.exec(select(PendingDeletion)).all() == []
        assert len(session.exec(select(Instance)).all()) == 1


def test_without_a_rule_nothing_goes(site: Site) -> None:
    site.now += dt.timedelta(days=36600)
    bare = Context(
        Settings(data_folder=site.context.folder.root),
        site.context.folder,
        site.context.database,
        site.context.clock,
    )
    assert expire_studies(bare, dry_run=False)["expired"] == []
    assert site.files() == 3


def test_the_daily_sweep_waits_an_hour_and_distrusts_a_clock_that_was_set(site: Site) -> None:
    seconds = 0.0
    daily = DailyRetention(site.context, lambda: seconds)
    site.now += dt.timedelta(days=400)
    seconds = 3599
    daily.attend()
    assert site.files() == 3
    seconds = 3601  # an hour has passed and the clock shows four hundred days
    daily.attend()
    assert site.files() == 3
    honest = DailyRetention(site.context, lambda: seconds)
    site.now += dt.timedelta(hours=2)
    seconds += 7200
    honest.attend()
    assert site.files() == 1

"""A store, a database and a clock for tests of the index."""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset
from sqlmodel import SQLModel, col, select

from dicom_node.arrivals import nanoseconds
from dicom_node.database import Database
from dicom_node.decisions import Outcome, decide
from dicom_node.indexing import IndexResult, index_spool
from dicom_node.models import (
    Instance,
    MisplacedFile,
    Quarantined,
    QuarantineDecision,
    Series,
    Study,
    SupersededInstance,
)
from dicom_node.reindexing import ReindexResult, reindex
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from labeling.models import LabelingRun
from tests.builders import MEMORY_DISK, received, uid
from training.models import Cohort, Prediction

TABLES = (LabelingRun, Cohort, Prediction)
"""Loaded for the tables of their modules: some refer to studies."""

DERIVED: tuple[type[SQLModel], ...] = (
    Study,
    Series,
    Instance,
    SupersededInstance,
    Quarantined,
    QuarantineDecision,
    MisplacedFile,
)
"""Tables whose rows are made of files, parents first."""

NOW = dt.datetime(2026, 1, 2, 12, 0, tzinfo=dt.UTC)


@contextlib.contextmanager
def index_database(folder: Path) -> Iterator[Database]:
    """Yield an empty database; rooms share it, one after the other, because opening one is slow."""
    database = Database(f"sqlite:///{folder / 'index.sqlite'}")
    SQLModel.metadata.create_all(database.engine)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def index_room(database: Database) -> Iterator[Room]:
    """Yield a room; the database is empty afterwards."""
    try:
        with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
            yield Room(Path(folder), database)
    finally:
        with database.write() as session:
            for table in reversed(SQLModel.metadata.sorted_tables):
                session.execute(sa.delete(table))


class Room:
    """A store, a database and a clock that the test owns."""

    def __init__(self, root: Path, database: Database) -> None:
        self.store = DicomStore(root)
        self.store.recover()
        self.database = database
        self.settings = DicomSettings()
        self.now = NOW
        self.taken = 0

    def take(self, data_set: Dataset, **names: str) -> str:
        """Receive an object now; each one later than the one before."""
        digest = self.store.store(received(data_set, **names))
        arrival = self.now + dt.timedelta(microseconds=self.taken)
        self.taken += 1
        with contextlib.suppress(FileNotFoundError):
            self.store.date_spooled(digest, nanoseconds(arrival))
        return digest

    @staticmethod
    def digest_of(data_set: Dataset) -> str:
        """Return the name of an object's file."""
        return received(data_set).digest

    def refuse(self, data_set: Dataset, **names: str) -> str:
        """Refuse an object as a receiver does."""
        return self.store.quarantine(received(data_set, **names), "a reason of the receiver")

    def decide(
        self, action: str, digest: str, on_study: Any = None, *, by: str = "radiographer"
    ) -> Outcome:
        """Decide as a person."""
        return decide(
            self.database,
            self.store,
            self.settings,
            lambda: self.now,
            digest,
            action,
            by=by,
            reason=f"a reason to {action}",
            on_study=on_study,
        )

    def reindex(self, on_study: Any = None, *, dry_run: bool = False) -> ReindexResult:
        """Rebuild the index from files."""
        return reindex(
            self.database,
            self.store,
            self.settings,
            lambda: self.now,
            on_study,
            dry_run=dry_run,
        )

    def forget(self) -> None:
        """Lose every row that was made of files."""
        with self.database.write() as session:
            for table in reversed(DERIVED):
                session.execute(sa.delete(table))

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        """Return every row that is made of files, without numbers that only count them."""
        found = {}
        with self.database.read() as session:
            for table in DERIVED:
                rows = [row.model_dump(exclude={"id"}) for row in session.exec(select(table))]
                found[table.__tablename__] = sorted(rows, key=str)
        return found

    def places(self) -> dict[str, str]:
        """Return the folder of each file, and of each notice."""
        return {
            path.name: path.relative_to(self.store.root).parts[0]
            for path in self.store.root.rglob("*.*")
            if path.suffix in (".dcm", ".json")
        }

    def index(self, on_study: Any = None) -> IndexResult:
        return index_spool(self.database, self.store, self.settings, lambda: self.now, on_study)

    def study(self, name: str = "S1") -> Study:
        with self.database.read() as session:
            return session.exec(
                select(Study).where(Study.study_instance_uid == uid("study", name))
            ).one()

    def reasons(self) -> list[str]:
        with self.database.read() as session:
            return list(session.exec(select(Quarantined.reason).order_by(col(Quarantined.id))))

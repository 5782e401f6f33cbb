"""A store, a database and a clock for tests of the index."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from sqlmodel import SQLModel, col, select

from dicom_node.arrivals import nanoseconds
from dicom_node.database import Database
from dicom_node.indexing import IndexResult, index_spool
from dicom_node.models import Quarantined, Study
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from labeling.models import LabelingRun
from tests.builders import MEMORY_DISK, received, uid
from training.models import Cohort, Prediction

TABLES = (LabelingRun, Cohort, Prediction)
"""Loaded for the tables of their modules: some refer to studies."""

NOW = dt.datetime(2026, 1, 2, 12, 0, tzinfo=dt.UTC)


def empty_index(folder: Path) -> Path:
    """Make an empty database that rooms copy."""
    path = folder / "index.sqlite"
    database = Database(f"sqlite:///{path}")
    SQLModel.metadata.create_all(database.engine)
    database.close()
    return path


@contextlib.contextmanager
def index_room(empty_database: Path) -> Iterator[Room]:
    """Yield a room of its own."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        room = Room(Path(folder), empty_database)
        try:
            yield room
        finally:
            room.database.close()


class Room:
    """A store, a database and a clock that the test owns."""

    def __init__(self, root: Path, empty_database: Path) -> None:
        self.store = DicomStore(root)
        self.store.recover()
        shutil.copy(empty_database, root / "index.sqlite")
        self.database = Database(f"sqlite:///{root / 'index.sqlite'}")
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

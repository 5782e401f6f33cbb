"""Order and memory for a rebuild of the index: a private database that vanishes when it is closed.

However many files there are, only a group of them is in memory at a time.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from dicom_node.arrivals import arrival_time, nanoseconds
from dicom_node.storage import is_digest

ARCHIVE, QUARANTINE = 0, 1

_LAYOUT = """
CREATE TABLE file (received_ns INTEGER, digest TEXT, place INTEGER, PRIMARY KEY (digest, place));
CREATE TABLE study (uid TEXT PRIMARY KEY, identity TEXT);
"""


class Scratch:
    """Remembers where each file lies and who each study was; use as a context manager."""

    def __init__(self) -> None:
        # An empty name is a database of its own, on disk where it is large.
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.executescript(_LAYOUT)

    def __enter__(self) -> Scratch:
        self._connection.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add_files(self, paths: Iterable[Path], place: int) -> None:
        """Remember files whose name is a digest; others are none of the store's."""
        self._connection.executemany(
            "INSERT INTO file VALUES (?, ?, ?)",
            (
                (nanoseconds(arrival_time(path.stat())), path.stem, place)
                for path in paths
                if is_digest(path.stem)
            ),
        )

    def files(self) -> Iterator[tuple[str, dt.datetime, int]]:
        """Yield digest, time of arrival and place of every file, in order of arrival."""
        query = "SELECT digest, received_ns, place FROM file ORDER BY received_ns, digest, place"
        for digest, received_ns, place in self._connection.execute(query):
            yield digest, _time(received_ns), place

    def lies_in_both(self, digest: str) -> bool:
        """Tell whether archive and quarantine hold the same bytes."""
        query = "SELECT count(*) FROM file WHERE digest = ?"
        (found,) = self._connection.execute(query, (digest,)).fetchone()
        return bool(found > 1)

    def received_at(self, digest: str) -> dt.datetime | None:
        """Return when an object arrived; None where there is no such file."""
        query = "SELECT min(received_ns) FROM file WHERE digest = ?"
        (found,) = self._connection.execute(query, (digest,)).fetchone()
        return None if found is None else _time(found)

    def add_studies(self, identities: Iterable[tuple[str, str]]) -> None:
        """Remember who each study was, as a digest."""
        self._connection.executemany("INSERT INTO study VALUES (?, ?)", identities)

    def identity(self, study_instance_uid: str) -> str:
        """Return who a study was; empty where it was unknown."""
        query = "SELECT identity FROM study WHERE uid = ?"
        found = self._connection.execute(query, (study_instance_uid,)).fetchone()
        return str(found[0]) if found else ""

    def studies(self) -> Iterator[str]:
        """Yield the Study Instance UID of every study that was known."""
        for (uid,) in self._connection.execute("SELECT uid FROM study ORDER BY uid"):
            yield uid


def _time(received_ns: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=received_ns // 1000)

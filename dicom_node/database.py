"""One database, one writer: engine, sessions and column types shared by every table.

SQLite is opened in WAL mode with ``synchronous=FULL``: a commit that returned survives a power
cut. Before SQLite 3.51.3 two connections that write or checkpoint at once can corrupt a WAL file,
so a file has exactly one writing connection, guarded by a lock; readers are ``query_only``.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine, String, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool, StaticPool
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel

from dicom_node.durable import StorageFailed
from dicom_node.errors import Transient

_DISK_FAILURES = frozenset(
    ("SQLITE_IOERR", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC", "SQLITE_IOERR_WRITE")
)

_Value = TypeVar("_Value")

Clock = Callable[[], dt.datetime]
"""Returns the current time as an aware datetime; an argument everywhere, so tests own the time."""


def utc_now() -> dt.datetime:
    """Return the current time in UTC."""
    return dt.datetime.now(dt.UTC)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware datetime, stored as ISO 8601 text in UTC so that text order is time order."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> str | None:
        """Turn an aware datetime into UTC text; a naive one is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone cannot be stored")
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> dt.datetime | None:
        """Turn stored text back into an aware datetime."""
        return None if value is None else dt.datetime.fromisoformat(value)


class Database:
    """Opens ``url`` and hands out write sessions (one at a time) and read sessions.

    Args:
        url: an SQLAlchemy URL, for example ``sqlite:////var/lib/radloop/radloop.sqlite``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.RLock()
        self.filing = threading.RLock()
        """Held by whoever changes rows and the places of files together; taken before a session."""
        self.failure = ""
        """Why nothing can be written any more, or empty."""
        self._writer = _engine(url, writes=True)
        self._reader = _engine(url, writes=False)

    @property
    def engine(self) -> Engine:
        """The writing engine, for migrations."""
        return self._writer

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield the writing session; commit when the block ends, roll back when it raises.

        Raises:
            StorageFailed: the disk failed to keep a commit, now or earlier. Only a new process may
                write again: after a failed sync the kernel may forget what it could not write.
        """
        with self._lock, Session(self._writer, expire_on_commit=False) as session:
            if self.failure:
                raise StorageFailed(self.failure)
            try:
                yield session
                session.commit()
            except BaseException as error:
                session.rollback()
                if _is_disk_failure(error):
                    self.failure = "the disk failed while the database was written"
                    raise StorageFailed(self.failure) from error
                raise

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that sees the last commit and cannot write."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    def compact(self) -> None:
        """Rewrite the database so that no file holds anything that was deleted from it.

        Readers may go on; writers wait. Needs room for a second copy.

        Raises:
            Transient: no room, or a reader did not finish in time; nothing is lost.
        """
        if not self.url.startswith("sqlite"):
            return
        try:
            with self._lock, self._writer.connect() as connection:
                plain = connection.execution_options(isolation_level="AUTOCOMMIT")
                plain.exec_driver_sql("VACUUM")
                busy = plain.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
        except OperationalError as error:
            raise Transient("the database could not be rewritten: is the disk full?") from error
        if busy:
            raise Transient("the database could not be rewritten: a reader holds an old state")

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        self._writer.dispose()


def insert_if_absent(
    session: Session, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows; one that a unique constraint forbids is left as it stands.

    The constraint decides and not a look beforehand, so two writers cannot both find nothing.
    """
    if not rows:
        return
    dialect = session.get_bind().dialect.name
    statement = postgresql.insert if dialect == "postgresql" else sqlite.insert
    session.execute(statement(table).on_conflict_do_nothing(), [dict(row) for row in rows])


def chunks(values: Iterable[_Value], size: int = 500) -> Iterator[list[_Value]]:
    """Yield the values in lists that fit into one statement."""
    found = list(values)
    for start in range(0, len(found), size):
        yield found[start : start + size]


def _is_disk_failure(error: BaseException) -> bool:
    """Tell whether SQLite could not write or sync; a full disk is something else and passes."""
    original = getattr(error, "orig", None)
    return str(getattr(original, "sqlite_errorname", "")) in _DISK_FAILURES


def _engine(url: str, *, writes: bool) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    pool: type[StaticPool] | type[QueuePool] = StaticPool if writes else QueuePool
    # The text of an error would say the values of a statement: they name patients.
    engine = create_engine(
        url,
        poolclass=pool,
        connect_args={"check_same_thread": False},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=30000")
        cursor.execute("PRAGMA foreign_keys=ON")
        if writes:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            # What is deleted is patient data: its bytes are overwritten in the page.
            cursor.execute("PRAGMA secure_delete=ON")
        else:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    return engine

"""After a commit that the disk did not keep, this process writes nothing more."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from dicom_node.database import Database
from dicom_node.durable import StorageFailed


def test_a_failed_commit_ends_writing_for_good(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'node.sqlite'}")
    try:
        with database.write() as session:
            session.execute(text("create table t (x integer)"))

        def fail(_connection: object) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise OperationalError("COMMIT", None, error)

        event.listen(database.engine, "commit", fail)
        with pytest.raises(StorageFailed, match="disk failed"), database.write() as session:
            session.execute(text("insert into t values (1)"))
        event.remove(database.engine, "commit", fail)
        assert database.failure
        with pytest.raises(StorageFailed, match="disk failed"), database.write() as session:
            session.execute(text("insert into t values (2)"))
        with database.read() as session:
            assert session.execute(text("select count(*) from t")).scalar_one() == 0
    finally:
        database.close()


def test_an_error_does_not_say_the_values_of_its_statement(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'node.sqlite'}")
    try:
        with pytest.raises(OperationalError) as raised, database.write() as session:
            session.execute(
                text("insert into nowhere values (:study)"), {"study": "1.2.840.PATIENT"}
            )
        assert "PATIENT" not in str(raised.value)
        with pytest.raises(OperationalError) as raised, database.read() as session:
            session.execute(text("select :x from nowhere"), {"x": "1.2.840.PATIENT"})
        assert "PATIENT" not in str(raised.value)
    finally:
        database.close()

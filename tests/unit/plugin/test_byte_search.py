"""Searching the files of an open database: what is found, and that its locks hold afterwards."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from dicom_node.database import Database
from plugin.byte_search import files_holding
from plugin.folders import DataFolder
from plugin.stages.erase_files import files_that_mention

_LOOK = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT * FROM t'))"


def _look(folder: DataFolder) -> str:
    """Read the table in a process of its own."""
    command = [sys.executable, "-c", _LOOK, str(folder.database)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_needles_are_found_across_pieces_and_files_that_are_gone_are_passed_over(
    tmp_path: Path,
) -> None:
    (tmp_path / "across").write_bytes(b"." * ((1 << 20) - 3) + b"1.2.840" + b"." * 9)
    (tmp_path / "without").write_bytes(b"1.2.84")
    paths = [tmp_path / name for name in ("across", "without", "gone")]
    assert files_holding(paths, [b"9.9", b"1.2.840"]) == [tmp_path / "across"]
    assert files_holding(paths, []) == []


def test_another_process_that_looks_afterwards_takes_no_commit_away(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    database = Database(folder.database_url)
    with database.write() as session:
        session.execute(text("CREATE TABLE t (value TEXT)"))
        session.execute(text("INSERT INTO t VALUES ('1.2.840')"))
    assert files_that_mention(folder, ["1.2.840"]) == ["radloop.sqlite-wal"]
    # As `radloop status` does. Without the locks its end would remove the log of the commits.
    assert "1.2.840" in _look(folder)
    with database.write() as session:
        session.execute(text("INSERT INTO t VALUES ('later')"))
    assert "later" in _look(folder)
    database.close()
    with closing(sqlite3.connect(folder.database)) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == [("1.2.840",), ("later",)]

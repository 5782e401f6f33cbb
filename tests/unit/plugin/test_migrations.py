"""From the first layout to the newest: the same tables as a fresh database, and no row lost."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import Session, select

from dicom_node.database import Database
from dicom_node.models import Instance, Quarantined, Study
from plugin.migrations import MIGRATIONS, SchemaVersion, migrate

LAYOUT_1 = (Path(__file__).parent / "layout_1.sql").read_text()
TIME = "2026-01-02T12:00:00.000000+00:00"
QUARANTINED = {
    "refused": ("the receiver's reason", "1.2", ""),
    "unreadable": ("the header cannot be parsed (EOFError)", "", ""),
    "content": ("another object with the same SOP Instance UID is stored already", "1.3", "1"),
    "place": ("its series belongs to another study", "1.4", "1"),
    "identity": ("its study belongs to another patient", "1.5", "1"),
}


@pytest.fixture
def early(tmp_path: Path) -> Path:
    path = tmp_path / "radloop.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(LAYOUT_1)
    connection.execute("INSERT INTO schema_version VALUES (1, ?)", (TIME,))
    study = ("1", "P1", "NORTH", 0, "A^B", "19700101", "F", "A1", "", 0, "", "", "", "CT1")
    connection.execute(f"INSERT INTO study VALUES ({','.join('?' * 16)})", (*study, TIME, TIME))
    connection.execute("INSERT INTO series VALUES ('1.1', '1', 'MR', '', '', '', '', '')")
    instance = ("1.1.1", "a" * 64, "1.1", "1.2", "1.2", "1", 100, "CT1", "RADLOOP", TIME)
    connection.execute(f"INSERT INTO instance VALUES ({','.join('?' * 10)})", instance)
    for number, (reason, sop, study_uid) in enumerate(QUARANTINED.values()):
        row = (number + 1, "dicom", str(number) * 64, reason, "CT1", sop, study_uid, None, TIME)
        connection.execute(f"INSERT INTO quarantined VALUES ({','.join('?' * 9)})", row)
    row = (9, "hl7", "9" * 64, "no MSH", "A|B", "", "", 1, TIME)
    connection.execute(f"INSERT INTO quarantined VALUES ({','.join('?' * 9)})", row)
    connection.commit()
    connection.close()
    return path


def _layout(url: str) -> dict[str, Any]:
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    found = {}
    for table in inspector.get_table_names():
        columns = {
            each["name"]: (str(each["type"]), each["nullable"], each["primary_key"])
            for each in inspector.get_columns(table)
        }
        indexes = {each["name"]: each["column_names"] for each in inspector.get_indexes(table)}
        keys = [
            (each["constrained_columns"], each["referred_table"])
            for each in inspector.get_foreign_keys(table)
        ]
        unique = sorted(each["column_names"] for each in inspector.get_unique_constraints(table))
        found[table] = (columns, indexes, sorted(keys), unique)
    engine.dispose()
    return found


def test_a_migrated_database_is_laid_out_like_a_fresh_one(early: Path, tmp_path: Path) -> None:
    urls = f"sqlite:///{early}", f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    for url in urls:
        database = Database(url)
        migrate(database)
        database.close()
    migrated, fresh = map(_layout, urls)
    assert migrated == fresh


def test_rows_of_the_first_layout_are_kept_and_told_apart(early: Path) -> None:
    database = Database(f"sqlite:///{early}")
    assert migrate(database) == len(MIGRATIONS) - 1
    with database.read() as session:
        assert session.get_one(Study, "1").patient_id == "P1"
        instance = session.get_one(Instance, "1.1.1")
        assert (instance.digest, instance.declared_identity) == ("a" * 64, "")
        rows = session.exec(select(Quarantined).order_by(Quarantined.id)).all()
        assert [row.cause for row in rows] == [*QUARANTINED, ""]
        assert {row.state for row in rows} == {"open"}
    database.close()


def test_migrating_again_changes_nothing(early: Path) -> None:
    database = Database(f"sqlite:///{early}")
    migrate(database)
    before = _layout(database.url)
    assert migrate(database) == 0
    with database.write() as session:
        for change in MIGRATIONS:
            change(session.connection())
    assert _layout(database.url) == before
    with Session(database.engine) as session:
        assert len(session.exec(select(SchemaVersion)).all()) == len(MIGRATIONS)
    database.close()

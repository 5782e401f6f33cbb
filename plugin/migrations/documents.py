"""What documents that came as objects are, name and follow."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.migrations.changes import add_missing_columns, add_missing_tables


def add_lines_of_documents(connection: sa.Connection) -> None:
    """Add what documents name, and how reports among them are filed; all are read again."""
    add_missing_tables(connection)
    names = ("sender", "dated", "filed_dated", "patient_id")
    add_missing_columns(connection, "dicom_document", dict.fromkeys(names, ""))

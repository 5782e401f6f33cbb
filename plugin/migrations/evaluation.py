"""Plans of evaluations and their openings, and the institution that images name."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.migrations.changes import add_missing_columns, add_missing_tables


def add_evaluations(connection: sa.Connection) -> None:
    """Add tables and a column; of series that came earlier the institution stays unknown."""
    add_missing_tables(connection)
    add_missing_columns(connection, "series", {"institution_name": ""})

"""What the node asks other archives for, and what it makes of what they answer."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.migrations.changes import add_missing_columns, add_missing_tables


def add_solicited_studies(connection: sa.Connection) -> None:
    """Add how objects came; all that earlier layouts hold was sent on the sender's own account."""
    add_missing_tables(connection)
    add_missing_columns(connection, "instance", {"way": ""})


def add_retrievals(connection: sa.Connection) -> None:
    """Add what is asked of archives, and how earlier versions of objects came."""
    add_missing_tables(connection)
    add_missing_columns(connection, "superseded_instance", {"way": ""})

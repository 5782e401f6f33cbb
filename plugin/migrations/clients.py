"""What the node asks other archives for, and what it makes of what they answer."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.migrations.changes import add_missing_columns, add_missing_tables


def add_solicited_studies(connection: sa.Connection) -> None:
    """Add how objects came; all that earlier layouts hold was sent on the sender's own account."""
    add_missing_tables(connection)
    add_missing_columns(connection, "instance", {"way": ""})


def add_attempts_of_commitment(connection: sa.Connection) -> None:
    """Add which attempt at storage commitment runs, and what a request waits for."""
    add_missing_tables(connection)
    add_missing_columns(connection, "commitment_request", {"running": "", "filing": "0"})
    add_missing_columns(connection, "commitment_inquiry", {"running": "", "settled_by": "0"})
    add_missing_columns(connection, "commitment_transaction", {"number": "0"})


def add_outcomes_of_imports(connection: sa.Connection) -> None:
    """Add how imports of objects ended; what earlier layouts hold has ended or was cut off."""
    add_missing_tables(connection)
    add_missing_columns(connection, "object_import", {"outcome": ""})


def add_retrievals(connection: sa.Connection) -> None:
    """Add what is asked of archives, and how earlier versions of objects came."""
    add_missing_tables(connection)
    add_missing_columns(connection, "superseded_instance", {"way": ""})


def add_askings(connection: sa.Connection) -> None:
    """Add each asking of an archive, and what of a study is waited for.

    Rows that wait for arrivals have no list of what was named: numbers judge them as before.
    """
    add_missing_tables(connection)
    add_missing_columns(connection, "retrieval", {"wanted_uids": "[]", "lacked": ""})

"""Silent models, what a gate found, and notes that a person closed."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.migrations.changes import add_missing_columns, add_missing_tables, add_nullable_columns


def add_silent_models(connection: sa.Connection) -> None:
    """Add the stage of predictions, details of events and closings of notes.

    Until now every prediction was a live model's, and a model retired by itself or for another.
    """
    add_missing_tables(connection)
    add_missing_columns(connection, "prediction", {"stage": "live"})
    if add_missing_columns(connection, "model_event", {"details": "{}"}):
        connection.exec_driver_sql(
            "UPDATE model_event SET details = '{\"replaced_by\": 0}' "
            "WHERE stage = 'retired' AND reason LIKE 'replaced by version %'"
        )
    add_missing_columns(connection, "impact_note", {"closed_by": "", "closed_reason": ""})
    add_nullable_columns(connection, "impact_note", ("closed_at",))


def add_grounds_of_notes(connection: sa.Connection) -> None:
    """Add on what impact notes rest, and of which scanner and house predicted studies are.

    Earlier rows do not tell: a note that was closed is opened once more where its cause still
    stands, and the monitor asks the series of a study that an earlier row is of.
    """
    add_missing_columns(connection, "impact_note", {"grounds": ""})
    add_missing_columns(connection, "prediction", {"scanner": "", "house": ""})

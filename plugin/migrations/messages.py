"""Migration: inputs and versions of reports, events of patients, orders, feeds, impact notes."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.migrations.changes import add_missing_columns, add_missing_tables

_PROVISIONAL = ("P", "R", "S", "A", "M")

_COLUMNS = {
    "erasure": {"journal_segment": "0"},
    "label": {"provisional": "0"},
    "message": {"note": "", "source": "mllp", "peer": "", "profile_digest": ""},
    "report": {
        "sender": "",
        "content_digest": "",
        "sections": "[]",
        "history": "0",
        "body_part": "",
        "interpreter": "",
    },
}


def add_reports_as_living_truth(connection: sa.Connection) -> None:
    """Add tables and columns of message filing and linking."""
    add_missing_tables(connection)
    present = {column["name"] for column in sa.inspect(connection).get_columns("report")}
    if "input_id" not in present:
        connection.exec_driver_sql("ALTER TABLE report ADD COLUMN input_id INTEGER")
    added = {
        table: add_missing_columns(connection, table, values) for table, values in _COLUMNS.items()
    }
    # Merges are events now; they are made of the stored messages, which are read again.
    connection.exec_driver_sql("DROP TABLE IF EXISTS patient_alias")
    # It held nearly every row, and led the database away from better ones.
    connection.exec_driver_sql("DROP INDEX IF EXISTS ix_report_is_current")
    if added["label"]:
        connection.execute(
            sa.text(
                "UPDATE label SET provisional = 1 WHERE report_id IN "
                "(SELECT id FROM report WHERE result_status IN :statuses)"
            ).bindparams(sa.bindparam("statuses", _PROVISIONAL, expanding=True))
        )

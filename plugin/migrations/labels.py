"""Labels with spans, severity and places; calibrations, qualifications, samples for readers."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.migrations.changes import add_missing_columns, add_missing_tables, add_nullable_columns


def add_calibrated_labels(connection: sa.Connection) -> None:
    """Add what labelers of every kind say, and what was measured of them.

    What an earlier layout calls the digest of the prompt was of the questions alone.
    """
    add_missing_tables(connection)
    texts = {"calibration_digest": "", "model_name": "", "question_digest": ""}
    if "question_digest" in add_missing_columns(connection, "labeling_run", texts):
        connection.exec_driver_sql("UPDATE labeling_run SET question_digest = prompt_digest")
    lists = {"more_evidence": "[]", "severity": "", "locations": "[]", "own_state": ""}
    add_missing_columns(connection, "label", lists)
    add_nullable_columns(connection, "label", ("mention_margin",))
    quoted = {"severity": "", "quote": "", "blinded": "", "sampling": ""}
    add_missing_columns(connection, "reference_label", quoted)


def add_reference_samples(connection: sa.Connection) -> None:
    """Add drawn samples; readers' labels of earlier layouts are of none."""
    add_missing_tables(connection)
    add_missing_columns(connection, "reference_label", {"role": "", "sample_digest": ""})

"""Cohorts that say what they were made of: texts, labels, images, code; opt-outs; pictures."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.migrations.changes import add_missing_columns, add_missing_tables


def add_provenance_of_cohorts(connection: sa.Connection) -> None:
    """Add what new cohorts hold; earlier ones leave it empty and keep their digests."""
    add_missing_tables(connection)
    add_missing_columns(connection, "cohort", {"provenance": "{}"})
    add_missing_columns(
        connection, "cohort_member", {"report_sha256": "", "labels_sha256": "", "images": "[]"}
    )


def add_details_of_members(connection: sa.Connection) -> None:
    """Add severities and places that members learn from, and what rules for series take."""
    add_missing_tables(connection)
    add_missing_columns(connection, "cohort_member", {"details": "{}"})

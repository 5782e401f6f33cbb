"""Layout 2: versions of instances, and quarantined objects that persons decide about."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.migrations.changes import add_missing_columns, add_missing_tables

# Layout 1 told the causes apart by their reasons alone.
_CAUSES = (
    ("sop_instance_uid <> '' AND study_instance_uid = ''", "refused"),
    ("reason LIKE 'another object with the same SOP Instance UID%'", "content"),
    ("reason = 'its series belongs to another study'", "place"),
    ("reason = 'its study belongs to another patient'", "identity"),
    ("cause = ''", "unreadable"),
)


def add_duplicates(connection: sa.Connection) -> None:
    """Bring the tables of layout 1 to layout 2.

    Rows of layout 1 hold no identity; ``radloop reindex`` fills it in, and until then it is read
    from the file where it is needed.
    """
    add_missing_tables(connection)
    add_missing_columns(connection, "instance", {"declared_identity": ""})
    added = add_missing_columns(
        connection,
        "quarantined",
        {
            "cause": "",
            "state": "open",
            "series_instance_uid": "",
            "other_study_instance_uid": "",
            "declared_identity": "",
        },
    )
    if "cause" not in added:
        return
    for condition, cause in _CAUSES:
        connection.execute(
            sa.text(
                "UPDATE quarantined SET cause = :cause "  # noqa: S608 - a constant condition
                f"WHERE kind = 'dicom' AND cause = '' AND {condition}"
            ),
            {"cause": cause},
        )

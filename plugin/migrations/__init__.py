"""Numbered changes of the database layout, applied in order and recorded.

The first migration creates every table as the models describe it now. A later change of a model
comes with a numbered function that does nothing where its work is done already; a test compares a
migrated database with the models.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, Session, SQLModel, col, select

# The imports fill SQLModel.metadata with every table.
import dicom_node.commitment.models
import dicom_node.documents.models
import dicom_node.feeds.models
import dicom_node.history.models
import dicom_node.imports.models
import dicom_node.life_models
import dicom_node.linking.models
import dicom_node.models
import dicom_node.reports.models
import dicom_node.retrieval.models
import labeling.models
import training.evaluation.models
import training.exports.models
import training.impact_models
import training.models
import training.series_choices
from dicom_node.database import Database, UtcDateTime, utc_now
from plugin.migrations.changes import add_missing_tables
from plugin.migrations.clients import (
    add_askings,
    add_attempts_of_commitment,
    add_outcomes_of_imports,
    add_retrievals,
    add_solicited_studies,
)
from plugin.migrations.cohorts import add_details_of_members, add_provenance_of_cohorts
from plugin.migrations.documents import add_lines_of_documents
from plugin.migrations.duplicates import add_duplicates
from plugin.migrations.evaluation import add_evaluations
from plugin.migrations.labels import add_calibrated_labels, add_reference_samples
from plugin.migrations.messages import add_reports_as_living_truth
from plugin.migrations.stages import add_grounds_of_notes, add_silent_models

__all__ = ["MIGRATIONS", "SchemaVersion", "layout_of", "migrate"]

TABLES = (
    dicom_node.models,
    dicom_node.life_models,
    dicom_node.commitment.models,
    dicom_node.documents.models,
    dicom_node.feeds.models,
    dicom_node.history.models,
    dicom_node.imports.models,
    dicom_node.linking.models,
    dicom_node.reports.models,
    dicom_node.retrieval.models,
    labeling.models,
    training.evaluation.models,
    training.exports.models,
    training.impact_models,
    training.models,
    training.series_choices,
)


class SchemaVersion(SQLModel, table=True):
    """A migration that was applied."""

    __tablename__ = "schema_version"

    number: int = Field(primary_key=True)
    applied_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)


MIGRATIONS: tuple[Callable[[sa.Connection], Any], ...] = (
    add_missing_tables,
    add_duplicates,
    add_missing_tables,  # completions, tombstones, erasures
    add_reports_as_living_truth,
    add_calibrated_labels,
    add_missing_tables,  # runs in force
    add_provenance_of_cohorts,
    add_missing_tables,  # exports of cohorts
    add_reference_samples,
    add_details_of_members,
    add_evaluations,
    add_silent_models,
    add_grounds_of_notes,
    add_solicited_studies,
    add_missing_tables,  # imports of objects
    add_missing_tables,  # storage commitment
    add_retrievals,
    add_missing_tables,  # documents, rejected instances
    add_attempts_of_commitment,
    add_askings,
    add_outcomes_of_imports,
    add_lines_of_documents,
)


def migrate(database: Database) -> int:
    """Bring the database to the newest layout; return the number of migrations applied now.

    Raises:
        RuntimeError: the database was written by a newer radloop.
    """
    SQLModel.metadata.tables["schema_version"].create(database.engine, checkfirst=True)
    applied = 0
    with database.write() as session:
        done = _newest(session)
        if done > len(MIGRATIONS):
            raise RuntimeError(f"the database has layout {done}, newer than this radloop knows")
        for number, change in enumerate(MIGRATIONS[done:], start=done + 1):
            change(session.connection())
            session.add(SchemaVersion(number=number, applied_at=utc_now()))
            applied += 1
    return applied


def layout_of(database: Database) -> int:
    """Return the number of the database's layout; 0 while a node first starts."""
    with database.read() as session:
        if not sa.inspect(session.connection()).has_table(SchemaVersion.__tablename__):
            return 0
        return _newest(session)


def _newest(session: Session) -> int:
    return (
        session.exec(
            select(SchemaVersion.number).order_by(col(SchemaVersion.number).desc())
        ).first()
        or 0
    )

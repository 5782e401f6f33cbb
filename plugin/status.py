"""The state of the node at a glance, read from the tables and the folders."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, SQLModel, col, select

from dicom_node.commitment.queries import commitment_counts
from dicom_node.documents.models import DicomDocument
from dicom_node.life_models import Erasure, SolicitedStudy, Tombstone
from dicom_node.linking.queries import unlinked_reports
from dicom_node.models import (
    Instance,
    Link,
    Message,
    Quarantined,
    Report,
    Series,
    Study,
    Transmission,
)
from dicom_node.quarantine import OPEN
from dicom_node.storage import DicomStore
from dicom_node.studies import frozen_studies
from labeling.models import Label, LabelingRun
from plugin import control
from plugin.context import open_for_reading
from plugin.folders import DataFolder
from plugin.settings import Settings
from plugin.stages.backfill import list_backfills
from plugin.stages.import_journal import list_imports
from training.models import Model, Prediction

_LISTED = 50
_NEWEST = 5


def node_status(settings: Settings) -> dict[str, Any]:
    """Return counts, links by state, what is quarantined and what is not linked, JSON-ready."""
    folder = DataFolder(settings.data_folder)
    health = control.health(folder.control_socket)
    found: dict[str, Any] = {
        "running": bool(health),
        "receiving_failure": health.get("receiving_failure", ""),
        "ports": health.get("ports", {}),
        "research_use_only": True,
        "data_folder": str(folder.root),
    }
    with open_for_reading(settings) as session:
        if session is None:
            return {**found, "empty": True}
        spooled = DicomStore(folder.root).spooled_count()
        return {**found, "spooled": spooled, **_counts(session, folder.root)}


def _counts(session: Session, root: Path) -> dict[str, Any]:
    return {
        "instances": _count(session, Instance),
        "series": _count(session, Series),
        "studies": _count(session, Study),
        "expired_instances": _count(session, Tombstone),
        "erasures": _count(session, Erasure),
        "documents": _by(session, DicomDocument.kind),
        "messages": _count(session, Message),
        "messages_by_disposition": _by(session, Message.disposition),
        "reports": _count(session, Report),
        "links": _by(session, Link.state),
        **_unlinked(session),
        "labels": _count(session, Label),
        "labels_by_labeler": dict(
            session.exec(
                select(LabelingRun.labeler, func.count())
                .join(Label, col(Label.run_id) == col(LabelingRun.id))
                .group_by(LabelingRun.labeler)
            ).all()
        ),
        "models": _count(session, Model),
        "predictions": _count(session, Prediction),
        "transmissions": _by(session, Transmission.state),
        **commitment_counts(session),
        "fetched_or_imported_studies": _by(session, SolicitedStudy.way),
        "backfills": list_backfills(session)["backfills"][: -_NEWEST - 1 : -1],
        "imports": list_imports(session, root)["imports"][:_NEWEST],
        "quarantined": _quarantined(session),
        "frozen": [
            {"study_instance_uid": uid, "reasons": reasons}
            for uid, reasons in islice(frozen_studies(session).items(), _LISTED)
        ],
        "ignored": _ignored(session),
    }


def _unlinked(session: Session) -> dict[str, Any]:
    """Return how many reports are not linked, and the newest of them with the reasons."""
    found = unlinked_reports(session)
    newest = reversed(found[-_LISTED:])
    return {
        "unlinked_reports": len(found),
        "unlinked": [{"report": number, "reason": reason} for number, reason in newest],
    }


def _count(session: Session, table: type[SQLModel]) -> int:
    return session.exec(select(func.count()).select_from(table)).one()


def _by(session: Session, column: Any) -> dict[str, int]:
    return {
        str(key): number
        for key, number in session.exec(select(column, func.count()).group_by(column))
    }


def _quarantined(session: Session) -> list[dict[str, Any]]:
    query = (
        select(Quarantined)
        .where(Quarantined.state == OPEN)
        .order_by(col(Quarantined.id).desc())
        .limit(_LISTED)
    )
    return [
        {
            "kind": row.kind,
            "digest": row.digest,
            "reason": row.reason,
            "sender": row.sender,
            "received_at": row.received_at.isoformat(),
        }
        for row in session.exec(query)
    ]


def _ignored(session: Session) -> dict[str, int]:
    query = (
        select(Message.reason, func.count())
        .where(Message.disposition == "ignored")
        .group_by(Message.reason)
        .limit(_LISTED)
    )
    return dict(session.exec(query).all())

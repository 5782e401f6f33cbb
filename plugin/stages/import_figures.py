"""What the index knows about an import, and the figures that a person reads."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.database import chunks
from dicom_node.imports.fates import Fate, Taken
from dicom_node.imports.selection import Selection
from dicom_node.models import Instance, Quarantined, Study, SupersededInstance
from dicom_node.quarantine import DICOM
from plugin.stages.import_journal import FINISHED


def figures(
    taken: Taken, source: str, stopped_by: str, quarantined: int, not_found: int
) -> dict[str, Any]:
    """Return what an import, or a trial of it, did."""
    return {
        "source": source,
        "state": f"stopped by {stopped_by}" if stopped_by else FINISHED,
        "candidates": taken.fates.total(),
        **{str(fate): taken.fates[fate] for fate in Fate},
        "quarantined": quarantined,
        "studies": len(taken.studies),
        "bytes": taken.size,
        "file_meta_completed": taken.completed,
        "studies_not_found": not_found,
        "reasons": [
            {"fate": str(fate), "why": why, "files": number}
            for (fate, why), number in sorted(taken.reasons.items())
        ],
    }


def in_words(taken: Taken) -> str:
    """Return how far an import is."""
    return ", ".join(f"{number} {fate}" for fate, number in sorted(taken.fates.items())) or "none"


def not_found(session: Session, wanted: Selection) -> set[str]:
    """Return what was asked for by name, and neither came by nor is held."""
    names = set(wanted.unmet)
    columns: tuple[Any, ...] = (Study.study_instance_uid, Study.accession_number)
    for chunk in chunks(sorted(names)):
        for column in columns:
            names.difference_update(session.exec(select(column).where(col(column).in_(chunk))))
    return names


def quarantined(session: Session, taken: Taken) -> int:
    """Count what the index set aside of an import."""
    return sum(
        session.exec(
            select(func.count()).where(
                Quarantined.kind == DICOM, col(Quarantined.digest).in_(chunk)
            )
        ).one()
        for chunk in chunks(taken.digests)
    )


def digests_of(session: Session, sop_instance_uid: str) -> set[str]:
    """Return the digests under which the index holds an instance, earlier versions included."""
    found: set[str] = set()
    for table in (Instance, SupersededInstance):
        query: Any = select(table.digest).where(col(table.sop_instance_uid) == sop_instance_uid)
        found.update(session.exec(query))
    return found

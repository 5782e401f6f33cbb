"""On what a note rests: that a change came again, though its cause has the same name, must show.

A report that was corrected once more is stale for the same cause as before, and a person who
closed the note of the first correction has not seen the second one. So a note keeps what stood in
the tables when it was written, in the few ids that its cause is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from sqlmodel import Session, col, func, select

from dicom_node.database import chunks
from dicom_node.linking.models import LinkEvent
from dicom_node.models import Link, Report, Study
from dicom_node.retrieval.models import PacsDifference
from dicom_node.studies import decisions_on, study_digest
from training.membership import Ground
from training.patients import last_change_of_identity
from training.standing import Fault


class About(Protocol):
    """A study and a report version that a note is about; "" and 0: none."""

    @property
    def study_instance_uid(self) -> str:
        """The study."""

    @property
    def report_id(self) -> int:
        """The report version."""


_K = TypeVar("_K", bound=About)


def grounds_of(session: Session, ground: Ground, causes: Mapping[_K, str]) -> dict[_K, str]:
    """Return for everything that is stale the state of what its cause is about, as a short text.

    Args:
        session: any session.
        ground: how patients are told apart.
        causes: why each is stale; those with "" stand, and have none.
    """
    stale = {key: cause for key, cause in causes.items() if cause}
    current = _current_versions(session, {key.report_id for key in stale} - {0})
    known: dict[tuple[str, str], str] = {}
    found: dict[_K, str] = {}
    for key, cause in stale.items():
        look = _LOOKS.get(Fault(cause)) if cause in set(Fault) else None
        uid = key.study_instance_uid
        if look is not None and uid and (cause, uid) not in known:
            known[cause, uid] = look(session, ground, uid)
        about = known.get((cause, uid), "")
        if cause in _OF_REPORTS and key.report_id in current:
            about = f"version {current[key.report_id]} {about}".strip()
        found[key] = about
    return found


def _current_versions(session: Session, reports: set[int]) -> dict[int, int]:
    """Return by report version the id of the version of the same report that is current."""
    chains: dict[int, str] = {}
    for part in chunks(sorted(reports)):
        query = select(Report.id, Report.report_identity).where(col(Report.id).in_(part))
        chains |= {key or 0: chain for key, chain in session.exec(query)}
    newest: dict[str, int] = {}
    for names in chunks(sorted(set(chains.values()))):
        rows = session.exec(
            select(Report.report_identity, Report.id).where(
                col(Report.is_current), col(Report.report_identity).in_(names)
            )
        )
        newest |= {chain: key or 0 for chain, key in rows}
    return {key: newest[chain] for key, chain in chains.items() if chain in newest}


def _links(session: Session, _ground: Ground, uid: str) -> str:
    query = select(func.max(LinkEvent.id)).where(LinkEvent.study_instance_uid == uid)
    return f"decision {session.exec(query).one() or 0}"


def _reports(session: Session, _ground: Ground, uid: str) -> str:
    query = (
        select(Link.report_id)
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(Link.study_instance_uid == uid, col(Report.is_current))
        .order_by(col(Link.report_id))
    )
    return "reports " + ", ".join(map(str, session.exec(query)))


def _images(session: Session, _ground: Ground, uid: str) -> str:
    return f"images {study_digest(session, uid)[:16]}"


def _frozen(session: Session, _ground: Ground, uid: str) -> str:
    return f"decisions {decisions_on(session, uid)}"


def _identity(session: Session, ground: Ground, uid: str) -> str:
    study = session.get(Study, uid)
    if study is None:
        return ""
    whom = (study.issuer_of_patient_id, study.patient_id)
    changed = last_change_of_identity(session, ground.name_of, whom)
    return f"identity of {changed.isoformat()}" if changed else ""


def _in_pacs(session: Session, _ground: Ground, uid: str) -> str:
    query = select(func.max(PacsDifference.id)).where(PacsDifference.study_instance_uid == uid)
    return f"comparison {session.exec(query).one() or 0}"


_OF_REPORTS = frozenset({Fault.CORRECTED, Fault.WITHDRAWN, Fault.NOT_FINAL, Fault.LINK})
_LOOKS: Mapping[Fault, Callable[[Session, Ground, str], str]] = {
    Fault.LINK: _links,
    Fault.SEVERAL: _reports,
    Fault.IMAGES: _images,
    Fault.FROZEN: _frozen,
    Fault.PACS_IDENTITY: _in_pacs,
    Fault.PACS_ABSENT: _in_pacs,
    Fault.PACS_IMAGES: _in_pacs,
    Fault.REJECTED: _frozen,
    Fault.TWO_FOLDS: _identity,
    Fault.MOVED: _identity,
}

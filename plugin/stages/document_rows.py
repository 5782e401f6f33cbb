"""Rows of documents: what each is and names, and which others must be read again because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, or_, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.database import chunks
from dicom_node.documents.classifying import Signs
from dicom_node.documents.kinds import Kind, State
from dicom_node.documents.lines import Filing, Member, file_line, members_naming, members_of
from dicom_node.documents.models import DicomDocument, DocumentReference
from dicom_node.models import Instance

MOST_NAMED = 2_000
"""Documents that are noted as named by one."""
_MOST_IMAGES = 200

_OWN = (Kind.OURS, Kind.CORRECTION)


@dataclass(frozen=True)
class Waiting:
    """A document that is to be read."""

    instance: Instance
    study_instance_uid: str


@dataclass(frozen=True)
class Before:
    """What was known about a document, or an earlier version of it, before it was read."""

    kind: str = ""
    state: str = ""
    refers_to: tuple[str, ...] = ()

    def differs_as_own(self, row: DicomDocument) -> bool:
        """Tell whether others that name it must be read again: it is ours now, or was."""
        if (self.kind in _OWN) != (row.kind in _OWN):
            return True
        return row.kind in _OWN and self.refers_to != tuple(row.refers_to)


class Gone(Exception):
    """The document was deleted, erased or superseded while it was read; nothing is written."""


def check_current(session: Session, each: Waiting) -> None:
    """Make sure that a document is still there as it was read.

    Raises:
        Gone: it is not.
    """
    current = session.get(Instance, each.instance.sop_instance_uid)
    if current is None or current.digest != each.instance.digest:
        raise Gone


def before_of(session: Session, digest: str) -> Before:
    """Return what was known about a document."""
    row = session.get(DicomDocument, digest)
    return Before() if row is None else Before(row.kind, row.state, tuple(row.refers_to))


def put_row(
    session: Session,
    row: DicomDocument,
    signs: Signs | None,
    accepted: Callable[[str], bool],
) -> None:
    """Write what a document is, and have those read again that depend on it.

    Args:
        session: a writing session.
        row: about the document.
        signs: what it names; None where nobody read it.
        accepted: whether a person accepted the reports of a sender.
    """
    before = before_of(session, row.digest)
    session.merge(row)
    named = _named(signs) if signs is not None else []
    session.execute(delete(DocumentReference).where(col(DocumentReference.digest) == row.digest))
    if named:
        values = [{"digest": row.digest, **each} for each in named]
        session.execute(insert(DocumentReference), values)
    session.flush()
    if before.differs_as_own(row):
        _read_again(session, _naming(session, row.sop_instance_uid) - {row.digest})
    if signs is not None:
        start = members_naming(session, row.sop_instance_uid)
        if member := member_of(row, signs):
            start.append(member)
        refile(session, start, accepted)


def member_of(row: DicomDocument, signs: Signs) -> Member:
    """Return what counts of a document for its line."""
    return Member.of(row, tuple((uid, study) for study, uid in signs.predecessors))


def refile(session: Session, start: Iterable[Member], accepted: Callable[[str], bool]) -> set[str]:
    """Have those reports read again that their lines file otherwise now; return their digests."""
    waiting = {each.sop_instance_uid: each for each in start}
    again: set[str] = set()
    while waiting:
        _, member = waiting.popitem()
        line = file_line(session, member, accepted)
        again |= _filed_otherwise(session, line)
        for uid in line:
            waiting.pop(uid, None)
    _read_again(session, again)
    return again


def follow_acceptances(session: Session, accepted: Callable[[str], bool]) -> None:
    """Have reports of several senders read again that are filed otherwise since one may link."""
    rows = session.exec(_of_several_senders()).all()
    if rows:
        refile(session, members_of(session, rows), accepted)


def has_several_senders(session: Session) -> bool:
    """Tell whether there are reports of several senders."""
    return session.exec(_of_several_senders().limit(1)).first() is not None


def _of_several_senders() -> SelectOfScalar[str]:
    several = (
        select(DicomDocument.number)
        .where(DicomDocument.state == State.FILED)
        .group_by(DicomDocument.number)
        .having(
            or_(
                func.count(col(DicomDocument.sender).distinct()) > 1,
                func.count(col(DicomDocument.calling_ae_title).distinct()) > 1,
            )
        )
    )
    return select(DicomDocument.sop_instance_uid).where(col(DicomDocument.number).in_(several))


def _filed_otherwise(session: Session, line: dict[str, Filing]) -> set[str]:
    found: set[str] = set()
    for part in chunks(sorted(line)):
        query = (
            select(DicomDocument)
            .join(Instance, col(Instance.digest) == col(DicomDocument.digest))
            .where(
                col(DicomDocument.sop_instance_uid).in_(part), DicomDocument.state == State.FILED
            )
        )
        for row in session.exec(query):
            filing = line[row.sop_instance_uid]
            if (row.number, row.sender, row.filed_dated) != (
                filing.number,
                filing.sender,
                filing.dated,
            ):
                found.add(row.digest)
    return found


def _naming(session: Session, sop_instance_uid: str) -> set[str]:
    query = select(DocumentReference.digest).where(
        DocumentReference.sop_instance_uid == sop_instance_uid
    )
    return set(session.exec(query))


def _read_again(session: Session, digests: Iterable[str]) -> None:
    for part in chunks(sorted(digests)):
        session.execute(
            update(DicomDocument).where(col(DicomDocument.digest).in_(part)).values(rule_version=0)
        )


def _named(signs: Signs) -> list[dict[str, Any]]:
    """Return the rows of what a document names: first what it replaces."""
    found = {(uid, True): study for study, uid in sorted(signs.predecessors)[:MOST_NAMED] if uid}
    others = {(uid, False): study for study, uid in sorted(signs.documents) if uid}
    for key in sorted(others)[: MOST_NAMED - len(found)]:
        found[key] = others[key]
    # Of what is called an image some may be none.
    images = signs.named - {uid for uid, _ in found}
    found |= {(uid, False): "" for uid in sorted(images)[:_MOST_IMAGES]}
    return [
        {"sop_instance_uid": uid, "is_predecessor": replaced, "study_instance_uid": study}
        for (uid, replaced), study in found.items()
    ]

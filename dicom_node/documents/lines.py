"""Lines of documents: which structured reports are versions of one, under which number and sender.

A document that replaces another (Predecessor Documents, PS3.3 C.17.2.3) is a version of it where
both are of one study and one patient. A line is all that hangs together so; what holds about it is
computed from the rows of its documents, so that the order in which they came leaves no trace.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.documents.kinds import Kind
from dicom_node.documents.models import DicomDocument, DocumentReference
from dicom_node.feeds.registry import STRUCTURED_REPORTS
from dicom_node.models import Instance

LONGEST_LINE = 500
"""Documents of one line; one of a longer line is a report by itself."""

ANOTHERS = "what it names as its predecessor is of another study or patient: a report by itself"
TOO_LONG = f"its line has more than {LONGEST_LINE} documents: a report by itself"

_TIME = "%Y%m%d%H%M%S%f"  # of comparable texts
_STEP = dt.timedelta(milliseconds=1)
_LAST = dt.datetime.max - _STEP


@dataclass(frozen=True, slots=True)
class Member:
    """What counts of a document for its line.

    Args:
        sop_instance_uid: of the document.
        study_instance_uid: of the document.
        patient_id: of the document; within one study the issuer is settled already.
        sender: of reports that come from where it came from.
        is_report: whether it is filed.
        dated: when it was written, comparable (:mod:`dicom_node.hl7.times`).
        before: what it names as predecessors: SOP and Study Instance UID as stated.
    """

    sop_instance_uid: str
    study_instance_uid: str
    patient_id: str
    sender: str
    is_report: bool
    dated: str
    before: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, row: DicomDocument, before: tuple[tuple[str, str], ...]) -> Member:
        """Return what counts of the row of a document."""
        return cls(
            row.sop_instance_uid,
            row.study_instance_uid,
            row.patient_id,
            sender_of(row.calling_ae_title),
            row.kind == Kind.REPORT,
            row.dated,
            before,
        )

    def is_of(self, other: Member) -> bool:
        """Tell whether study and patient of two documents agree."""
        return (
            self.study_instance_uid == other.study_instance_uid
            and self.patient_id == other.patient_id
            and bool(self.patient_id)
        )


@dataclass(frozen=True, slots=True)
class Filing:
    """How a report is filed: number, sender and time follow from its line.

    Args:
        number: SOP Instance UID of the first version.
        sender: MSH-3 and MSH-4, joined with ``|``.
        dated: its own time, or the next after that of what it replaces; comparable.
        remark: what is odd; empty for nothing.
    """

    number: str
    sender: str
    dated: str
    remark: str = ""


@dataclass(slots=True)
class _Line:
    """The documents of a line, and by what they hang together."""

    members: dict[str, Member] = field(default_factory=dict)
    before: dict[str, set[str]] = field(default_factory=dict)  # of every node, known or not
    cut: set[str] = field(default_factory=set)  # members of which a predecessor is another's
    too_long: bool = False


def sender_of(calling_ae_title: str) -> str:
    """Return the sender of the reports that come as documents from an AE: MSH-3 and MSH-4."""
    return f"{STRUCTURED_REPORTS}|{calling_ae_title}"


def file_line(
    session: Session, start: Member, accepted: Callable[[str], bool]
) -> dict[str, Filing]:
    """Return how the reports of a document's line are filed, by SOP Instance UID.

    The sender is that of the first version whose sender may link; a version whose own sender may
    not does not come under a name that may, and is a line by itself. Where no sender may link, it
    is that of the first version.

    Args:
        session: any session.
        start: the document; its row need not be there yet.
        accepted: whether a person accepted the reports of a sender.
    """
    line = _line_of(session, start)
    if line.too_long:
        own = Filing(start.sop_instance_uid, start.sender, start.dated, TOO_LONG)
        return {start.sop_instance_uid: own} if start.is_report else {}
    order = _order(line.before)
    roots = [uid for uid in line.before if not line.before[uid]]
    number = min(roots or line.before)
    reports = [line.members[uid] for uid in order if _is_report(line.members.get(uid))]
    senders = [each.sender for each in reports]
    trusted = {each for each in senders if accepted(each)}
    first = next((each for each in senders if each in trusted), next(iter(senders), ""))
    dates = _dates(line, order)
    return {
        each.sop_instance_uid: Filing(
            number,
            first if each.sender in trusted or not trusted else each.sender,
            dates[each.sop_instance_uid],
            ANOTHERS if each.sop_instance_uid in line.cut else "",
        )
        for each in reports
    }


def members_naming(session: Session, sop_instance_uid: str) -> list[Member]:
    """Return the documents that name one as their predecessor."""
    return members_of(session, _successors(session, [sop_instance_uid]))


def _is_report(member: Member | None) -> bool:
    return member is not None and member.is_report


def _line_of(session: Session, start: Member) -> _Line:
    line = _Line()
    waiting = {start.sop_instance_uid}
    seen: set[str] = set()
    while waiting:
        found = {each.sop_instance_uid: each for each in members_of(session, waiting)}
        if start.sop_instance_uid in waiting:
            found[start.sop_instance_uid] = start
        seen |= waiting
        inside = {uid: each for uid, each in found.items() if each.is_of(start) or each is start}
        nodes = waiting - (found.keys() - inside.keys())
        line.members |= inside
        for uid in nodes:
            line.before.setdefault(uid, set())
        if len(line.before) > LONGEST_LINE:
            return _Line(too_long=True)
        named = {uid for each in inside.values() for uid in _named(each)}
        waiting = (named | _successors(session, nodes)) - seen
    _connect(session, line, start)
    return line


def _named(member: Member) -> Iterable[str]:
    """Yield the predecessors that a document may follow, as far as it says itself."""
    for uid, study in member.before:
        if study in ("", member.study_instance_uid) and uid != member.sop_instance_uid:
            yield uid


def _connect(session: Session, line: _Line, start: Member) -> None:
    """Enter what replaces what; where a predecessor turns out to be another's, say so."""
    for member in line.members.values():
        own = member.sop_instance_uid
        stated = {uid for uid, _ in member.before} - {own}
        line.before[own] = set(_named(member)) & line.before.keys()
        if stated - line.before[own]:
            line.cut.add(own)
    reached = _reached(line, start.sop_instance_uid)
    line.before = {uid: names for uid, names in line.before.items() if uid in reached}
    line.members = {uid: each for uid, each in line.members.items() if uid in reached}


def _reached(line: _Line, start: str) -> set[str]:
    """Return what hangs together with a document."""
    beside: dict[str, set[str]] = {uid: set() for uid in line.before}
    for uid, names in line.before.items():
        for name in names:
            beside[uid].add(name)
            beside[name].add(uid)
    found, waiting = set(), {start}
    while waiting:
        found |= waiting
        waiting = {other for uid in waiting for other in beside[uid]} - found
    return found


def _order(before: dict[str, set[str]]) -> list[str]:
    """Return the documents of a line, what is replaced before what replaces it.

    Documents that replace each other in a circle come in the order of their UIDs.
    """
    left = {uid: set(names) for uid, names in before.items()}
    order: list[str] = []
    while left:
        ready = sorted(uid for uid, names in left.items() if not names & left.keys())
        ready = ready or [min(left)]
        order += ready
        for uid in ready:
            del left[uid]
    return order


def _dates(line: _Line, order: list[str]) -> dict[str, str]:
    """Return the times of the members: later than those of what they replace."""
    found: dict[str, str] = {}
    for uid in order:
        member = line.members.get(uid)
        if member is None:
            continue
        earlier = max((found[name] for name in line.before[uid] if name in found), default="")
        found[uid] = member.dated if member.dated > earlier else _just_after(earlier)
    return found


def _just_after(comparable_time: str) -> str:
    if not comparable_time:
        return comparable_time
    moment = dt.datetime.strptime(comparable_time, _TIME)
    return f"{min(moment, _LAST) + _STEP:{_TIME}}".rjust(20, "0")


def members_of(session: Session, uids: Collection[str]) -> list[Member]:
    """Return the documents with these SOP Instance UIDs that are here and in force."""
    rows: list[DicomDocument] = []
    for part in chunks(sorted(uids)):
        query = (
            select(DicomDocument)
            .join(Instance, col(Instance.digest) == col(DicomDocument.digest))
            .where(col(DicomDocument.sop_instance_uid).in_(part))
        )
        rows.extend(session.exec(query))
    before: dict[str, list[tuple[str, str]]] = {}
    for part in chunks(sorted(each.digest for each in rows)):
        references = select(DocumentReference).where(
            col(DocumentReference.digest).in_(part), col(DocumentReference.is_predecessor)
        )
        for each in session.exec(references.order_by(col(DocumentReference.id))):
            named = each.sop_instance_uid, each.study_instance_uid
            before.setdefault(each.digest, []).append(named)
    return [Member.of(row, tuple(before.get(row.digest, ()))) for row in rows]


def _successors(session: Session, uids: Collection[str]) -> set[str]:
    """Return the documents that name one of these as their predecessor."""
    found: set[str] = set()
    for part in chunks(sorted(uids)):
        query = (
            select(DicomDocument.sop_instance_uid)
            .join(DocumentReference, col(DocumentReference.digest) == col(DicomDocument.digest))
            .where(
                col(DocumentReference.sop_instance_uid).in_(part),
                col(DocumentReference.is_predecessor),
            )
        )
        found.update(session.exec(query))
    return found

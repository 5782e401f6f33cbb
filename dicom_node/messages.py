"""Filing of messages: what was acknowledged becomes rows, and what follows from it is derived.

A batch of messages is filed in one transaction, together with the position in the journal up to
which it reaches: each message has its effects exactly once, whatever is killed. What holds
afterwards (versions, identities, links) is computed from all that was ever sent, in the order of
the events' own times, so the order of arrival leaves no trace in it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import insert
from sqlalchemy import select as plain_select
from sqlmodel import Session, col, select

from dicom_node.database import Clock, Database, chunks
from dicom_node.feeds.registry import Profiles
from dicom_node.hl7.batches import batch_messages, is_batch
from dicom_node.hl7.envelope import read_envelope
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.links import Linking, relink
from dicom_node.linking.touched import Touched
from dicom_node.message_reading import (
    ACCEPTED,
    QUARANTINED,
    DocumentText,
    Reading,
    read_stored,
)
from dicom_node.message_rows import MessageRows, drop_content, last_reading, part_chains
from dicom_node.mllp.answers import Outcome, acknowledgements
from dicom_node.mllp.journal import Position, Record
from dicom_node.models import FiledPosition, Message
from dicom_node.quarantined_messages import list_at_fault, settle_listed
from dicom_node.reports.deriving import derive_chains

REFUSED_STREAM = "refused stream"
"""Stands for the sender of what arrived of a stream that was refused."""

CUT_SHORT = "bytes followed its end mark: it may be cut short"
REPLACED = "its document is no report now, or is filed otherwise"
REUSED = "this control id was used before for another content"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Filed:
    """How many messages of a batch were new, and what became of them."""

    messages: int = 0
    repeated: int = 0
    accepted: int = 0
    ignored: int = 0
    quarantined: int = 0
    ids: tuple[int, ...] = ()


@dataclass(slots=True)
class _Batch:
    """One record, its key and what it says."""

    record: Record
    digest: str
    reading: Reading
    sender: str
    control_id: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.sender, self.control_id, self.digest


def file_records(
    database: Database,
    records: Iterable[Record],
    *,
    profiles: Profiles,
    linking: Linking,
    clock: Clock,
    document_text: DocumentText | None = None,
    position: Position | None = None,
    source: str = "mllp",
    inside: Callable[[Session], object] | None = None,
    unread: str = "",
) -> Filed:
    """File a batch of messages with all that follows from them, in one transaction.

    The same bytes under the same control id of the same sender have one effect, however often
    they come. The same control id with other bytes is another message, and is noted.

    Args:
        database: where everything is written.
        records: the messages, in the order in which they came.
        profiles: how each sender is read, and whose reports may link.
        linking: the linker and its settings.
        clock: gives the time of decisions.
        document_text: takes the text out of embedded documents; None: such messages wait in
            quarantine.
        position: up to where the journal is filed then; None: the records are from elsewhere.
        source: ``mllp`` or ``import``.
        inside: called at the end of the transaction, for what must be committed with it.
        unread: why nothing is to be taken from these messages: they are stored in quarantine with
            this reason. Empty: they are read.

    Raises:
        sqlalchemy.exc.SQLAlchemyError, dicom_node.durable.StorageFailed: nothing was filed.
    """
    if unread:
        batch = [_set_aside(record, unread) for record in records]
    else:
        batch = [each for record in records for each in _read(record, profiles, document_text)]
    with database.write() as session:
        filed = _file(session, batch, profiles, linking, clock, source)
        if position is not None:
            _move(session, position)
        if inside is not None:
            inside(session)
    return filed


def receive(
    database: Database,
    *contents: bytes,
    profiles: Profiles,
    linking: Linking,
    clock: Clock,
    document_text: DocumentText | None = None,
) -> Filed:
    """File messages given as bytes; see :func:`file_records`."""
    records = [Record("message", content, clock()) for content in contents]
    return file_records(
        database,
        records,
        profiles=profiles,
        linking=linking,
        clock=clock,
        document_text=document_text,
    )


def filed_position(session: Session) -> Position | None:
    """Return up to where the journal was filed; None: nothing of it."""
    row = session.get(FiledPosition, 1)
    return None if row is None else Position(row.segment, row.offset)


def _move(session: Session, position: Position) -> None:
    session.merge(FiledPosition(id=1, segment=position.segment, offset=position.offset))


def _read(
    record: Record, profiles: Profiles, document_text: DocumentText | None
) -> Iterator[_Batch]:
    """Read a record; a batch in one frame gives its messages, each by itself."""
    digest = hashlib.sha256(record.content).hexdigest()
    if record.kind == "refused":
        # Not under the sender's control id: the same message, sent again in a proper frame, must
        # not be taken for a duplicate of its fragment.
        reading = Reading(read_envelope(b""), QUARANTINED, record.reason)
        yield _Batch(record, digest, reading, REFUSED_STREAM, "")
        return
    if record.kind == "message" and is_batch(record.content):
        yield from _read_batch(record, digest, profiles, document_text)
        return
    reading = read_stored(record.content, profiles.of, document_text)
    envelope = reading.envelope
    yield _Batch(record, digest, reading, envelope.sender, envelope.control_id)


def _set_aside(record: Record, reason: str) -> _Batch:
    envelope = read_envelope(record.content)
    reading = Reading(envelope, QUARANTINED, reason)
    digest = hashlib.sha256(record.content).hexdigest()
    return _Batch(record, digest, reading, envelope.sender, envelope.control_id)


def _read_batch(
    record: Record, digest: str, profiles: Profiles, document_text: DocumentText | None
) -> Iterator[_Batch]:
    try:
        messages = batch_messages(record.content)
    except ContentFault as fault:
        reading = Reading(read_envelope(b""), QUARANTINED, f"{fault.segment}: {fault.sentence}")
        yield _Batch(record, digest, reading, "", "")
        return
    for content in messages:
        yield from _read(replace(record, content=content), profiles, document_text)


def _file(
    session: Session,
    batch: Sequence[_Batch],
    profiles: Profiles,
    linking: Linking,
    clock: Clock,
    source: str,
) -> Filed:
    parts = [
        _file_part(session, part, profiles, linking, clock, source) for part in _in_turn(batch)
    ]
    return Filed(
        messages=sum(each.messages for each in parts),
        repeated=sum(each.repeated for each in parts),
        accepted=sum(each.accepted for each in parts),
        ignored=sum(each.ignored for each in parts),
        quarantined=sum(each.quarantined for each in parts),
        ids=tuple(key for each in parts for key in each.ids),
    )


def _in_turn(batch: Sequence[_Batch]) -> Iterator[list[_Batch]]:
    """Part a batch where a message comes again that was called cut short before in it."""
    part: list[_Batch] = []
    suspects: set[str] = set()
    for each in batch:
        if each.record.kind == "suspect":
            suspects.add(each.record.digest)
        elif each.digest in suspects:
            yield part
            part, suspects = [], set()
        part.append(each)
    yield part


def _file_part(
    session: Session,
    batch: Sequence[_Batch],
    profiles: Profiles,
    linking: Linking,
    clock: Clock,
    source: str,
) -> Filed:
    suspects = {each.record.digest for each in batch if each.record.kind == "suspect"}
    batch = [each for each in batch if each.record.kind != "suspect"]
    fresh, again = _fresh(session, batch)
    ids = _insert(session, fresh, profiles, source)
    rows = MessageRows(session, clock)
    rows.expect(each.reading.parsed for each in fresh if each.reading.parsed is not None)
    for message_id, each in zip(ids, fresh, strict=True):
        if each.reading.parsed is not None:
            rows.add(each.reading.parsed, message_id, each.record.received_at)
    for message_id, each in again.items():
        _restore(session, message_id, each, rows)
    rows.write()
    touched = rows.touched
    if suspects:
        touched |= _take_back(session, suspects)
        touched |= part_chains(session, touched.chains)
    touched |= derive_chains(session, touched.chains, clock)
    relink(session, touched, linking, clock)
    found = [each.reading.disposition for each in fresh]
    return Filed(
        messages=len(fresh),
        repeated=len(batch) - len(fresh),
        accepted=found.count(ACCEPTED),
        ignored=len(found) - found.count(ACCEPTED) - found.count(QUARANTINED),
        quarantined=found.count(QUARANTINED),
        ids=tuple(ids),
    )


def _fresh(session: Session, batch: Sequence[_Batch]) -> tuple[list[_Batch], dict[int, _Batch]]:
    """Return the messages that are not there yet, each once, in order.

    Beside them, by row, those that are there and did not count: cut short, and come whole now, or
    replaced by another message about the same document, and filed so again.
    """
    known: set[tuple[str, str, str]] = set()
    cut_short: dict[tuple[str, str, str], int] = {}
    for part in chunks([each.digest for each in batch]):
        rows = session.execute(
            plain_select(
                col(Message.sender),
                col(Message.message_control_id),
                col(Message.digest),
                col(Message.id),
                col(Message.reason),
            ).where(col(Message.digest).in_(part))
        )
        for sender, control_id, digest, message_id, reason in rows:
            known.add((sender, control_id, digest))
            if reason in (CUT_SHORT, REPLACED):
                cut_short[sender, control_id, digest] = message_id or 0
    fresh: list[_Batch] = []
    again: dict[int, _Batch] = {}
    for each in batch:
        if each.key not in known:
            known.add(each.key)
            fresh.append(each)
        elif each.key in cut_short:
            again[cut_short.pop(each.key)] = each
    return fresh, again


def _restore(session: Session, message_id: int, each: _Batch, rows: MessageRows) -> None:
    """Let a message count that was taken for cut short: its sender sent the same bytes again."""
    reading = each.reading
    if reading.parsed is not None:
        number = last_reading(session, message_id) + 1
        rows.add(reading.parsed, message_id, each.record.received_at, number)
    message = session.get_one(Message, message_id)
    message.disposition, message.reason = reading.disposition, reading.reason
    session.add(message)
    settle_listed(session, message, at_fault=reading.disposition == QUARANTINED)


def _insert(
    session: Session, fresh: Sequence[_Batch], profiles: Profiles, source: str
) -> list[int]:
    """Insert the messages, and what is at fault into quarantine; return the messages' ids."""
    if not fresh:
        return []
    notes = _notes(session, fresh)
    rows = [
        _row(each, profiles, source) | {"note": note}
        for each, note in zip(fresh, notes, strict=True)
    ]
    statement = insert(Message).returning(col(Message.id), sort_by_parameter_order=True)
    ids = [int(row[0]) for row in session.execute(statement, rows)]
    wrong = [
        row | {"id": message_id}
        for message_id, row in zip(ids, rows, strict=True)
        if row["disposition"] == QUARANTINED
    ]
    list_at_fault(session, wrong)
    for row in wrong:
        _log.warning("HL7 message %d is quarantined: %s", row["id"], row["reason"])
    return ids


def _row(each: _Batch, profiles: Profiles, source: str) -> dict[str, Any]:
    reading, record = each.reading, each.record
    return {
        "sender": each.sender,
        "message_control_id": each.control_id,
        "digest": each.digest,
        "content": record.content,
        "message_type": reading.envelope.message_type,
        "disposition": reading.disposition,
        "reason": reading.reason,
        "source": source,
        "peer": record.peer,
        "profile_digest": profiles.digest(each.sender),
        "acknowledgement": _acknowledgement(each, profiles),
        "received_at": record.received_at,
    }


def _acknowledgement(each: _Batch, profiles: Profiles) -> bytes:
    """Return what the listener answered: it follows from the message and its profile alone."""
    if each.record.kind == "refused":
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.FAULTY if each.reading.fault is not None else Outcome.STORED
    answers = acknowledgements(
        each.reading.envelope,
        profiles.of(each.sender),
        outcome,
        each.record.received_at,
        digest=each.digest,
        fault=each.reading.fault,
    )
    return b"".join(answers)


def _notes(session: Session, fresh: Sequence[_Batch]) -> list[str]:
    """Say for each message whether its control id was used by its sender before."""
    used: set[tuple[str, str]] = set()
    for part in chunks(sorted({each.control_id for each in fresh if each.control_id})):
        rows = session.exec(
            select(Message.sender, Message.message_control_id).where(
                col(Message.message_control_id).in_(part)
            )
        )
        used.update((sender, control_id) for sender, control_id in rows)
    notes = []
    for each in fresh:
        key = each.sender, each.control_id
        notes.append(REUSED if each.control_id and key in used else "")
        used.add(key)
    return notes


def _take_back(session: Session, digests: Iterable[str]) -> Touched:
    """Quarantine messages that were acknowledged and then turned out to be cut short."""
    touched = Touched()
    for part in chunks(sorted(filter(None, digests))):
        rows = session.exec(select(Message).where(col(Message.digest).in_(part))).all()
        for message in rows:
            touched |= drop_content(session, [message.id or 0])
            message.disposition, message.reason = QUARANTINED, CUT_SHORT
            session.add(message)
            settle_listed(session, message, at_fault=True)
    return touched

"""Stored messages are read again: under a new profile, or because a person asks for it.

What is read as before changes nothing. What is read otherwise takes the place of the earlier
reading, whose rows stay and hold no more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from dicom_node.database import Clock, Database, chunks
from dicom_node.feeds.registry import Profiles
from dicom_node.hl7.parsed import ParsedMessage
from dicom_node.linking.links import Linking, relink
from dicom_node.linking.touched import Touched
from dicom_node.message_reading import ACCEPTED, QUARANTINED, DocumentText, Reading, read_stored
from dicom_node.message_rows import (
    MessageRows,
    content_of,
    drop_content,
    holds_already,
    last_reading,
    part_chains,
)
from dicom_node.messages import CUT_SHORT, REFUSED_STREAM, REPLACED
from dicom_node.models import Message, Report
from dicom_node.quarantined_messages import settle_listed
from dicom_node.reports.deriving import derive_chains

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Which:
    """Which messages are meant; without any condition, all.

    Args:
        ids: rows of the table of messages.
        sender: MSH-3 and MSH-4, joined with ``|``.
        since, until: first and last moment of receipt.
        disposition: ``accepted``, ``ignored`` or ``quarantined``.
    """

    ids: tuple[int, ...] = ()
    sender: str = ""
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    disposition: str = ""


@dataclass(frozen=True, slots=True)
class Reread:
    """What reading again came to."""

    messages: int = 0
    changed: int = 0
    accepted: int = 0
    ignored: int = 0
    quarantined: int = 0


def reread(
    database: Database,
    which: Which,
    *,
    profiles: Profiles,
    linking: Linking,
    clock: Clock,
    document_text: DocumentText | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Reread:
    """Read stored messages again and derive what follows, in batches of one transaction each.

    Reports of the messages that are read as before are decided about again all the same: whether
    the feed may link can have changed. What arrived of a refused stream is never read.
    """
    with database.read() as session:
        ids = find_messages(session, which)
    changed = 0
    found: list[str] = []
    for part in chunks(ids, _BATCH):
        with database.write() as session:
            for disposition, differs in _reread(
                session, part, profiles, linking, clock, document_text
            ):
                found.append(disposition)
                changed += differs
        progress(f"{len(found)} of {len(ids)} messages read again")
    accepted, quarantined = found.count(ACCEPTED), found.count(QUARANTINED)
    ignored = len(found) - accepted - quarantined
    return Reread(len(found), changed, accepted, ignored, quarantined)


def find_messages(session: Session, which: Which) -> list[int]:
    """Return the ids of the messages that are meant, in order of arrival."""
    conditions: list[ColumnElement[bool]] = [
        col(Message.sender) != REFUSED_STREAM,
        col(Message.reason).not_in((CUT_SHORT, REPLACED)),
    ]
    if which.ids:
        conditions.append(col(Message.id).in_(which.ids))
    if which.sender:
        conditions.append(col(Message.sender) == which.sender)
    if which.since is not None:
        conditions.append(col(Message.received_at) >= which.since)
    if which.until is not None:
        conditions.append(col(Message.received_at) <= which.until)
    if which.disposition:
        conditions.append(col(Message.disposition) == which.disposition)
    query = select(Message.id).where(*conditions).order_by(col(Message.id))
    return [each for each in session.exec(query) if each is not None]


def _reread(
    session: Session,
    ids: Sequence[int],
    profiles: Profiles,
    linking: Linking,
    clock: Clock,
    document_text: DocumentText | None,
) -> list[tuple[str, bool]]:
    rows, touched, outcome = MessageRows(session, clock), Touched(), []
    changed: list[tuple[Message, ParsedMessage]] = []
    for message in session.exec(select(Message).where(col(Message.id).in_(ids))).all():
        reading = read_stored(message.content, profiles.of, document_text)
        content = content_of(reading.parsed) if reading.parsed else []
        differs = not holds_already(session, message.id or 0, content)
        if differs:
            touched |= drop_content(session, [message.id or 0])
        if differs and reading.parsed is not None:
            changed.append((message, reading.parsed))
        _mark(session, message, reading, profiles)
        outcome.append((reading.disposition, differs))
    rows.expect(parsed for _, parsed in changed)
    for message, parsed in changed:
        number = last_reading(session, message.id or 0) + 1
        rows.add(parsed, message.id or 0, message.received_at, number)
    rows.write()
    touched |= rows.touched
    touched |= part_chains(session, touched.chains)
    touched |= derive_chains(session, touched.chains, clock)
    touched.reports |= set(_current_reports(session, ids))
    relink(session, touched, linking, clock)
    return outcome


def _mark(session: Session, message: Message, reading: Reading, profiles: Profiles) -> None:
    """Write down what the message is now; one that reads well leaves the quarantine."""
    message.disposition, message.reason = reading.disposition, reading.reason
    message.profile_digest = profiles.digest(message.sender)
    session.add(message)
    settle_listed(session, message, at_fault=reading.disposition == QUARANTINED)


def _current_reports(session: Session, message_ids: Sequence[int]) -> Iterator[int]:
    query = select(Report.id).where(col(Report.message_id).in_(message_ids), col(Report.is_current))
    return (each for each in session.exec(query) if each is not None)

"""A person accepts the profile of a feed, or withdraws it: a row that stays, and a durable file.

The rows are the record of who decided what and why; the newest one of a sender counts. The files
follow the rows: they are what the listener process reads. A crash between the two is mended by
:func:`follow_rows`, which runs at every start.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, func, select

from dicom_node.database import Clock, Database
from dicom_node.durable import sync_folder, write_durably
from dicom_node.errors import Permanent
from dicom_node.feeds.models import FeedAcceptance
from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.registry import (
    ACCEPT,
    WITHDRAW,
    Profiles,
    digest_of,
    file_name,
    read_decision,
    read_profile,
)
from dicom_node.feeds.writing import text_value, write_profile
from dicom_node.models import Message

_log = logging.getLogger(__name__)


class FeedRefused(Permanent):
    """A decision about a feed that cannot be taken; the reason is in plain words."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A decision about a feed, and whether it changed anything."""

    sender: str
    action: str
    profile_digest: str
    changed: bool


def accept(
    database: Database,
    folder: Path,
    clock: Clock,
    profile: FeedProfile,
    *,
    by: str,
    reason: str,
    listed: Sequence[str] = (),
) -> Acceptance:
    """Let what a sender says link, read under this profile.

    Args:
        database: takes the row.
        folder: where the file goes, ``data/feeds``.
        clock: gives the time of the decision.
        profile: as the person saw it.
        by: who decides.
        reason: why.
        listed: senders that the settings list; their profiles are changed there.

    Raises:
        FeedRefused: a reason is missing, or the settings list the sender.
        OSError: the row was written and the file was not; the next start writes it.
    """
    _check(profile.sender, by, reason, listed)
    return _decide(database, folder, clock, ACCEPT, profile, by, reason)


def withdraw(
    database: Database,
    folder: Path,
    clock: Clock,
    sender: str,
    *,
    by: str,
    reason: str,
    listed: Sequence[str] = (),
) -> Acceptance:
    """Take the acceptance of a sender back: what it says, and said, links no more.

    A sender that nobody accepted can be withdrawn too, so that it stays out where unknown senders
    are let in.

    Raises:
        FeedRefused: a reason is missing, or the settings list the sender.
        OSError: the row was written and the file was not; the next start writes it.
    """
    _check(sender, by, reason, listed)
    with database.read() as session:
        profile = _last_profile(session, sender) or FeedProfile(sender=sender)
    return _decide(database, folder, clock, WITHDRAW, profile, by, reason)


def newest_of(session: Session, sender: str) -> FeedAcceptance | None:
    """Return the decision that is in force for a sender."""
    return session.exec(
        select(FeedAcceptance)
        .where(FeedAcceptance.sender == sender)
        .order_by(col(FeedAcceptance.id).desc())
        .limit(1)
    ).first()


def decisions(session: Session, sender: str = "") -> list[FeedAcceptance]:
    """Return every decision in order, about one sender or about all."""
    query = select(FeedAcceptance).order_by(col(FeedAcceptance.id))
    if sender:
        query = query.where(FeedAcceptance.sender == sender)
    return list(session.exec(query))


def outdated_senders(session: Session, profiles: Profiles) -> list[str]:
    """Return the senders with messages that were read when something else held for them.

    After an acceptance, a withdrawal or a change of the settings their messages are to be read
    again; a crash on the way leaves them here.
    """
    rows = session.exec(
        select(Message.sender, Message.profile_digest)
        .where(col(Message.profile_digest) != "")
        .distinct()
    )
    return sorted({sender for sender, digest in rows if digest != profiles.digest(sender)})


def follow_rows(session: Session, folder: Path) -> list[str]:
    """Make the files say what the newest rows say; return the names of files that were written.

    A file without a row is left alone: it may come from a folder that was copied, and its sender
    was accepted there. A profile that this version cannot read is written as it stands: the
    sender is then not accepted, and is listed as a problem.

    Raises:
        OSError: the folder cannot be written.
    """
    newest = select(func.max(col(FeedAcceptance.id))).group_by(col(FeedAcceptance.sender))
    rows = session.exec(select(FeedAcceptance).where(col(FeedAcceptance.id).in_(newest))).all()
    written = []
    for row in rows:
        path = folder / file_name(row.sender)
        text = _file_text(row)
        if not _says(path, text):
            _write(path, text)
            written.append(path.name)
            _log.warning("the profile file %s was missing or differed; written again", path.name)
    return written


def _decide(
    database: Database,
    folder: Path,
    clock: Clock,
    action: str,
    profile: FeedProfile,
    by: str,
    reason: str,
) -> Acceptance:
    digest = digest_of(profile)
    row = FeedAcceptance(
        sender=profile.sender,
        action=action,
        profile=write_profile(profile),
        profile_digest=digest,
        decided_by=by,
        reason=reason,
        decided_at=clock(),
    )
    text = _file_text(row)
    with database.write() as session:
        before = newest_of(session, profile.sender)
        changed = before is None or (before.action, before.profile_digest) != (action, digest)
        session.add(row)
    _write(folder / file_name(profile.sender), text)
    return Acceptance(profile.sender, action, digest, changed)


def _last_profile(session: Session, sender: str) -> FeedProfile | None:
    newest = newest_of(session, sender)
    if newest is None:
        return None
    try:
        return read_profile(newest.profile)
    except ValueError:  # of another version: its withdrawal must not wait for that
        return None


def _check(sender: str, by: str, reason: str, listed: Sequence[str]) -> None:
    if not sender:
        raise FeedRefused("a feed has a sender (MSH-3 and MSH-4, joined with '|')")
    if not by.strip() or not reason.strip():
        raise FeedRefused("a decision about a feed needs who decides and why")
    if sender in listed:
        raise FeedRefused(
            "the settings list this sender under [[hl7.feeds]], which is its acceptance: change or "
            "remove it there"
        )


def _file_text(row: FeedAcceptance) -> str:
    said = {
        "action": row.action,
        "decided_by": row.decided_by,
        "reason": row.reason,
        "decided_at": row.decided_at.isoformat(),
    }
    heading = "".join(f"{key} = {text_value(value)}\n" for key, value in said.items())
    try:
        profile = write_profile(read_profile(row.profile), "profile")
    except ValueError:
        # Not readable under this version: the sender must still be in the file, and not accepted.
        profile = f"[profile]\nsender = {text_value(row.sender)}\nunreadable = true\n"
    return f"{heading}\n{profile}"


def _says(path: Path, text: str) -> bool:
    try:
        written = path.read_text(encoding="utf-8")
        return written == text or read_decision(written) == read_decision(text)
    except (OSError, ValueError):
        return False


def _write(path: Path, text: str) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True)
        sync_folder(path.parent.parent)
    write_durably(path, text.encode("utf-8"))

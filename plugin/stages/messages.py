"""Stored HL7 messages: what became of them, and reading them again."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.linking.models import ImagingOrder, PatientEvent
from dicom_node.message_reading import ACCEPTED, IGNORED, QUARANTINED
from dicom_node.models import Message, Report
from dicom_node.reports.models import ReportInput
from dicom_node.rereading import Which, find_messages, reread
from plugin.context import Context, Progress
from plugin.errors import Permanent

DISPOSITIONS = (ACCEPTED, IGNORED, QUARANTINED)

_LISTED = 200
_TAKEN: dict[str, Any] = {
    "reports": ReportInput,
    "orders": ImagingOrder,
    "patient events": PatientEvent,
}


def which_messages(arguments: dict[str, Any]) -> Which:
    """Return the messages that a command's options mean.

    Raises:
        Permanent: a time is no ISO 8601 time, or there is no such disposition.
    """
    disposition = arguments.get("disposition") or ""
    if disposition and disposition not in DISPOSITIONS:
        raise Permanent(f"{disposition!r} is none of {', '.join(DISPOSITIONS)}")
    return Which(
        ids=tuple(arguments.get("ids") or ()),
        sender=arguments.get("sender") or "",
        since=_moment(arguments.get("since")),
        until=_moment(arguments.get("until")),
        disposition=disposition,
    )


def list_messages(session: Session, which: Which) -> dict[str, Any]:
    """Return the newest messages that are meant, and how many there are of each disposition."""
    ids = find_messages(session, which)
    rows = []
    for key in reversed(ids[-_LISTED:]):
        message = session.get(Message, key)
        if message is not None:
            rows.append(_summary(message))
    return {"messages": rows, "found": len(ids), "shown": len(rows), "all": _counts(session)}


def show_message(session: Session, message_id: int) -> dict[str, Any]:
    """Return one message: what it is, what became of it, and its segments.

    Raises:
        Permanent: there is no such message.
    """
    message = _message(session, message_id)
    taken = {name: _held(session, table, message_id) for name, table in _TAKEN.items()}
    reports = session.exec(
        select(Report.id).where(Report.message_id == message_id).order_by(col(Report.id))
    ).all()
    text = message.content.decode("utf-8", errors="backslashreplace")
    return {
        **_summary(message),
        "control_id": message.message_control_id,
        "bytes": len(message.content),
        "digest": message.digest,
        "source": message.source,
        "peer": message.peer,
        "profile": message.profile_digest,
        "taken_from_it": taken,
        "reports": list(reports),
        "segments": [
            {"segment": number, "content": _printable(line)}
            for number, line in enumerate(text.replace("\n", "\r").split("\r"), start=1)
            if line
        ],
    }


def export_message(session: Session, message_id: int, target: Path) -> dict[str, Any]:
    """Write the bytes of a message, as they were received, into a new file.

    Raises:
        Permanent: there is no such message, or the file is there already.
    """
    message = _message(session, message_id)
    try:
        with target.open("xb") as file:
            file.write(message.content)
    except OSError as error:
        raise Permanent(f"{target} cannot be written: {error.strerror}") from error
    return {"bytes": len(message.content), "digest": message.digest}


def replay_messages(
    context: Context, arguments: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Read stored messages again under the profiles that are in force now.

    Raises:
        Permanent: no message is meant, or no condition was given.
    """
    which = which_messages(arguments)
    if which == Which():
        raise Permanent("say which messages: by id, sender, time or disposition")
    context.profiles.reload_if_changed()
    done = reread(
        context.database,
        which,
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
        document_text=context.sandbox.document_text,
        progress=progress,
    )
    if not done.messages:
        raise Permanent("no stored message fits")
    return {
        "read_again": done.messages,
        "changed": done.changed,
        "accepted": done.accepted,
        "ignored": done.ignored,
        "quarantined": done.quarantined,
    }


def _held(session: Session, table: Any, message_id: int) -> int:
    """Return how many rows that were read from a message hold."""
    query = select(func.count(col(table.id))).where(
        table.message_id == message_id, col(table.holds)
    )
    return session.exec(query).one()


def _message(session: Session, message_id: int) -> Message:
    message = session.get(Message, message_id)
    if message is None:
        raise Permanent(f"there is no message {message_id}")
    return message


def _summary(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "received_at": message.received_at.isoformat(timespec="seconds"),
        "sender": message.sender,
        "type": message.message_type,
        "disposition": message.disposition,
        "reason": message.reason,
        "note": message.note,
    }


def _counts(session: Session) -> dict[str, int]:
    rows = session.exec(
        select(Message.disposition, func.count()).group_by(col(Message.disposition))
    )
    return dict(rows.all())


def _moment(text: str | None) -> dt.datetime | None:
    if not text:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Permanent(f"{text!r} is no time such as 2026-03-01T08:00:00+01:00") from None
    return moment if moment.tzinfo else moment.astimezone()


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in line)

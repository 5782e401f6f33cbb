"""Messages in the list of what must not be used: put there, and taken off when they read well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from dicom_node.database import insert_if_absent
from dicom_node.models import Message, Quarantined
from dicom_node.quarantine import OPEN

KIND = "hl7"
_READ = "accepted"


def list_at_fault(session: Session, messages: Iterable[dict[str, Any]]) -> None:
    """List messages, given as rows of their table with ``id``, each with its reason.

    The same bytes may be listed already, of a refused stream or another control id.
    """
    rows = [
        Quarantined(
            kind=KIND,
            digest=each["digest"],
            reason=each["reason"],
            sender=each["sender"],
            message_id=each["id"],
            received_at=each["received_at"],
        ).model_dump(exclude={"id"})
        for each in messages
    ]
    insert_if_absent(session, Quarantined, rows)


def settle_listed(session: Session, message: Message, *, at_fault: bool) -> None:
    """Bring the list to what a message is now, by its disposition and reason.

    Args:
        session: a writing session.
        message: as it was read now.
        at_fault: whether it must not be used; else it leaves the list, with what was said of it.
    """
    if at_fault:
        list_at_fault(session, [message.model_dump()])
    values = {"state": OPEN, "reason": message.reason} if at_fault else {"state": _READ}
    session.execute(
        update(Quarantined)
        .where(col(Quarantined.kind) == KIND, col(Quarantined.message_id) == message.id)
        .values(**values)
    )

"""What lies in quarantine, why, and what persons decided: rows, and the notice beside each file.

The notice is JSON under the name of its object. It holds every column of the row and every
decision, so that both can be rebuilt from files alone.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.models import Quarantined, QuarantineDecision

DICOM = "dicom"

OPEN = "open"
ACCEPTED = "accepted"
REJECTED = "rejected"

STATE_AFTER = {"accept": ACCEPTED, "reject": REJECTED}
"""The state of a quarantined object after the last decision about it."""

REFUSED = "refused"
UNREADABLE = "unreadable"
CONTENT = "content"
PLACE = "place"
IDENTITY = "identity"

CAUSES = {
    REFUSED: "the receiver refused it",
    UNREADABLE: "it cannot be read, so it can never be accepted",
    CONTENT: "it shows something else than the object that has its SOP Instance UID",
    PLACE: "it claims a UID that belongs to another study or series",
    IDENTITY: "it gives its study another identity; it waits until the whole study is sent so",
}
"""Why an object lies in quarantine."""

_LONGEST_TEXT = 256


@dataclass(frozen=True)
class Decision:
    """What a person decided about a quarantined object, why, and when."""

    action: str
    decided_by: str
    reason: str
    decided_at: dt.datetime


@dataclass(frozen=True)
class QuarantineNotice:
    """The row of a quarantined object and the decisions about it, as the notice holds them."""

    digest: str
    reason: str
    cause: str = ""
    sender: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    other_study_instance_uid: str = ""
    declared_identity: str = ""
    decisions: tuple[Decision, ...] = field(default=())

    @property
    def state(self) -> str:
        """The state that the last decision gives."""
        return STATE_AFTER[self.decisions[-1].action] if self.decisions else OPEN


_TEXTS = tuple(each.name for each in fields(QuarantineNotice) if each.name != "decisions")


def notice_text(notice: QuarantineNotice) -> bytes:
    """Return a notice as JSON."""
    record = asdict(notice)
    record["decisions"] = [
        {**asdict(each), "decided_at": each.decided_at.isoformat()} for each in notice.decisions
    ]
    return json.dumps(record).encode()


def read_notice(content: bytes | str) -> QuarantineNotice:
    """Return the notice that a JSON text holds; one of an earlier version names no cause.

    Raises:
        ValueError: the text is no notice.
    """
    try:
        record: dict[str, Any] = json.loads(content)
        texts = {name: str(record[name]) for name in _TEXTS if name in record}
        decisions = tuple(
            Decision(**{**each, "decided_at": dt.datetime.fromisoformat(each["decided_at"])})
            for each in record.get("decisions", ())
        )
        notice = QuarantineNotice(**texts, decisions=decisions)
        _ = [STATE_AFTER[each.action] for each in decisions]
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a notice ({type(error).__name__})") from None
    if not notice.cause and notice.sop_instance_uid and not notice.study_instance_uid:
        # Receivers know the command and not the study.
        return replace(notice, cause=REFUSED)
    return notice


def notice_row(notice: QuarantineNotice, received_at: dt.datetime) -> dict[str, Any]:
    """Return the columns of the row that a notice describes."""
    texts = {name: getattr(notice, name) for name in _TEXTS}
    printable = {name: _printable(texts[name]) for name in ("sender", "sop_instance_uid")}
    return {
        "kind": DICOM,
        **texts,
        **printable,
        "state": notice.state,
        "received_at": received_at,
    }


def notices_of(session: Session, rows: Iterable[Quarantined]) -> list[QuarantineNotice]:
    """Return the notice of each row, with the decisions about it."""
    known = list(rows)
    decisions = decisions_about(session, [row.digest for row in known])
    return [
        QuarantineNotice(
            **{name: getattr(row, name) for name in _TEXTS},
            decisions=tuple(decisions.get(row.digest, ())),
        )
        for row in known
    ]


def decisions_about(session: Session, digests: Sequence[str]) -> Mapping[str, list[Decision]]:
    """Return what was decided about these objects, in order."""
    found: dict[str, list[Decision]] = {}
    rows = session.exec(
        select(QuarantineDecision)
        .where(col(QuarantineDecision.digest).in_(digests))
        .order_by(col(QuarantineDecision.decided_at))
    )
    for row in rows:
        decision = Decision(row.action, row.decided_by, row.reason, row.decided_at)
        found.setdefault(row.digest, []).append(decision)
    return found


def find_quarantined(session: Session, digest: str) -> Quarantined | None:
    """Return the row of a quarantined object."""
    return session.exec(
        select(Quarantined).where(Quarantined.kind == DICOM, Quarantined.digest == digest)
    ).first()


def _printable(text: str) -> str:
    """Return peer text fit for a row and a terminal."""
    return text.encode("unicode_escape").decode("ascii")[:_LONGEST_TEXT]

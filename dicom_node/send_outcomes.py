"""What a peer's answer to C-STORE means, as a table (PS3.4 B.2.3, PS3.7 Annex C)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Outcome(StrEnum):
    """What follows from an attempt to send."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"  # trying again later may help
    PERMANENT = "permanent"  # trying again cannot help
    NEEDS_REVIEW = "needs review"  # the answer does not say what became of the object


_OUTCOMES: tuple[tuple[int, int, Outcome, str], ...] = (
    (0x0000, 0x0000, Outcome.DELIVERED, ""),
    (0xB000, 0xBFFF, Outcome.DELIVERED, "stored with a warning"),
    (0xA700, 0xA7FF, Outcome.TRANSIENT, "the peer is out of resources"),
    (0xA900, 0xA9FF, Outcome.PERMANENT, "the data set does not match its SOP class"),
    (0xC000, 0xCFFF, Outcome.PERMANENT, "the peer cannot understand the data set"),
    (0x0110, 0x0110, Outcome.TRANSIENT, "processing failure"),
    (0x0117, 0x0117, Outcome.PERMANENT, "invalid SOP instance"),
    (0x0122, 0x0122, Outcome.PERMANENT, "SOP class not supported"),
    (0x0124, 0x0124, Outcome.PERMANENT, "not authorised"),
)
"""C-STORE statuses (PS3.4 B.2.3; the last four PS3.7 C), first and last of a range."""


@dataclass(frozen=True)
class SendResult:
    """What became of one file.

    ``status`` is None where the peer gave none; ``retry_after`` is in how many seconds it wants to
    be asked again, None where it does not say.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    outcome: Outcome
    reason: str = ""
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether the peer has it."""
        return self.outcome is Outcome.DELIVERED


def outcome_of(status: int) -> tuple[Outcome, str]:
    """Return what a C-STORE status means and why; a status outside the table needs review."""
    for first, last, outcome, reason in _OUTCOMES:
        if first <= status <= last:
            return outcome, reason
    return Outcome.NEEDS_REVIEW, "a status that the storage service does not define"

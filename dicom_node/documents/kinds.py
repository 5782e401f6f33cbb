"""What documents are called, what became of them, and the titles of rejection notes."""

from __future__ import annotations

from enum import StrEnum

QUALITY, SAFETY, WORKLIST, EXPIRED = "113001 DCM", "113037 DCM", "113038 DCM", "113039 DCM"
REJECTIONS = {
    QUALITY: "rejected for quality reasons",
    SAFETY: "rejected for patient safety reasons",
    WORKLIST: "incorrect modality worklist entry",
    EXPIRED: "data retention policy expired",
}
"""Document titles of rejection notes (PS3.16 CID 7011, IHE RAD TF-3 4.66.4.1.3)."""


class Kind(StrEnum):
    """What a document is."""

    OURS = "ours"
    CORRECTION = "correction"
    REPORT = "report"
    REJECTION = "rejection"
    OTHER = "other"
    UNREADABLE = "unreadable"


class State(StrEnum):
    """What became of a report or a rejection note; other documents have none."""

    FILED = "filed"
    REFUSED = "refused"
    HONOURED = "honoured"
    DOUBTFUL = "doubtful"
    CONFIRMED = "confirmed"
    RELEASED = "released"

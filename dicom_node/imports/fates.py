"""What becomes of the candidates of an import, and the figures of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Fate(StrEnum):
    """What becomes of a candidate."""

    NEW = "new"  # it was not here
    HELD = "held"  # the same bytes are here already
    DIFFERS = "differs"  # other bytes are here under its SOP Instance UID: the index judges
    REFUSED = "refused"  # it is DICOM and must not be stored, with a reason
    MISSING = "missing"  # the source names it and lacks it, with a reason
    NOT_SELECTED = "not_selected"  # of a study that was not asked for
    YOUNG = "young"  # of a study that may still be on its way by another route
    OTHER = "other"  # no DICOM object


@dataclass
class Taken:
    """What an import has done, or would do.

    Attributes:
        fates: how many candidates came to what.
        studies: Study Instance UIDs of what is new or differs.
        size: bytes of what is new.
        digests: of what is new or differs.
        reasons: how many were refused or are missing, by fate and reason.
        completed: how many of what is new, held or differs had file meta that was not whole.
    """

    fates: Counter[Fate] = field(default_factory=Counter)
    studies: set[str] = field(default_factory=set)
    size: int = 0
    digests: list[str] = field(default_factory=list)
    reasons: Counter[tuple[Fate, str]] = field(default_factory=Counter)
    completed: int = 0


class Stopped(Exception):
    """Somebody wants the import to end; what was taken before stays."""


class Refused(Exception):
    """The reason why a candidate is not taken; ``fate`` says of which kind it is."""

    def __init__(self, fate: Fate, reason: str = "") -> None:
        super().__init__(reason)
        self.fate = fate

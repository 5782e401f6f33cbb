"""A proposed profile, with the reason of each line and what a person must still decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dicom_node.feeds.profile import FeedProfile


@dataclass(slots=True)
class Finding:
    """What one look at a sample found about some keys of a profile.

    ``reasons`` and ``questions`` are by key; neither they nor ``notes`` hold anything about a
    patient. A question is a choice that the sample cannot make: what stands in ``values`` is then
    the careful side, under which less links.
    """

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    questions: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def propose(self, key: str, value: Any, reason: str) -> None:
        """Propose a value for a key."""
        self.values[key] = value
        self.because(key, reason)

    def because(self, key: str, reason: str) -> None:
        """Give a reason for a key, whether or not its value differs from the standard's."""
        self.reasons.setdefault(key, []).append(reason)

    def ask(self, key: str, question: str) -> None:
        """Leave a choice to a person."""
        self.questions.setdefault(key, []).append(question)

    def add(self, other: Finding) -> None:
        """Take over what another look found."""
        self.values |= other.values
        for mine, theirs in ((self.reasons, other.reasons), (self.questions, other.questions)):
            for key, texts in theirs.items():
                mine.setdefault(key, []).extend(texts)
        self.notes.extend(other.notes)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A profile proposed from a sample of one sender."""

    profile: FeedProfile
    messages: int
    reasons: Mapping[str, list[str]]
    questions: Mapping[str, list[str]]
    notes: tuple[str, ...]

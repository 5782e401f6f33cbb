"""One writer of one report: in whose words, by which chance, free or bound to what is so."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TypeVar

from labeling.synthesis.facts import Facts
from labeling.synthesis.generated import Split
from labeling.synthesis.phrasings import Parted
from labeling.synthesis.words import ObservationWording, Wording
from labeling.vocabulary import LabelSchema, Observation

T = TypeVar("T")


@dataclass(frozen=True)
class Writer:
    """Who writes a report.

    Args:
        schema: whose observations the report speaks of.
        wording: the words.
        split: whose phrasings are used.
        chance: of this report.
        telegraphic: articles are left out.
        facts: what the report may say; None: whatever is drawn.
        streams: names this report where each part of it has a stream of chance of its own, so that
            a changed finding changes its own sentences and leaves the others as they were, as in a
            real corrected report; empty: one stream for all.
    """

    schema: LabelSchema
    wording: Wording
    split: Split
    chance: random.Random
    telegraphic: bool = False
    facts: Facts | None = None
    streams: str = ""

    def begin(self, part: str) -> None:
        """Begin a part of the report: its chance depends on its name and nothing before it."""
        if self.streams:
            self.chance.seed(f"{self.streams}/{part}")

    def own(self, observation: Observation) -> ObservationWording:
        """Return the observation's wording; an empty one where the file has none."""
        return self.wording.own.observations.get(observation.id, ObservationWording())

    def of(self, parted: Parted[T]) -> tuple[T, ...]:
        """Return the phrasings of the writer's split."""
        return parted.of(self.split)

"""What the reports of the two hospitals say: generated reports of drawn findings."""

from __future__ import annotations

import random
from functools import lru_cache

from labeling.schema_file import shipped_schema
from labeling.synthesis.generator import Findings, write
from labeling.synthesis.noise import Habits
from labeling.vocabulary import State
from plugin.simulation.hospital_reports import sendable
from plugin.simulation.truth import OBSERVATIONS

_WRITTEN = 120
"""How many are written, each at its first use; a hundred thousand pairs share them."""

_STYLES = ("terse", "narrative", "impression")
_FOUND = 0.2


def draw_lines(chance: random.Random) -> tuple[str, ...]:
    """Return the lines of a generated report; blank ones are left out."""
    return _lines(chance.randrange(_WRITTEN))


@lru_cache(maxsize=_WRITTEN)
def _lines(number: int) -> tuple[str, ...]:
    schema, chance = shipped_schema("spine"), random.Random(f"findings {number}")
    states = {
        (observation, site.id): State.PRESENT if chance.random() < _FOUND else State.ABSENT
        for observation in OBSERVATIONS
        for site in schema.sites
    }
    report = write(
        schema,
        Findings(states),
        name=f"hospital {number}",
        split="test",
        styles=_STYLES,
        typing=Habits(typos=0.02),
    )
    text = sendable(report, "iso-8859-1").text  # one of the sites writes no other
    return tuple(line.strip() for line in text.split("\n") if line.strip())

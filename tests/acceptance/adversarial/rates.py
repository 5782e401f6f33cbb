"""The rates of the faults, as they were written down before the first run."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LEAST_SHARE = 0.02
DECK = 200
"""Pairs that are dealt together: every share times this is a whole number of pairs."""

_IN_PAIRS = ("twins", "same_name_and_birth_date")


@dataclass(frozen=True)
class Rates:
    """Shares between 0 and 1, by name; see ``rates.toml``."""

    sites: dict[str, float]
    pairs: dict[str, float]
    faults: dict[str, float]
    variants: dict[str, float]

    def deck(self) -> list[str]:
        """Return the first fault of each scene of a deck, unshuffled; empty: none.

        A scene of people who are easily confused makes two pairs, every other scene one.
        """
        scenes: list[str] = []
        pairs = 0
        for fault, share in self.faults.items():
            count = round(share * DECK)
            per_scene = 2 if fault in _IN_PAIRS else 1
            scenes += [fault] * -(-count // per_scene)
            pairs += -(-count // per_scene) * per_scene
        return scenes + [""] * (DECK - pairs)


@lru_cache(maxsize=1)
def load_rates() -> Rates:
    """Read ``rates.toml``.

    Raises:
        ValueError: a fault is rarer than it must be, or too few pairs would have one.
    """
    with Path(__file__).with_name("rates.toml").open("rb") as file:
        rates = Rates(**tomllib.load(file))
    rare = [fault for fault, share in rates.faults.items() if share < LEAST_SHARE]
    if rare or sum(rates.faults.values()) < rates.pairs["faulty"]:
        raise ValueError(f"faults are too rare: {rare}")
    return rates

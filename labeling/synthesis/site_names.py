"""How one writer names the sites of a schema: L4-L5, L4/5, "the medial meniscus", "L3 to S1"."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from labeling.vocabulary import LabelSchema

_PAIR = re.compile(r"([CTL]\d{1,2})-([CTLS]\d{1,2})")
_SEPARATORS = ("-", "-", "-", "/", "/", " - ", "–", "")
_UNSTEADY, _SPAN = 0.15, 0.2


def is_level(site: str) -> bool:
    """Return whether a site's id names the disc between two vertebrae."""
    return _PAIR.fullmatch(site) is not None


def vertebrae(site: str) -> tuple[str, str]:
    """Return the vertebra above and below a level; empty texts for another kind of site."""
    match = _PAIR.fullmatch(site)
    return (match.group(1), match.group(2)) if match else ("", "")


class SiteNames:
    """One writer's way to name sites, drawn once a report; an unsteady one draws each time."""

    def __init__(self, schema: LabelSchema, chance: random.Random) -> None:
        self._sites = {each.id: each for each in schema.sites}
        self._order = [each.id for each in schema.sites]
        self._chance = chance
        self._unsteady = chance.random() < _UNSTEADY
        self._draw()
        self._lower = chance.random() < 0.06

    def _draw(self) -> None:
        self._separator = self._chance.choice(_SEPARATORS)
        # "L45" for L4-L5 would not be understood by many a reader.
        self._brief = bool(self._separator) and self._chance.random() < 0.5

    def name(self, site: str) -> str:
        """Name one site."""
        if self._unsteady:
            self._draw()
        upper, lower = vertebrae(site)
        if not upper:
            known = self._sites[site]
            return self._chance.choice((known.name, known.name, *known.synonyms))
        if self._brief and upper[0] == lower[0]:
            lower = lower[1:]
        name = f"{upper}{self._separator}{lower}"
        return name.lower() if self._lower else name

    def names(self, sites: Sequence[str]) -> str:
        """Name several: as a list, or as a range where they follow each other."""
        ordered = sorted(sites, key=self._order.index)
        if len(ordered) > 1 and self._follow(ordered) and self._chance.random() < 0.35:
            first, last = ordered[0], ordered[-1]
            if self._chance.random() < 0.4:
                return self._span(first, last)
            joined = self._chance.choice((" to ", " through ")) if len(ordered) > 2 else " and "
            return f"{self.name(first)}{joined}{self.name(last)}"
        return listed([self.name(each) for each in ordered], "and")

    def _span(self, first: str, last: str) -> str:
        """Name a range by its outermost vertebrae: "L3 to S1", "L3-S1"."""
        upper, lower = vertebrae(first)[0], vertebrae(last)[1]
        joined = "-" if self._chance.random() < _SPAN else " to "
        name = f"{upper}{joined}{lower}"
        return name.lower() if self._lower else name

    def _follow(self, ordered: Sequence[str]) -> bool:
        start = self._order.index(ordered[0])
        following = self._order[start : start + len(ordered)] == list(ordered)
        return following and all(map(is_level, ordered))


def listed(items: Sequence[str], conjunction: str) -> str:
    """Join as in a sentence: "a", "a or b", "a, b or c"."""
    *first, last = items
    return f"{', '.join(first)} {conjunction} {last}" if first else last

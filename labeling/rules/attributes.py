"""Finds how severe a finding is said to be, and where, by the words of the schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from labeling.cues import Cues, one_of, word_of
from labeling.vocabulary import LabelSchema, Location, Severity, State


@dataclass(frozen=True)
class Attributes:
    """Severity and locations that a clause says of a finding; empty: not said."""

    severity: str = ""
    locations: frozenset[str] = frozenset()


NOTHING_SAID = Attributes()


class AttributeFinder:
    """Reads the clause around a finding.

    The degree nearest to the finding counts, and of a range ("mild to moderate") the worse. A
    degree of change ("mildly increased") is none of the finding's. What a location means counts
    with it (bilateral: left and right).
    """

    def __init__(self, schema: LabelSchema, cues: Cues) -> None:
        self._scales = {each.id: _Words(each.severities) for each in schema.observations}
        self._order = {each.id: [s.id for s in each.severities] for each in schema.observations}
        self._places = _Words(schema.locations)
        every = {location.id for location in schema.locations}
        self._allowed = {each.id: set(each.locations) or every for each in schema.observations}
        self._means = {location.id: location.means for location in schema.locations}
        breaks = one_of((*cues.boundaries, *cues.soft_boundaries))
        self._break = re.compile(breaks, re.IGNORECASE)
        self._sentence, self._breaks = "", tuple[int, ...]()  # of the sentence read last
        self._change = re.compile(rf"\s*{one_of(cues.changes)}", re.IGNORECASE)
        self._denial = re.compile(word_of(cues.denials), re.IGNORECASE)
        ranges = one_of((*cues.level_ranges, *cues.level_joins))
        self._range = re.compile(rf"\s*(?:[-–/]|{ranges})\s*", re.IGNORECASE)

    def find(
        self, words: str, start: int, end: int, observation: str, state: State = State.PRESENT
    ) -> Attributes:
        """Return what the clause around ``[start, end)`` of a sentence says of an observation.

        Where it is only possible, a denied degree ("no severe stenosis") is none.
        """
        first, last = self._clause(words, start, end)
        denied = state is State.UNCERTAIN and self._denial.search(words, first, start)
        severity = ""
        if not denied:
            severity = self._severity(words, (first, last), (start, end), observation)
        said = {name for _, _, name in self._places.find(words, first, last)}
        meant = said.union(*(self._means[name] for name in said))
        return Attributes(severity, frozenset(meant & self._allowed[observation]))

    def _clause(self, words: str, start: int, end: int) -> tuple[int, int]:
        if words != self._sentence:
            self._sentence = words
            self._breaks = tuple(match.start() for match in self._break.finditer(words))
        breaks = self._breaks
        before = max((at for at in breaks if at < start), default=0)
        after = min((at for at in breaks if at >= end), default=len(words))
        return before, after

    def _severity(
        self, words: str, clause: tuple[int, int], finding: tuple[int, int], observation: str
    ) -> str:
        found = [
            each
            for each in self._scales[observation].find(words, *clause)
            if not self._change.match(words, each[1])
        ]
        if not found:
            return ""
        nearest = min(found, key=lambda each: _distance(each[0], each[1], *finding))
        at = found.index(nearest)
        group = [nearest[2]]
        for left, right in pairwise(found):
            near = found[at] in (left, right)
            if near and self._range.fullmatch(words, left[1], right[0]):
                group = [left[2], right[2]]
        return worst(group, self._order[observation])


def worst(severities: Iterable[str], order: Sequence[str]) -> str:
    """Return the worst of some severities by the order of their scale; empty where none is said."""
    said = [each for each in severities if each]
    return max(said, key=order.index) if said else ""


class _Words:
    """The names and synonyms of some entries of a schema as one pattern."""

    def __init__(self, entries: Sequence[Severity | Location]) -> None:
        self._ids: dict[str, str] = {}
        for entry in entries:
            for name in (entry.name, *entry.synonyms):
                self._ids.setdefault(" ".join(name.lower().split()), entry.id)
        longest_first = sorted(self._ids, key=len, reverse=True)
        plain = (re.escape(name).replace(r"\ ", r"\s+") for name in longest_first)
        joined = "|".join(plain) or r"(?!)"
        self._pattern = re.compile(rf"(?<!\w)(?:{joined})(?!\w)", re.IGNORECASE)

    def find(self, words: str, start: int, end: int) -> list[tuple[int, int, str]]:
        """Return start, end and id of each name in a part of a sentence, in order."""
        return [
            (match.start(), match.end(), self._ids[" ".join(match.group().lower().split())])
            for match in self._pattern.finditer(words, start, end)
        ]


def _distance(start: int, end: int, other_start: int, other_end: int) -> int:
    return max(other_start - end, start - other_end, 0)

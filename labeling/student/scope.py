"""Which site a word of a report speaks of: a closed set of cases that the student weighs.

A report names a level once and then speaks of it: in the sentence, in its line, under a heading.
Rules find these cases and learned weights say what each is worth, so that one network serves every
site and a site never seen in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from labeling.rules.levels import LevelFinder, Mention
from labeling.sections import Sentence
from labeling.vocabulary import LabelSchema


class Scope(IntEnum):
    """How a token stands to a site."""

    WHOLE = 0  # the site is the whole report
    NAMED = 1  # its part of the sentence names the site
    BESIDE = 2  # the sentence names the site in another part
    HEADED = 3  # the line, or the paragraph under a heading, begins with the site
    FOLLOWING = 4  # an earlier sentence of the line named it
    OTHER_NAMED = 5  # the sentence names other sites only
    OTHER_HEADED = 6  # the line begins with other sites
    OTHER_FOLLOWING = 7  # an earlier sentence of the line named other sites
    UNPLACED = 8  # no site is named
    OUTSIDE = 9  # it speaks of another region of the body


Cases = npt.NDArray[np.uint8]
"""Shape (tokens, 1 + sites): a ``Scope`` for the whole report and each site."""


@dataclass(frozen=True)
class _Context:
    """What the sentences before named: their sites, and how far that reaches."""

    sites: frozenset[str]
    outside: bool
    line: tuple[str, int]
    headed: bool
    alone: bool

    def reaches(self, sentence: Sentence) -> bool:
        here = (str(sentence.kind), sentence.paragraph)
        return self.line == here or (self.alone and self.line[0] == here[0])


@dataclass(frozen=True)
class SentenceScope:
    """The mentions of a sentence, and what it inherits; offsets count its own characters."""

    mentions: tuple[Mention, ...]
    level_first: bool
    inherited: _Context | None

    def at(self, position: int) -> tuple[frozenset[str], bool]:
        """Return the sites that the words at ``position`` belong to, and whether outside."""
        before = [each for each in self.mentions if each.start <= position]
        after = [each for each in self.mentions if each.start > position]
        within = bool(before) and position < before[-1].end
        own = before[-1] if before and (within or self.level_first or not after) else after[0]
        return own.sites, own.other_region


class ScopeFinder:
    """Finds the cases of ``Scope`` for the sites of a schema."""

    def __init__(self, schema: LabelSchema) -> None:
        self._levels = LevelFinder(schema)
        self._sites = tuple(site.id for site in schema.sites)

    def find(self, text: str, sentences: Sequence[Sentence]) -> list[SentenceScope]:
        """Return the scope of each sentence; they are given in the order of the text."""
        context: _Context | None = None
        named: frozenset[str] = frozenset()
        found: list[SentenceScope] = []
        for sentence in sentences:
            words = text[sentence.start : sentence.end]
            mentions = tuple(self._resolved(words, named)) if self._sites else ()
            named |= frozenset().union(*(each.sites for each in mentions if not each.all))
            level_first = bool(mentions) and not _has_words(words[: mentions[0].start])
            inherited = context if context is not None and context.reaches(sentence) else None
            found.append(SentenceScope(mentions, level_first, inherited))
            if mentions:
                own = mentions[0] if level_first else mentions[-1]
                rest = words[: mentions[0].start] + words[mentions[-1].end :]
                context = _Context(
                    own.sites,
                    own.other_region,
                    (str(sentence.kind), sentence.paragraph),
                    level_first,
                    alone=level_first and not _has_words(rest),
                )
        return found

    def _resolved(self, words: str, named: frozenset[str]) -> list[Mention]:
        """Return the mentions; "the remaining levels" are those not named so far."""
        left = frozenset(self._sites) - named
        return [
            Mention(each.start, each.end, left) if each.remaining else each
            for each in self._levels.find(words)
        ]

    def cases(self, scope: SentenceScope, offsets: Sequence[tuple[int, int]]) -> Cases:
        """Return the case of every token of a sentence for the whole report and each site."""
        cases = np.full((len(offsets), 1 + len(self._sites)), Scope.UNPLACED, dtype=np.uint8)
        cases[:, 0] = Scope.WHOLE
        if not scope.mentions:
            self._fill_inherited(cases, scope.inherited)
            return cases
        anywhere = frozenset().union(*(each.sites for each in scope.mentions))
        rows: dict[tuple[frozenset[str], bool], list[int]] = {}
        for row, (start, _) in enumerate(offsets):
            rows.setdefault(scope.at(start), []).append(row)
        for (sites, outside), which in rows.items():
            if outside:
                cases[which] = Scope.OUTSIDE
                continue
            for column, site in enumerate(self._sites, 1):
                beside = Scope.BESIDE if site in anywhere else Scope.OTHER_NAMED
                cases[which, column] = Scope.NAMED if site in sites else beside
        return cases

    def _fill_inherited(self, cases: Cases, context: _Context | None) -> None:
        if context is None:
            return
        if context.outside and context.headed:
            cases[:] = Scope.OUTSIDE
            return
        inside = Scope.HEADED if context.headed else Scope.FOLLOWING
        others = Scope.OTHER_HEADED if context.headed else Scope.OTHER_FOLLOWING
        for column, site in enumerate(self._sites, 1):
            cases[:, column] = inside if site in context.sites else others


def _has_words(text: str) -> bool:
    words = "".join(char if char.isalpha() else " " for char in text.lower()).split()
    return any(word not in _FILLERS for word in words)


_FILLERS = frozenset({"at", "the", "in", "on", "level", "levels", "disc", "disk", "space", "and"})

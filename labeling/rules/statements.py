"""Turns sentences into statements: this observation, at these levels, in this state."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labeling.cues import Cues, one_of, word_of
from labeling.rules.assertion import Assertion
from labeling.rules.attributes import NOTHING_SAID, AttributeFinder, Attributes
from labeling.rules.levels import LevelFinder, Mention
from labeling.rules.lexicon import Lexicon, Terms
from labeling.sections import Kind, Sentence
from labeling.vocabulary import LabelSchema, State


@dataclass(frozen=True)
class Statement:
    """What one sentence says; ``sites`` is None where it names no level at all."""

    observation: str
    sites: frozenset[str] | None
    state: State
    start: int
    end: int
    kind: Kind
    attributes: Attributes = NOTHING_SAID


_LAST_WORD = re.compile(r"[\w?]+\W*$")
_OPPOSITE = {State.PRESENT: State.ABSENT, State.ABSENT: State.PRESENT}


class _Patterns:
    """The cues of a language, compiled for sentences."""

    def __init__(self, cues: Cues) -> None:
        around = rf"[\s\W]*(?:{one_of(cues.filler)}\b[\s\W]*)*"
        since = rf"(?:{one_of(cues.since)}\b[\s\W]*)*"
        openings, nouns = one_of(cues.level_openings), one_of(cues.level_nouns)
        self.all_normal = _compiled(rf"{around}{one_of(cues.normal)}{around}")
        self.all_stable = _compiled(rf"{around}{one_of(cues.stable)}{around}{since}")
        # Words that turn from the level under discussion to the whole spine or a part of it.
        self.turns_away = _compiled(word_of(cues.turns_away))
        self.opening = _compiled(rf"[\s\W]*{openings}?\s*")
        self.nouns = _compiled(word_of(cues.level_nouns))
        self.breaks = _compiled(one_of(cues.clause_breaks))
        self.weak_breaks = _compiled(word_of(cues.weak_breaks))
        ties = one_of(cues.prepositions)
        self.preposition = _compiled(rf"\b{ties}(?:\s+(?:{ties}|{openings}|{nouns}))*\s*$")


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@dataclass(frozen=True)
class _Context:
    """The level under discussion: named at the start of a sentence, or alone on its line."""

    sites: frozenset[str] | None
    line: tuple[Kind, int]
    alone: bool

    def reaches(self, sentence: Sentence, words: str, patterns: _Patterns) -> bool:
        same_line = (sentence.kind, sentence.paragraph) == self.line
        same_section = sentence.kind is self.line[0]
        return (same_line or (self.alone and same_section)) and not patterns.turns_away.search(
            words
        )


class StatementFinder:
    """Finds the statements about the observations of a schema, by the cues of a language."""

    def __init__(self, schema: LabelSchema, lexicon: Lexicon, cues: Cues) -> None:
        self._lexicon = lexicon
        self._assertion = Assertion(cues)
        self._attributes = AttributeFinder(schema, cues)
        self._patterns = _Patterns(cues)
        self._levels = LevelFinder(schema, cues)
        self._all = frozenset(site.id for site in schema.sites)
        self._at_levels = {each.id for each in schema.observations if each.sites}

    def find(self, text: str, sentences: Iterable[Sentence]) -> Iterator[Statement]:
        """Yield the statements of sentences that are given in the order of ``text``."""
        context: _Context | None = None
        said = _Said(self._all)
        kind: Kind | None = None
        for sentence in sentences:
            if sentence.kind is not kind:
                kind, context, said = sentence.kind, None, _Said(self._all)
            words = re.sub(r"\s", " ", text[sentence.start : sentence.end])
            words = self._lexicon.correct(words)
            mentions = self._levels.find(words)
            context = self._next_context(context, sentence, words, mentions)
            here = context.sites if context is not None and not mentions else None
            claims = list(self._claims(words, mentions, here))
            said.add(claims, mentions)
            for claim in claims:
                yield Statement(
                    claim.observation,
                    said.remaining(claim) if claim.remaining else claim.sites,
                    claim.state,
                    sentence.start,
                    sentence.end,
                    sentence.kind,
                    claim.attributes,
                )

    def _claims(
        self, words: str, mentions: list[Mention], context: frozenset[str] | None
    ) -> Iterator[_Claim]:
        found: list[tuple[int, int]] = []
        for observation, terms in self._lexicon.terms.items():
            for start, end, state in self._named(words, terms):
                found.append((start, end))
                said = NOTHING_SAID
                if state in {State.PRESENT, State.UNCERTAIN}:
                    said = self._attributes.find(words, start, end, observation, state)
                mention = self._attached(words, start, end, mentions)
                if mention is None:
                    yield _Claim(observation, context, state, attributes=said)
                elif not mention.other_region:
                    yield _Claim(
                        observation, mention.sites, state, mention.remaining, attributes=said
                    )
        for mention, state in self._general(words, mentions, found):
            sites = context if mention is None else mention.sites
            for observation in self._lexicon.terms:
                # That a level is normal says nothing of what is not labelled by level.
                if sites is not None and observation not in self._at_levels:
                    continue
                if mention is None:
                    yield _Claim(observation, context, state, general=True)
                else:
                    yield _Claim(observation, mention.sites, state, mention.remaining, True)

    def _next_context(
        self, context: _Context | None, sentence: Sentence, words: str, mentions: list[Mention]
    ) -> _Context | None:
        if mentions and mentions[0].remaining:
            return None
        if mentions and self._patterns.opening.fullmatch(words[: mentions[0].start]):
            rest = words[mentions[0].end :]
            alone = len(mentions) == 1 and not re.search(r"\w", self._patterns.nouns.sub("", rest))
            line = (sentence.kind, sentence.paragraph)
            return _Context(None if mentions[0].other_region else mentions[0].sites, line, alone)
        if (
            context is not None
            and not mentions
            and not context.reaches(sentence, words, self._patterns)
        ):
            return None
        return context

    def _named(self, words: str, terms: Terms) -> Iterator[tuple[int, int, State]]:
        """Yield where a sentence names an observation or its normal opposite, and its state."""
        masked = terms.ignore.sub(lambda match: " " * len(match.group()), words)
        present = [(m.start(), m.end()) for m in terms.present.finditer(masked)]
        for start, end in present:
            # Cues may stand inside a match ("canal is not narrowed"): its last word is the term.
            last = _LAST_WORD.search(masked, start, end)
            state = self._assertion.state(masked, last.start() if last else start, end)
            if state is not None:
                yield start, end, state
        for match in terms.absent.finditer(masked):
            start, end = match.span()
            if any(start < other_end and other_start < end for other_start, other_end in present):
                continue
            last = _LAST_WORD.search(masked, start, end)
            state = self._assertion.state(masked, last.start() if last else start, end)
            if state is not None:
                yield start, end, _OPPOSITE.get(state, state)

    def _attached(
        self, words: str, start: int, end: int, mentions: list[Mention]
    ) -> Mention | None:
        """Return the group of levels that a finding at ``[start, end)`` belongs to."""
        inside = [each for each in mentions if start <= each.start < end]
        if inside:
            return inside[0]
        before = max((m for m in mentions if m.end <= start), key=lambda m: m.end, default=None)
        after = min((m for m in mentions if m.start >= end), key=lambda m: m.start, default=None)
        if before is None or after is None:
            return before or after
        gap_after = words[end : after.start]
        breaks_after = self._breaks(gap_after) + len(self._patterns.weak_breaks.findall(gap_after))
        if breaks_after == 0 and self._patterns.preposition.search(gap_after):
            return after
        level_first = self._patterns.opening.fullmatch(words[: mentions[0].start]) is not None
        breaks_before = self._breaks(words[before.end : start])
        return before if level_first or breaks_before <= breaks_after else after

    def _breaks(self, gap: str) -> int:
        return len(self._patterns.breaks.findall(gap))

    def _general(
        self, words: str, mentions: list[Mention], found: list[tuple[int, int]]
    ) -> Iterator[tuple[Mention | None, State]]:
        """Yield statements that name none: a level or the study is normal, or unchanged."""
        for mention, start, end in _pieces(words, mentions):
            if any(start < last and first < end for first, last in found):
                continue
            piece = words[start:end]
            if mention is not None:
                if mention.other_region:
                    continue
                piece = words[start : mention.start] + " " + words[mention.end : end]
            if self._patterns.all_normal.fullmatch(piece):
                yield mention, State.ABSENT
            elif self._patterns.all_stable.fullmatch(piece):
                yield mention, State.STABLE_UNKNOWN


@dataclass(frozen=True)
class _Claim:
    """A statement whose "remaining levels" are not yet known."""

    observation: str
    sites: frozenset[str] | None
    state: State
    remaining: bool = False
    general: bool = False
    attributes: Attributes = NOTHING_SAID


class _Said:
    """What a section has said so far, to know which levels "the remaining levels" are."""

    def __init__(self, sites: frozenset[str]) -> None:
        self._sites = sites
        self._named: set[str] = set()
        self._stated: dict[str, set[str]] = {}

    def add(self, claims: list[_Claim], mentions: list[Mention]) -> None:
        """Take in the claims and levels of a sentence."""
        for mention in mentions:
            if not mention.all and not mention.remaining:
                self._named |= mention.sites
        for claim in claims:
            self._stated.setdefault(claim.observation, set()).update(claim.sites or ())

    def remaining(self, claim: _Claim) -> frozenset[str]:
        """Return the levels not named before or, for a finding, without a word about it."""
        if claim.general:
            return self._sites - self._named
        return self._sites - self._stated.get(claim.observation, set())


def _pieces(words: str, mentions: list[Mention]) -> Iterator[tuple[Mention | None, int, int]]:
    """Cut a sentence at its levels: "L1-L2: normal, L2-L3: normal"."""
    if len(mentions) < 2:
        yield (mentions[0] if mentions else None), 0, len(words)
        return
    ends = [each.start for each in mentions[1:]] + [len(words)]
    for mention, stop in zip(mentions, ends, strict=True):
        yield mention, mention.start, stop

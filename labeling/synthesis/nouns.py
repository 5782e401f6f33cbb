"""Noun phrases for findings: with severity, side and article, and what of them describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labeling.places import locations_of
from labeling.synthesis.phrasings import ARTICLE
from labeling.synthesis.words import NO_PHRASES
from labeling.synthesis.writer import Writer
from labeling.vocabulary import Observation, Severity

_GRADED, _SIDED, _BY_STEP, _MEASURED = 0.5, 0.5, 0.25, 0.15
_TEST_EVERY = 3
_FEW = 3


@dataclass(frozen=True)
class Noun:
    """A noun phrase, and whether it is plural."""

    text: str
    plural: bool

    @classmethod
    def of(cls, text: str) -> Noun:
        """Return the phrase with a guess of its number."""
        return cls(text, is_plural(text))


@dataclass(frozen=True)
class _Description:
    """A finding's step of its scale, the word for it, and its side; empty: it has none."""

    step: str
    severity: str
    side: str


class Nouns:
    """One writer's noun phrases."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self._chance = writer, writer.chance
        self._descriptions: dict[tuple[str, tuple[str, ...]], _Description] = {}

    def present(
        self, observation: Observation, sites: Sequence[str] = (), *, plain: bool = False
    ) -> Noun:
        """Return a phrase for a finding that is there; ``plain``: short enough for a list."""
        own = self._writer.own(observation)
        description = self._description(observation, sites)
        graded = self._writer.of(own.severities.get(description.step, NO_PHRASES))
        if graded and not plain and self._chance.random() < _BY_STEP:
            chosen: Sequence[str] = graded
        else:
            chosen = self._writer.of(own.present) or self._terms(observation, graded=True)
        if plain:
            chosen = [each for each in chosen if " with " not in each] or chosen
        phrase = self._filled(self._chance.choice(chosen), observation, sites)
        measures = self._writer.of(own.measures)
        if measures and not plain and self._chance.random() < _MEASURED:
            phrase += self._measured(observation, sites, measures)
        return self._noun(phrase)

    def absent(self, observation: Observation) -> str:
        """Return a phrase for a finding as it stands after "no"."""
        chosen = self._writer.of(self._writer.own(observation).absent)
        phrase = self._chance.choice(chosen or self._terms(observation, graded=False))
        return self._bare(self._filled(phrase, observation, ()))

    def bare(self, observation: Observation, sites: Sequence[str] = ()) -> Noun:
        """Return a phrase without severity and article, as it stands after "possible"."""
        own = self._writer.of(self._writer.own(observation).present)
        phrase = self._chance.choice(own or self._terms(observation, graded=False))
        phrase = phrase.replace("{severity}", "")
        return Noun.of(self._bare(self._filled(phrase, observation, sites)))

    def described(self, observation: Observation, sites: Sequence[str]) -> tuple[str, str]:
        """Return a severity and a side for an observation; often nothing."""
        known = self._description(observation, sites)
        severity = known.severity if self._chance.random() < _GRADED else ""
        return severity, known.side if self._chance.random() < _SIDED else ""

    def _terms(self, observation: Observation, *, graded: bool) -> list[str]:
        """Return phrases made of the schema's names; of many, the splits share none."""
        names = list(dict.fromkeys((lowered(observation.name), *observation.synonyms)))
        if len(names) > _FEW:
            held_out = names[_TEST_EVERY - 1 :: _TEST_EVERY]
            test = self._writer.split == "test"
            names = held_out if test else [each for each in names if each not in held_out]
        return [f"{{severity}} {{side}} {each}" if graded else each for each in names]

    def _filled(self, phrase: str, observation: Observation, sites: Sequence[str]) -> str:
        severity, side = self.described(observation, sites)
        return " ".join(phrase.format(severity=severity, side=side).split())

    def _description(self, observation: Observation, sites: Sequence[str]) -> _Description:
        """Return what the whole report says of a finding: findings and impression agree."""
        key = observation.id, tuple(sites)
        if key not in self._descriptions:
            self._descriptions[key] = self._drawn(observation, sites)
        return self._descriptions[key]

    def _drawn(self, observation: Observation, sites: Sequence[str]) -> _Description:
        known = {each.id for each in locations_of(self._writer.schema, observation)}
        sides = [s for s in self._writer.wording.common.vocabulary["sides"] if s in known]
        side = self._chance.choice(sides) if sides else ""
        step = self._step(observation, sites)
        if step is None:
            return _Description("", "", side)
        adjectives = [each for each in step.synonyms if not each.endswith("ly")]
        word = self._chance.choice((step.name, step.name, *adjectives))
        return _Description(step.id, word, side)

    def _step(self, observation: Observation, sites: Sequence[str]) -> Severity | None:
        """Return the step that is known of a finding; any where its truth is not given."""
        steps = observation.severities
        if self._writer.facts is None:
            return self._chance.choice(steps) if steps else None
        known = self._writer.facts.step(observation, sites)
        return next((each for each in steps if each.id == known), None)

    def _measured(
        self, observation: Observation, sites: Sequence[str], measures: Sequence[str]
    ) -> str:
        """Return the words for the size that is known of a finding; any where none is given."""
        if self._writer.facts is None:
            size: int | None = self._chance.randint(2, 14)
        else:
            size = self._writer.facts.size(observation, sites)
        if size is None:
            return ""
        return " " + self._chance.choice(measures).format(mm=size)

    def _noun(self, phrase: str) -> Noun:
        plural = is_plural(self._bare(phrase))
        if not phrase.startswith(ARTICLE) or self._writer.telegraphic:
            return Noun(self._bare(phrase), plural)
        rest = self._bare(phrase)
        return Noun(f"{article(rest)} {rest}", plural)

    def _bare(self, phrase: str) -> str:
        return phrase.removeprefix(ARTICLE)


def article(words: str) -> str:
    """Return "a" or "an" as it stands before the words."""
    first = words[:1].lower()
    return "an" if first in "aeio" or words.lower().startswith(("un", "ul", "8")) else "a"


def is_plural(phrase: str) -> bool:
    """Return whether "are" follows a noun phrase rather than "is"; a guess by its last letters."""
    head = phrase.split(" of ")[0].split(" with ")[0].split(" in ")[0].split(" due ")[0]
    last = head.split()[-1].lower() if head.split() else ""
    singular = last.endswith(("ss", "is", "us", "'s"))
    return " and " in head or last.endswith("ae") or (last.endswith("s") and not singular)


def lowered(name: str) -> str:
    """Return a name as it stands within a sentence: lower case, but for "CT" or "MRI"."""
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]


def capitalised(text: str) -> str:
    """Tidy blanks and begin with a capital."""
    tidy = " ".join(text.split())
    return tidy[:1].upper() + tidy[1:]

"""How a simulated radiologist words one finding: phrases, grades, level names, misspellings."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar

import yaml

from labeling.vocabulary import State
from plugin.simulation.truth import LEVELS, OBSERVATIONS

T = TypeVar("T")


@cache
def phrases() -> Mapping[str, Any]:
    """Return the wording of ``phrases.yaml``."""
    source = resources.files("plugin.simulation").joinpath("phrases.yaml")
    loaded: Mapping[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    return loaded


@dataclass(frozen=True)
class Opinion:
    """What the reader thinks of one observation at one disc; no degree: the grade is not said."""

    state: State  # PRESENT, UNCERTAIN or ABSENT
    degree: float | None = None


@dataclass(frozen=True)
class Claim:
    """What a statement says: one observation at one disc, and its state."""

    observation: str
    site: str
    state: State


@dataclass(frozen=True)
class Statement:
    """A sentence and what it claims; most sentences about normal anatomy claim nothing."""

    text: str
    claims: tuple[Claim, ...] = ()


def denial(text: str, observations: Iterable[str], sites: Iterable[str] = LEVELS) -> Statement:
    """Return a sentence that denies the observations at the sites."""
    places = [(observation, site) for observation in observations for site in sites]
    return Statement(text, tuple(Claim(*place, State.ABSENT) for place in places))


class Voice:
    """One reader's choices. Each slot has its own stream of chance, drawn from the seed.

    So a changed finding changes its own sentences and leaves the others as they were, as in a
    real corrected report.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def stream(self, slot: str) -> random.Random:
        """Return the generator of a slot, always in the same state."""
        return random.Random(f"{self._seed}/{slot}")

    def pick(self, slot: str, options: Sequence[T]) -> T:
        """Return one of the options."""
        return self.stream(slot).choice(options)

    def chance(self, slot: str, probability: float) -> bool:
        """Return True with this probability."""
        return self.stream(slot).random() < probability

    def order(self, slot: str, items: Iterable[T]) -> list[T]:
        """Return the items in an order of chance."""
        shuffled = list(items)
        self.stream(slot).shuffle(shuffled)
        return shuffled


def sentence(text: str) -> str:
    """Tidy spaces, start with a capital and end with a full stop."""
    tidy = re.sub(r"\s+([.,;])", r"\1", " ".join(text.split()))
    tidy = tidy[:1].upper() + tidy[1:]
    return tidy if tidy.endswith((".", "?", ":")) else f"{tidy}."


def listed(items: Sequence[str], conjunction: str) -> str:
    """Join as in a sentence: "a", "a or b", "a, b or c"."""
    *first, last = items
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def misspell(voice: Voice, slot: str, text: str, rate: float) -> str:
    """Swap or drop a letter inside some long words; never in a level, a negation or a doubt."""
    stream = voice.stream(f"typo/{slot}")

    def mistype(match: re.Match[str]) -> str:
        word = match.group()
        if stream.random() >= rate or word.lower() in phrases()["protected"]:
            return word
        at = stream.randrange(2, len(word) - 2)
        middle = word[at + 1] + word[at] if stream.random() < 0.5 else word[at]
        return word[:at] + middle + word[at + 2 :]

    return re.sub(r"\b[A-Za-z]{7,}\b", mistype, text)


def abbreviate(voice: Voice, slot: str, text: str, rate: float) -> str:
    """Shorten some words as a hurried writer does."""
    stream = voice.stream(f"short/{slot}")
    for word, short in phrases()["abbreviations"].items():
        if stream.random() < rate:
            text = re.sub(rf"\b{word}\b", short, text)
    return text


class Wording:
    """One reader's way to name levels and to word findings."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self._separator = voice.pick("separator", "-/")
        self._short = voice.chance("short levels", 0.35)
        self.telegraphic = voice.chance("telegraphic", 0.5)

    def level(self, level: str) -> str:
        """Name a disc level the way this reader does: L4-L5, L4/L5, L4-5 or L4/5."""
        upper, lower = level.split("-")
        if self._short:
            lower = lower.removeprefix("L")
        return f"{upper}{self._separator}{lower}"

    def levels(self, levels: Sequence[str]) -> str:
        """Name several disc levels."""
        return listed([self.level(each) for each in levels], "and")

    def grade(self, observation: str, degree: float | None) -> str:
        """Return the word for a degree, or nothing where the degree is not said."""
        grades = phrases()["observations"][observation]["grades"]
        reached = [word for word, start in grades.items() if degree is not None and degree >= start]
        return reached[-1] if reached else ""

    def fill(self, template: str, observation: str, level: str, degree: float | None) -> str:
        """Fill in grade, millimetres and vertebrae."""
        grade = self.grade(observation, degree)
        upper, lower = level.split("-")
        mm = "" if degree is None else str(round(degree))
        adverb = f"{grade}ly" if grade else ""
        return template.format(grade=grade, graded=adverb, mm=mm, upper=upper, lower=lower)

    def options(self, observation: str, kind: str, degree: float | None) -> list[str]:
        """Return the phrases of a kind that can be used with (or without) a known degree."""
        found = phrases()["observations"][observation].get(kind, [])
        return [each for each in found if degree is not None or "{mm}" not in each]

    def where(self, observation: str, level: str) -> str:
        """Say where: of one vertebra on the next for a slip, at the disc for all else."""
        upper, lower = level.split("-")
        slips = observation == "spondylolisthesis"
        return f" of {upper} on {lower}" if slips else f" at {self.level(level)}"

    def finding(
        self, observation: str, level: str, degree: float | None, *, plain: bool, explained: bool
    ) -> str:
        """Return a noun phrase for a finding that is present, with the mark of its article.

        Args:
            observation: the observation's id.
            level: the disc.
            degree: its degree, or None to say no grade.
            plain: leave out phrases that could not be joined with another by "with".
            explained: another finding at the disc explains this one.
        """
        kinds = ("present",) if explained else ("present", "unexplained")
        options = [each for kind in kinds for each in self.options(observation, kind, degree)]
        if plain:
            options = [each for each in options if " with " not in each and " due to " not in each]
        template = self.voice.pick(f"finding/{observation}/{level}", options)
        return self.fill(template, observation, level, degree)

    def doubt(self, observation: str, level: str, *, located: bool, kind: str) -> Statement:
        """Return a hedged sentence; ``kind`` is "hedges" or "summary_hedges"."""
        slot = f"{kind}/{observation}/{level}"
        noun = self.voice.pick(slot, self.options(observation, "doubted", None))
        where = self.where(observation, level)
        if not located and observation != "spondylolisthesis":
            where = ""
        text = self.voice.pick(f"{slot}/hedge", phrases()[kind]).format(
            np=without_article(noun), a_np=with_article(noun), where=where
        )
        return Statement(sentence(text), (Claim(observation, level, State.UNCERTAIN),))

    def noun(self, observation: str, slot: str) -> str:
        """Return a noun for the observation as it stands after "no"."""
        options: list[str] = phrases()["observations"][observation]["nouns"]
        return self.voice.pick(f"noun/{slot}/{observation}", options)

    def denied(self, observations: Sequence[str], slot: str) -> str:
        """Deny several observations in one sentence: the negation's scope is the whole list."""
        nouns = [self.noun(each, slot) for each in observations]
        if len(nouns) == 2 and self.voice.chance(f"neither/{slot}", 0.2):
            return f"Neither {nouns[0]} nor {nouns[1]} is seen."
        text: str = self.voice.pick(f"negation/{slot}", phrases()["negated_lists"])
        return text.format(list=listed(nouns, "or"))


def without_article(phrase: str) -> str:
    """Leave the article out, as telegraphic style does."""
    return " ".join(phrase.replace("(a)", " ").split())


def with_article(phrase: str) -> str:
    """Put "a" or "an" where the phrase marks an article."""
    if not phrase.startswith("(a)"):
        return " ".join(phrase.split())
    rest = without_article(phrase)
    return f"{'an' if rest[0] in 'aeiou8' else 'a'} {rest}"


def precedence(states: Iterable[State]) -> State:
    """Combine what several statements say: present, then uncertain, then absent."""
    said = set(states)
    ranked = (State.PRESENT, State.UNCERTAIN, State.ABSENT)
    return next((state for state in ranked if state in said), State.NOT_MENTIONED)


ORDERS = (
    OBSERVATIONS,
    ("spondylolisthesis", "disc_narrowing", "herniation", "stenosis"),
    ("herniation", "stenosis", "disc_narrowing", "spondylolisthesis"),
)
"""Orders in which readers go through the observations at a level."""

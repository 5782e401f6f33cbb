"""Write simulated reports of lumbar spine MRI in many wordings, for a student to learn from.

They speak of eight observations of the ``spine`` schema, with and without levels, and say of each
report what its text says. The wording is in ``lumbar_wording.yaml``; none of it is a real report's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from labeling.vocabulary import WHOLE, State
from plugin.simulation.reports_wording import Claim, Statement, listed, precedence
from plugin.simulation.truth import LEVELS

LEVELLED = (
    "disc_narrowing",
    "herniation",
    "stenosis",
    "spondylolisthesis",
    "disc_bulging",
    "disc_degeneration",
)
UNLEVELLED = ("cauda_equina_compression", "cancer")

Place = tuple[str, str]
Span = tuple[int, int]

_PRESENT = {"L1-L2": 0.05, "L2-L3": 0.08, "L3-L4": 0.14, "L4-L5": 0.24, "L5-S1": 0.22}
_SEPARATORS = ("-", "/", "-", "/", " - ", "–")


@dataclass(frozen=True)
class LabelledText:
    """A report, what its text says at each place, and every range of it that says so."""

    text: str
    states: Mapping[Place, State]
    evidence: Mapping[Place, tuple[Span, ...]]


@cache
def wording() -> Mapping[str, Any]:
    """Return the wording of ``lumbar_wording.yaml``."""
    source = resources.files("plugin.simulation").joinpath("lumbar_wording.yaml")
    loaded: Mapping[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    return loaded


def lumbar_reports(count: int, seed: int) -> Iterator[LabelledText]:
    """Yield simulated reports; the same arguments give the same texts."""
    for number in range(count):
        yield _Writer(random.Random(f"lumbar/{seed}/{number}")).report()


class _Writer:
    """Writes one report by chance, sentence by sentence."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._separator = chance.choice(_SEPARATORS)
        self._brief_levels = chance.random() < 0.5
        self._lower = chance.random() < 0.08

    def report(self) -> LabelledText:
        """Return the report."""
        chance = self._chance
        if chance.random() < 0.03:
            statements = [self._normal_study()]
        else:
            parts: list[Callable[[], list[Statement]]] = [
                self._levelled,
                self._whole,
                self._denials,
            ]
            chance.shuffle(parts)
            statements = [each for part in parts for each in part()]
        for _ in range(chance.choice((0, 1, 2, 3, 4))):
            said = Statement(chance.choice(wording()["distractors"]))
            statements.insert(chance.randrange(len(statements) + 1), said)
        return self._typed(statements)

    # What is said

    def _levelled(self) -> list[Statement]:
        """Say what is present or doubtful, level by level or observation by observation."""
        found = {
            level: [o for o in LEVELLED if self._chance.random() < share]
            for level, share in _PRESENT.items()
        }
        said: list[Statement] = []
        for level, observations in found.items():
            self._chance.shuffle(observations)
            while observations:
                taken = observations.pop()
                partner = observations.pop() if observations and self._chance.random() < 0.5 else ""
                said.append(self._at_level(level, taken, partner))
            if self._chance.random() < 0.12:
                said.append(self._joint(level))
            if self._chance.random() < 0.05:
                said.append(self._hedged(self._chance.choice(LEVELLED), level))
        if self._chance.random() < 0.5:
            said.append(self._several())
        if self._chance.random() < 0.5:
            self._chance.shuffle(said)
        return said

    def _whole(self) -> list[Statement]:
        """Say some things without a level, and what has none."""
        said = []
        for observation in LEVELLED:
            drawn = self._chance.random()
            if drawn < 0.05:
                said.append(self._found(observation, ""))
            elif drawn < 0.09:
                said.append(self._hedged(observation, ""))
        for observation in UNLEVELLED:
            drawn = self._chance.random()
            if drawn < 0.10:
                said.append(self._found(observation, ""))
            elif drawn < 0.18:
                said.append(self._hedged(observation, ""))
        if self._chance.random() < 0.1:
            said.append(self._joint(""))
        return said

    def _denials(self) -> list[Statement]:
        said = []
        for observation in (*LEVELLED, *UNLEVELLED):
            if self._chance.random() < 0.22:
                said.append(self._denied(observation))
        if self._chance.random() < 0.25:
            several = self._chance.sample((*LEVELLED, *UNLEVELLED), self._chance.choice((2, 3)))
            said.append(self._denied_together(several))
        if self._chance.random() < 0.12:
            said.append(self._normal_levels())
        return said

    # How it is said

    def _at_level(self, level: str, observation: str, partner: str) -> Statement:
        places = [(each, level) for each in (observation, partner) if each]
        if partner:
            first, second = self._noun(observation), self._noun(partner)
            text = self._pick("joined").format(a=first, b=second, at=self._at(level))
            return _claiming(text, places, State.PRESENT)
        if self._chance.random() < 0.35:
            return self._sentence(observation, "says", level, State.PRESENT)
        if self._chance.random() < 0.5:
            return self._found(observation, level)
        noun = self._noun(observation)
        text = self._pick("level_first").format(level=self._level(level), np=noun)
        return _claiming(text, places, State.PRESENT)

    def _found(self, observation: str, level: str) -> Statement:
        if not level and self._chance.random() < 0.3:
            return self._sentence(observation, "says", level, State.PRESENT)
        text = self._pick("located").format(np=self._noun(observation), at=self._at(level))
        return _claiming(text, self._places(observation, level, State.PRESENT), State.PRESENT)

    def _hedged(self, observation: str, level: str) -> Statement:
        noun = self._chance.choice(wording()["observations"][observation]["present"])
        text = self._pick("hedged").format(np=noun, at=self._at(level))
        return _claiming(text, [(observation, level or WHOLE)], State.UNCERTAIN)

    def _denied(self, observation: str) -> Statement:
        level = self._chance.choice(LEVELS) if self._chance.random() < 0.3 else ""
        level = level if observation in LEVELLED else ""
        drawn = self._chance.random()
        if drawn < 0.4:
            return self._sentence(observation, "denies", level, State.ABSENT)
        noun = self._chance.choice(wording()["observations"][observation]["absent"])
        text = self._pick("denied").format(np=noun, at=self._at(level))
        return _claiming(text, self._places(observation, level, State.ABSENT), State.ABSENT)

    def _denied_together(self, observations: Sequence[str]) -> Statement:
        levelled = all(each in LEVELLED for each in observations)
        level = self._chance.choice(LEVELS) if levelled and self._chance.random() < 0.3 else ""
        nouns = [
            self._chance.choice(wording()["observations"][each]["absent"]) for each in observations
        ]
        text = self._pick("denied_lists").format(
            list=listed(nouns, "or"), pair=" nor ".join(nouns), at=self._at(level)
        )
        places = [p for each in observations for p in self._places(each, level, State.ABSENT)]
        return _claiming(text, places, State.ABSENT)

    def _joint(self, level: str) -> Statement:
        chosen = self._pick("joint")
        claims = [
            Claim(observation, site, state)
            for state in (State.PRESENT, State.ABSENT)
            for each in chosen.get(str(state), [])
            for observation, site in self._places(each, level, state)
        ]
        return Statement(_tidy(chosen["text"].format(at=self._at(level))), tuple(claims))

    def _several(self) -> Statement:
        """Say one observation of two or more levels at once, perhaps of neighbours as a range."""
        observation = self._chance.choice(
            [each for each in LEVELLED if each != "spondylolisthesis"]
        )
        count = self._chance.choice((2, 2, 3))
        first = self._chance.randrange(len(LEVELS) - count + 1)
        levels = LEVELS[first : first + count]
        names = [self._level(each) for each in levels]
        where = listed(names, "and")
        if self._chance.random() < 0.3:
            where = f"{names[0]} to {names[-1]}"
        text = self._pick("located").format(np=self._noun(observation), at=f" at {where}")
        return _claiming(text, [(observation, each) for each in levels], State.PRESENT)

    def _normal_levels(self) -> Statement:
        first = self._chance.randrange(len(LEVELS) - 1)
        levels = LEVELS[first : first + self._chance.choice((1, 2, 3))]
        names = listed([self._level(each) for each in levels], "and")
        text = self._pick("normal_levels").format(levels=names)
        return _claiming(text, [(o, each) for o in LEVELLED for each in levels], State.ABSENT)

    def _normal_study(self) -> Statement:
        everything = (*LEVELLED, *UNLEVELLED)
        places = [p for each in everything for p in self._places(each, "", State.ABSENT)]
        return _claiming(self._pick("normal_study"), places, State.ABSENT)

    def _sentence(self, observation: str, kind: str, level: str, state: State) -> Statement:
        template = self._chance.choice(wording()["observations"][observation][kind])
        if "{upper}" in template or "{lower}" in template:
            level = level or self._chance.choice(LEVELS)
        elif "{at}" not in template:
            level = ""
        upper, _, lower = (level or LEVELS[3]).partition("-")
        text = template.format(at=self._at(level), upper=upper, lower=lower)
        return _claiming(text, self._places(observation, level, state), state)

    # Words

    def _places(self, observation: str, level: str, state: State) -> list[Place]:
        """Return where a claim holds: a denial without level holds at every level."""
        if level and observation in LEVELLED:
            return [(observation, level)]
        everywhere = state is State.ABSENT and observation in LEVELLED
        return [(observation, each) for each in LEVELS] if everywhere else [(observation, WHOLE)]

    def _noun(self, observation: str) -> str:
        noun: str = self._chance.choice(wording()["observations"][observation]["present"])
        if noun.startswith("a "):
            return noun
        described = (self._pick("degrees"), self._pick("sides"), noun)
        return " ".join(word for word in described if word)

    def _pick(self, kind: str) -> Any:
        return self._chance.choice(wording()[kind])

    def _level(self, level: str) -> str:
        upper, lower = level.split("-")
        if self._brief_levels:
            lower = lower.removeprefix("L")
        name = f"{upper}{self._separator}{lower}"
        return name.lower() if self._lower else name

    def _at(self, level: str) -> str:
        if not level:
            return ""
        name = self._level(level)
        return self._chance.choice(
            (f" at {name}", f" at {name} level", f" {name}", f" at the {name} level")
        )

    # On paper

    def _typed(self, statements: Sequence[Statement]) -> LabelledText:
        """Put the sentences on paper and note what each place is said to be."""
        between = self._chance.choice((" ", " ", "\n", "\n", "\n- "))
        heading = self._chance.choice(("", "", "FINDINGS:\n", "Findings: ", "IMPRESSION: "))
        text, claims = heading, list[tuple[Claim, Span]]()
        for number, each in enumerate(statements):
            text += between if number else ""
            span = (len(text), len(text) + len(each.text))
            text += each.text
            claims += [(claim, span) for claim in each.claims]
        states: dict[Place, State] = {}
        evidence: dict[Place, tuple[Span, ...]] = {}
        for observation in (*LEVELLED, *UNLEVELLED):
            sites = (WHOLE, *LEVELS) if observation in LEVELLED else (WHOLE,)
            for site in sites:
                said = [e for e in claims if e[0].observation == observation]
                here = [e for e in said if site in (WHOLE, e[0].site)]
                state = precedence(claim.state for claim, _ in here)
                states[observation, site] = state
                spans = dict.fromkeys(span for claim, span in here if claim.state is state)
                if spans:
                    evidence[observation, site] = tuple(spans)
        cauda, canal = ("cauda_equina_compression", WHOLE), ("stenosis", WHOLE)
        # By definition a compressed cauda equina says something of the canal: what, is left open.
        if states[cauda] in {State.PRESENT, State.UNCERTAIN} and states[canal] != State.PRESENT:
            del states[canal]
        return LabelledText(text, states, evidence)


def _claiming(text: str, places: Sequence[Place], state: State) -> Statement:
    return Statement(_tidy(text), tuple(Claim(*place, state) for place in places))


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:]

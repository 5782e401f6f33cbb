"""Simulated notes about graded discs, in manners of which some lead a labeler astray.

What a note says comes from the human gradings. Each place (target and level) is worded plainly or,
at a share that ``tests.parity.matching`` finds, in a manner that goes wrong in real notes: left
out, put at the level beside it, doubted, taken back, in shorthand; or, of a normal disc, in the
words of the finding. No label is touched: what the labeler makes of the words is its own doing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from labeling.synthesis.noise import Habits, typed
from plugin.simulation.truth import LEVELS
from tests.parity.gradings import TARGETS, Place

PLAIN, OMITTED, WRONG_LEVEL, ABSORBED = "plain", "omitted", "wrong_level", "level_of_another"
FALSE_FRIEND, NAMED = "false_friend", "named_for_another"
MISLEADING = (OMITTED, "hedged", "taken_back", "shorthand")
"""Manners, besides the wrong level, of a finding that the labeler is meant to miss."""

_WORDING = Path(__file__).with_name("wording.yaml")
_LISTED, _DENIED_ALL, _REMARKED, _TYPOS = 0.5, 0.7, 0.6, 0.25
# Rarely: the embedded model takes many a level that is denied beside a finding for a finding.
_DENIED = 0.05
_PROTECTED = frozenset({"without", "cannot", "excluded", "perhaps", "possible"})


@dataclass(frozen=True)
class Shares:
    """By target, the share of the findings, and of the normal discs, that are worded to mislead.

    ``slips`` is the share of such findings that are put at a wrong level; the other manners of
    ``MISLEADING`` share the rest equally.
    """

    findings: Mapping[str, float]
    normal: Mapping[str, float]
    slips: Mapping[str, float]


@dataclass(frozen=True)
class Note:
    """A note, and at each place the manner in which it was worded."""

    text: str
    manners: Mapping[Place, str]


@dataclass
class _Draft:
    chance: random.Random
    manners: dict[Place, str] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)  # level that it is sorted by, words

    def one_of(self, target: str, kind: str, levels: list[str]) -> None:
        """Say something of levels, in the words of a kind."""
        frame = self.chance.choice(wording()[target][kind])
        spelling = self.chance.choice(wording()["levels"])
        names = [_spelt(each, spelling) for each in levels]
        together = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
        self.said.append(
            (
                levels[0] if levels else "",
                frame.format(level=names[0], levels=together) if levels else frame,
            )
        )


@cache
def wording() -> dict[str, Any]:
    """Return the words of the notes."""
    words: dict[str, Any] = yaml.safe_load(_WORDING.read_text(encoding="utf-8"))
    return words


def write_note(name: str, truth: Mapping[Place, bool], shares: Shares) -> Note:
    """Return a note on one patient's discs; the same arguments give the same note.

    A higher share changes the wording of some places and leaves the manner of the others.

    Args:
        name: seed of all chance.
        truth: whether the target is there, at every place.
        shares: of misleading wording.
    """
    draft = _Draft(random.Random(f"words {name}"))
    for target in TARGETS:
        _choose(draft, name, target, truth, shares)
    for target in TARGETS:
        _say(draft, target, truth)
    if draft.chance.random() < 0.5:
        draft.chance.shuffle(draft.said)
    else:
        draft.said.sort(key=lambda each: each[0])
    return Note(_put_together(draft), draft.manners)


def _choose(
    draft: _Draft, name: str, target: str, truth: Mapping[Place, bool], shares: Shares
) -> None:
    chance = random.Random(f"manners {name} {target}")
    for level in LEVELS:
        place = target, level
        misleads, slips, kind = chance.random(), chance.random(), chance.choice(MISLEADING)
        if slips < shares.slips[target]:
            kind = WRONG_LEVEL
        if truth[place]:
            draft.manners[place] = kind if misleads < shares.findings[target] else PLAIN
        else:
            draft.manners[place] = FALSE_FRIEND if misleads < shares.normal[target] else PLAIN
    for level in LEVELS:
        if draft.manners[target, level] == WRONG_LEVEL:
            free = [
                each
                for each in _beside(level)
                if not truth[target, each] and draft.manners[target, each] == PLAIN
            ]
            if free:
                draft.manners[target, chance.choice(free)] = NAMED
            else:
                draft.manners[target, level] = ABSORBED


def _say(draft: _Draft, target: str, truth: Mapping[Place, bool]) -> None:
    by_manner: dict[str, list[str]] = {}
    for level in LEVELS:
        manner = draft.manners[target, level]
        kind = "normal" if manner == PLAIN and not truth[target, level] else manner
        by_manner.setdefault(kind, []).append(level)
    found = sorted([*by_manner.get(PLAIN, ()), *by_manner.get(NAMED, ())])
    if len(found) > 1 and draft.chance.random() < _LISTED:
        draft.one_of(target, "listed", found)
    else:
        for level in found:
            draft.one_of(target, PLAIN, [level])
    for kind in ("hedged", "taken_back", "shorthand", FALSE_FRIEND):
        for level in by_manner.get(kind, ()):
            draft.one_of(target, kind, [level])
    normal = by_manner.get("normal", [])
    if len(normal) == len(LEVELS):
        if draft.chance.random() < _DENIED_ALL:
            draft.one_of(target, "none", [])
    elif normal and draft.chance.random() < _DENIED:
        draft.one_of(target, "denied", normal)


def _put_together(draft: _Draft) -> str:
    chance, words = draft.chance, wording()
    lines = [line for _, line in draft.said]
    for remark in chance.sample(words["remarks"], 2):
        if chance.random() < _REMARKED:
            lines.insert(chance.randrange(len(lines) + 1), remark)
    if not lines:
        lines = [chance.choice(words["remarks"])]
    habits = Habits(typos=0.03 if chance.random() < _TYPOS else 0.0)
    lines = [typed(line, habits, chance, _PROTECTED, {}) for line in lines]
    parted = chance.choice(("\n", "\n", " ", "\n- "))
    opening = chance.choice(words["openings"])
    return f"{opening}\n{parted.join(lines)}".strip()


def _spelt(level: str, spelling: str) -> str:
    upper, lower = level.split("-")
    short = lower if lower == "S1" else lower[1:]
    return str(spelling.format(upper=upper, lower=lower, short=short))


def _beside(level: str) -> list[str]:
    near = [pair for pair in pairwise(LEVELS) if level in pair]
    return [each for pair in near for each in pair if each != level]

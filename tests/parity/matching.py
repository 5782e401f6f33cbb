"""Finds how often notes must be worded to mislead, so that the labeler errs as on real notes.

Pilot notes of patients drawn with repetition are read, and the labeler's answers counted by the
manner of wording. From the rates of each manner follows the share of misleading wording at which
sensitivity and specificity are those that are wanted. Nothing but the wording is chosen, and the
notes that are sent are other notes than those of the pilot.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.parity.gradings import TARGETS, GradedPatient, Place
from tests.parity.notes import (
    ABSORBED,
    FALSE_FRIEND,
    MISLEADING,
    NAMED,
    PLAIN,
    WRONG_LEVEL,
    Note,
    Shares,
    write_note,
)
from tests.parity.rates import Rate

Read = Callable[[Mapping[str, str]], Mapping[str, Mapping[Place, bool]]]
"""From texts by name to whether the labeler says "present" at each place; failures are missing."""

Count = Counter[tuple[str, bool, str, bool]]
"""How many by target, truth, manner, and whether the labeler said "present"."""

_EXPLORED = Shares(
    dict.fromkeys(TARGETS, 0.4), dict.fromkeys(TARGETS, 0.3), dict.fromkeys(TARGETS, 0.2)
)


HARD = (*MISLEADING, WRONG_LEVEL, ABSORBED)
_FOUND_UNSEEN = {PLAIN: 0.0, NAMED: 1.0, FALSE_FRIEND: 1.0}
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Matched:
    """The shares that were found, and how the pilot's places were read by manner."""

    shares: Shares
    by_manner: Mapping[str, Mapping[str, str]]
    limits: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def match(
    patients: Sequence[GradedPatient],
    wanted: Mapping[str, Rate],
    read: Read,
    *,
    pilot: int,
    rounds: int,
    seed: int,
) -> Matched:
    """Find the shares; each round reads ``pilot`` notes worded by what the earlier ones tell."""
    counts: Count = Counter()
    shares = _EXPLORED
    limits: list[str] = []
    for number in range(rounds):
        drawn = random.Random(f"pilot {seed} {number}").choices(patients, k=pilot)
        truths = {f"pilot-{seed}-{number}-{i}": each.truth for i, each in enumerate(drawn)}
        notes = {name: write_note(name, truth, shares) for name, truth in truths.items()}
        said = read({name: note.text for name, note in notes.items()})
        for name, note in notes.items():
            counts.update(counted(truths[name], note, said[name]))
        shares, limits = solve(counts, wanted)
    return Matched(shares, {target: _rates(counts, target) for target in TARGETS}, limits)


def counted(
    truth: Mapping[Place, bool], note: Note, said: Mapping[Place, bool]
) -> Iterator[tuple[str, bool, str, bool]]:
    """Yield each place of a note that the labeler could read."""
    for place, manner in note.manners.items():
        if place in said:
            yield place[0], truth[place], manner, said[place]


def solve(counts: Count, wanted: Mapping[str, Rate]) -> tuple[Shares, list[str]]:
    """Return the shares at which the labeler is expected to err as wanted, and what cannot be.

    Of findings, the share p holds: misses = (1 - p) x those of plain words + p x those of
    misleading ones. Of normal discs, a level that is named for the one beside it is given by p, and
    the rest is made up by words that sound like a finding.
    """
    findings, normal, slips = {}, {}, {}
    limits: list[str] = []
    for target in TARGETS:
        errors = 1 - wanted[target].sensitivity, 1 - wanted[target].specificity
        missed = 1 - _present(counts, target, True, (PLAIN,), 1.0)
        hard = 1 - _present(counts, target, True, HARD, 0.0)
        findings[target], out = _share(missed, hard, errors[0])
        limits += [f"{target}: {out} findings than wanted are missed"] * bool(out)
        said = {m: _present(counts, target, False, (m,), d) for m, d in _FOUND_UNSEEN.items()}
        spare = max(errors[1] - said[PLAIN], 0.0)
        every_slip = _named_by_slips(counts, target) * findings[target]
        most = spare / max(every_slip * said[NAMED], 1e-9)
        slips[target] = min(_EXPLORED.slips[target], most)
        named = every_slip * slips[target]
        least, most = (said[m] * (1 - named) + said[NAMED] * named for m in (PLAIN, FALSE_FRIEND))
        normal[target], out = _share(least, most, errors[1])
        limits += [f"{target}: {out} normal discs than wanted are found"] * bool(out)
    return Shares(findings, normal, slips), limits


def _share(of_plain: float, of_hard: float, error: float) -> tuple[float, str]:
    """Return the share of hard words at which the error is as given; else the nearest, and why."""
    if of_hard <= of_plain:
        return 0.0, "other"
    share = (error - of_plain) / (of_hard - of_plain)
    if share < -_TOLERANCE:
        return 0.0, "more"
    return (1.0, "fewer") if share > 1 else (max(share, 0.0), "")


def _number(counts: Count, target: str, truth: bool, manners: Sequence[str]) -> int:
    return sum(counts[target, truth, manner, said] for manner in manners for said in (True, False))


def _present(
    counts: Count, target: str, truth: bool, manners: Sequence[str], unseen: float
) -> float:
    """Return the share that is called present; ``unseen`` where no place was worded so."""
    number = _number(counts, target, truth, manners)
    said = sum(counts[target, truth, manner, True] for manner in manners)
    return said / number if number else unseen


def _named_by_slips(counts: Count, target: str) -> float:
    """Return how many normal discs, as a share of all, would be named if every finding slipped.

    Not every slip finds a normal disc beside it; the count of what did tells how many do.
    """
    slipped = _number(counts, target, True, (WRONG_LEVEL, ABSORBED))
    named = _number(counts, target, False, (NAMED,))
    every = _number(counts, target, True, (PLAIN, *HARD))
    normal = _number(counts, target, False, (PLAIN, NAMED, FALSE_FRIEND))
    return min(named / max(slipped, 1), 1.0) * every / max(normal, 1)


def _rates(counts: Count, target: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for truth, word in ((True, "finding"), (False, "normal")):
        manners = sorted({m for t, there, m, _ in counts if t == target and there is truth})
        for manner in manners:
            said = counts[target, truth, manner, True]
            number = said + counts[target, truth, manner, False]
            found[f"{word}, {manner}"] = f"{said} of {number} called present"
    return found

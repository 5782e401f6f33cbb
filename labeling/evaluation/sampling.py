"""Draws subjects for human readers with known probabilities; the same seed draws the same.

Two phases (Särndal, Swensson, Wretman: Model Assisted Survey Sampling, 1992, chapter 9): first one
subject of each patient, each of the patient's k with probability 1/k; then without replacement
within strata, n_h of N_h. The weight of a subject is one over the product of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

ALL = "all"
"""The one stratum of a simple random sample."""

REST = "none of them"
"""The stratum of subjects for which the labeler says nothing of what is looked for."""

FEWEST = 2
"""Subjects that every stratum gets where it has them: of one nobody can tell how it varies."""


class Unit(NamedTuple):
    """A subject that can be drawn: its patient, and what a labeler says is present or uncertain."""

    subject: str
    patient: str
    said: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Candidate:
    """A subject that passed the first phase; ``share`` is the probability with which it did."""

    unit: Unit
    share: float
    stratum: str = ALL


@dataclass(frozen=True)
class Drawn:
    """A subject of the sample, with the probability of its inclusion, in (0, 1]."""

    subject: str
    patient: str
    stratum: str
    probability: float


def candidates(
    units: Iterable[Unit], seed: int, *, one_per_patient: bool = True
) -> list[Candidate]:
    """Return who takes part in the second phase, in the order of subjects.

    Args:
        units: the frame; each subject once.
        seed: of the draw.
        one_per_patient: draw one subject of each patient; else all take part.
    """
    ordered = sorted(units)
    if not one_per_patient:
        return [Candidate(each, 1.0) for each in ordered]
    rng = np.random.default_rng((seed, 1))
    of_patient: dict[str, list[Unit]] = {}
    for each in ordered:
        of_patient.setdefault(each.patient, []).append(each)
    chosen = [
        Candidate(own[int(rng.integers(len(own)))], 1 / len(own))
        for _, own in sorted(of_patient.items())
    ]
    return sorted(chosen, key=lambda each: each.unit.subject)


def stratified(given: Sequence[Candidate], observations: Collection[str]) -> list[Candidate]:
    """Return the candidates with strata: the rarest observation that a labeler says of each."""
    counts = Counter(name for each in given for name in each.unit.said if name in observations)

    def stratum(each: Candidate) -> str:
        said = [name for name in each.unit.said if name in counts]
        return min(said, key=lambda name: (counts[name], name), default=REST)

    return [Candidate(each.unit, each.share, stratum(each)) for each in given]


def sizes_of(given: Iterable[Candidate]) -> dict[str, int]:
    """Return how many candidates each stratum has."""
    return dict(sorted(Counter(each.stratum for each in given).items()))


def allocated(sizes: Mapping[str, int], n: int, enriched: float) -> dict[str, int]:
    """Return how many are drawn of each stratum.

    Args:
        sizes: of the strata.
        n: in all, at most; every stratum gets ``FEWEST`` first, also where that is more.
        enriched: share of ``n`` that goes in equal parts to the strata other than ``REST``; what
            they cannot take goes to ``REST``, and what that cannot take goes to them.
    """
    found = {name: min(size, FEWEST) for name, size in sizes.items()}
    special = [name for name in sizes if name != REST]
    wanted = n if REST not in sizes else min(round(n * enriched), n - found[REST])
    _fill(found, sizes, special, wanted - sum(found[name] for name in special))
    for names in ([name for name in sizes if name == REST], special):
        _fill(found, sizes, names, n - sum(found.values()))
    return found


def _fill(found: dict[str, int], sizes: Mapping[str, int], names: Sequence[str], more: int) -> None:
    """Deal out so many more, one to each stratum in turn that has any left."""
    while more > 0 and (open_ := [name for name in names if found[name] < sizes[name]]):
        least = min(found[name] for name in open_)
        for name in [name for name in open_ if found[name] == least][:more]:
            found[name] += 1
            more -= 1


def draw(given: Sequence[Candidate], allocation: Mapping[str, int], seed: int) -> list[Drawn]:
    """Return the drawn subjects, in the order of subjects.

    Args:
        given: in the order of subjects.
        allocation: how many of each stratum, at most its size.
        seed: of the draw.
    """
    drawn: list[Drawn] = []
    for number, (name, count) in enumerate(sorted(allocation.items())):
        own = [each for each in given if each.stratum == name]
        rng = np.random.default_rng((seed, 2, number))
        for place in rng.permutation(len(own))[:count]:
            each = own[int(place)]
            probability = each.share * count / len(own)
            drawn.append(Drawn(each.unit.subject, each.unit.patient, name, probability))
    return sorted(drawn, key=lambda each: each.subject)

"""How many reports readers must label so that a figure's 95 % interval is as narrow as wanted.

Sensitivity rests on those that have the finding alone and specificity on the others, so the number
of reports follows from the expected prevalence (Buderer, Acad Emerg Med 1996;3:895). Intervals of
proportions are Wilson's (J Am Stat Assoc 1927;22:209) or Clopper and Pearson's exact ones
(Biometrika 1934;26:404); the standard error of the area under the ROC curve is Hanley and McNeil's
(Radiology 1982;143:29). A finite frame needs fewer (Cochran, Sampling Techniques, 1977, 4.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import beta, norm

Z = float(norm.ppf(0.975))
"""Half the width of a 95 % interval in standard errors."""

LARGEST = 1_000_000
"""More than this nobody reads."""

Measure = Literal["sensitivity", "specificity", "both", "auroc"]
Interval = Literal["wilson", "exact"]


@dataclass(frozen=True)
class Aim:
    """What the sample is for.

    Args:
        measure: the figure whose interval counts; "both": sensitivity and specificity.
        expected: what the figure is expected to be, in (0, 1); of AUROC above 0.5.
        width: of its 95 % interval from end to end, in (0, 1).
        prevalence: share of reports with the finding, expected in the frame, in (0, 1).
        interval: of proportions.
    """

    measure: Measure = "sensitivity"
    expected: float = 0.9
    width: float = 0.15
    prevalence: float = 0.1
    interval: Interval = "wilson"


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion; ``successes`` may be an expected number."""
    share, square = successes / n, Z * Z
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = Z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return centre - half, centre + half


def exact(successes: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of Clopper and Pearson; ``successes`` may be an expected number."""
    low = float(beta.ppf(0.025, successes, n - successes + 1)) if successes > 0 else 0.0
    high = float(beta.ppf(0.975, successes + 1, n - successes)) if successes < n else 1.0
    return low, high


def hanley_mcneil(area: float, positives: float, negatives: float) -> float:
    """Return the standard error of an area under the ROC curve."""
    first, second = area / (2 - area), 2 * area * area / (1 + area)
    square = (
        area * (1 - area)
        + (positives - 1) * (first - area * area)
        + (negatives - 1) * (second - area * area)
    ) / (positives * negatives)
    return math.sqrt(max(square, 0.0))


def width_of(aim: Aim, positives: float, negatives: float) -> float:
    """Return the expected width of the interval; the greater one where two figures count."""
    if min(positives, negatives) < 1:
        return 1.0
    if aim.measure == "auroc":
        return min(2 * Z * hanley_mcneil(aim.expected, positives, negatives), 1.0)
    interval = {"wilson": wilson, "exact": exact}[aim.interval]
    counts = {"sensitivity": [positives], "specificity": [negatives]}
    widths = []
    for n in counts.get(aim.measure, [positives, negatives]):
        low, high = interval(aim.expected * n, n)
        widths.append(high - low)
    return max(widths)


def reports_needed(aim: Aim) -> int:
    """Return how many reports of an endless frame a simple random sample needs, by expectation.

    Raises:
        ValueError: the aim makes no sense, or asks for more than ``LARGEST``.
    """
    _check(aim)

    def width(n: int) -> float:
        return width_of(aim, n * aim.prevalence, n * (1 - aim.prevalence))

    return least(lambda n: width(n) <= aim.width, LARGEST)


def finite(n: int, frame: int) -> int:
    """Return how many of a finite frame do for what ``n`` of an endless one do (Cochran)."""
    return min(math.ceil(n / (1 + (n - 1) / frame)), frame) if frame else 0


def least(enough: Callable[[int], bool], most: int) -> int:
    """Return the least number from 1 to ``most`` that is enough; enough is enough for all above.

    Raises:
        ValueError: none is.
    """
    if not enough(most):
        raise ValueError(f"not even {most} reports give an interval so narrow")
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


@dataclass(frozen=True)
class Stratum:
    """A stratum for planning: its size, and in how many of it the labeler says the finding."""

    size: int
    said: int


def stratified_width(aim: Aim, strata: Mapping[str, Stratum], drawn: Mapping[str, int]) -> float:
    """Return the expected width of the interval of a weighted figure, of a stratified sample.

    The labeler that makes the strata is taken to find ``aim.expected`` of the findings, so what it
    says holds a known part of them and what it does not say the rest. The variance of the weighted
    ratio is that of its linear form (Särndal et al. 1992, 5.5): z = (1 - s) hit - s miss. For AUROC
    it is Hanley and McNeil's with the effective numbers of positives and negatives (Kish, Survey
    Sampling, 1965, 11.7). A stratum of which nobody is drawn makes the interval as wide as can be.
    """
    findings = aim.prevalence * sum(each.size for each in strata.values())
    if any(each.size and not drawn.get(name) for name, each in strata.items()):
        return 1.0
    right, missed = _shares(aim, strata, findings)
    if aim.measure == "auroc":
        return width_of(aim, *_effective(strata, drawn, right, missed))
    widths = {
        "sensitivity": _linear_width(strata, drawn, right, missed),
        # What the labeler does not say and readers do not find is the hit of specificity.
        "specificity": _linear_width(
            {name: Stratum(each.size, each.size - each.said) for name, each in strata.items()},
            drawn,
            1 - missed,
            1 - right,
        ),
    }
    return widths.get(aim.measure, max(widths.values()))


def _shares(aim: Aim, strata: Mapping[str, Stratum], findings: float) -> tuple[float, float]:
    """Return which share of what is said is a finding, and which share of what is not."""
    total = sum(each.size for each in strata.values())
    said = sum(each.said for each in strata.values())
    right = min(aim.expected * findings / said, 1.0) if said else 0.0
    missed = min((1 - aim.expected) * findings / (total - said), 1.0) if total > said else 0.0
    return right, missed


def _linear_width(
    strata: Mapping[str, Stratum], drawn: Mapping[str, int], right: float, missed: float
) -> float:
    """Return the width for the share of hits among hits and misses.

    Args:
        strata: with the numbers of which a hit can be one; of the others, a miss can.
        drawn: of each stratum.
        right, missed: share of those that are a hit, and of the others that are a miss.
    """
    used = {name: each for name, each in strata.items() if each.size}
    hits = {name: each.said / each.size * right for name, each in used.items()}
    misses = {name: (1 - each.said / each.size) * missed for name, each in used.items()}
    base = sum(each.size * (hits[name] + misses[name]) for name, each in used.items())
    if not base:
        return 1.0
    value = sum(each.size * hits[name] for name, each in used.items()) / base
    variance = 0.0
    for name, each in used.items():
        hit, miss, n = hits[name], misses[name], drawn[name]
        mean = (1 - value) * hit - value * miss
        spread = (1 - value) ** 2 * hit + value**2 * miss - mean**2
        variance += each.size**2 * (1 - n / each.size) * max(spread, 0.0) / n
    return min(2 * Z * math.sqrt(variance) / base, 1.0)


def _effective(
    strata: Mapping[str, Stratum], drawn: Mapping[str, int], right: float, missed: float
) -> tuple[float, float]:
    """Return the effective numbers of positives and of negatives."""
    found = []
    for side in (True, False):
        weights, squares = 0.0, 0.0
        for name, each in strata.items():
            if not each.size:
                continue
            share = each.said / each.size
            positive = share * right + (1 - share) * missed
            expected = drawn[name] * (positive if side else 1 - positive)
            weight = each.size / drawn[name]
            weights, squares = weights + expected * weight, squares + expected * weight**2
        found.append(weights**2 / squares if squares else 0.0)
    return found[0], found[1]


def design_effect(weights: Sequence[float]) -> float:
    """Return by how much unequal weights lower what a sample is worth (Kish 1965, 11.7)."""
    total = sum(weights)
    return len(weights) * sum(each * each for each in weights) / (total * total) if total else 1.0


def _check(aim: Aim) -> None:
    inside = all(0 < each < 1 for each in (aim.expected, aim.width, aim.prevalence))
    if not inside or (aim.measure == "auroc" and aim.expected <= 0.5):
        raise ValueError("expected value, width and prevalence lie between 0 and 1, AUROC over 0.5")

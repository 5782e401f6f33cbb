"""Intervals of figures of which every bootstrap draw is the same, as where all cases are right.

A bootstrap cannot show what it never drew: five patients who are all found give a sensitivity of 1
in every draw. Wilson's interval (J Am Stat Assoc 1927;22:209) does not collapse there. It is taken
for as many cases as there are patients, since the cases of one are not independent, and for AUROC
for the patients of the smaller class: both are wide on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labeling.evaluation.sample_size import wilson

ALIKE = "every draw is the same: too few patients for an interval"
"""Why a figure has no interval that nothing but a bootstrap could give."""

_WIDTH = 1e-12
Span = tuple[float, float]


@dataclass(frozen=True)
class People:
    """How many patients have a case with the finding, without it, any, and one called present."""

    present: float
    absent: float
    all: float
    called: float = 0.0

    def shared(self, effect: float) -> People:
        """Return them as what they are worth under a design effect."""
        return People(
            *(each / effect for each in (self.present, self.absent, self.all, self.called))
        )


def collapsed(low: float, high: float) -> bool:
    """Tell whether an interval has no width."""
    return high - low <= _WIDTH


def widened(name: str, values: Mapping[str, float], found: Mapping[str, Span], of: People) -> Span:
    """Return the interval of a figure; where it has no width a conservative one.

    Balanced accuracy takes the mean of the bounds of sensitivity and specificity where one of them
    has no width. NaN where nothing conservative is known.

    Args:
        name: of the figure; see ``labeling.evaluation.resampling.decision``.
        values, found: of all figures, the values and the bootstrap intervals.
        of: the patients.
    """
    low, high = found[name]
    if name == "balanced_accuracy":
        sides = ("sensitivity", "specificity")
        if any(collapsed(*found[each]) for each in sides):
            spans = [widened(each, values, found, of) for each in sides]
            return sum(span[0] for span in spans) / 2, sum(span[1] for span in spans) / 2
        return low, high
    if not collapsed(low, high):
        return low, high
    return _conservative(name, values[name], of)


def _conservative(name: str, value: float, of: People) -> Span:
    people = {
        "sensitivity": of.present,
        "specificity": of.absent,
        "precision": of.called,
        "prevalence": of.all,
        "same": of.all,
        "auroc": min(of.present, of.absent),
        "f1": of.present,
    }.get(name, 0.0)
    if name == "macro_f1" and value >= 1:
        # All is right: F1 of present is then bounded as sensitivity is, of absent as specificity.
        spans = [_wilson(1.0, each) for each in (of.present, of.absent)]
        return sum(span[0] for span in spans) / 2, 1.0
    if name == "auroc" and 0 < value < 1:
        return value, value  # scores that are all alike: one half, whoever is drawn
    if name == "f1" and value < 1:
        return float("nan"), float("nan")
    return _wilson(value, people)


def _wilson(value: float, people: float) -> Span:
    if people <= 0:
        return float("nan"), float("nan")
    low, high = wilson(value * people, people)
    return max(low, 0.0), min(high, 1.0)

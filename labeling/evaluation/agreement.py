"""How well labels agree with a reference: never accuracy alone, always with an interval.

The headline is "present" against the rest; reference labels that are uncertain are left out of it
and counted apart. A failed label counts as not present, so a labeler gains nothing by failing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeling.vocabulary import State

BASELINE = "rules"
"""The labeler that wins a tie: it is cheaper and every one of its labels can be read off."""

_LEFT_OUT = frozenset({State.UNCERTAIN, State.FAILED, State.STABLE_UNKNOWN})
_Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Judgement:
    """One label beside its reference. ``patient`` groups reports that are not independent."""

    observation: str
    patient: str
    label: State
    reference: State
    score: float | None = None  # a margin or probability, where the labeler gives one


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval; all NaN where it cannot be computed."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """Agreement on one observation. ``confusion`` counts (reference, label) pairs of states."""

    observation: str
    n: int
    n_present: int
    n_uncertain_reference: int
    n_failed: int
    confusion: Mapping[tuple[State, State], int]
    sensitivity: float
    specificity: float
    balanced_accuracy: Estimate
    macro_f1: Estimate
    auroc: Estimate | None


@dataclass(frozen=True)
class Choice:
    """Which labeler was chosen, each one's mean balanced accuracy, and a sentence that says why."""

    labeler: str
    mean_balanced_accuracy: Mapping[str, float]
    sentence: str


def agreement(
    judgements: Sequence[Judgement], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Agreement]:
    """Return the agreement by observation; intervals by resampling patients, not reports.

    Args:
        judgements: labels beside references, of any number of observations.
        resamples: bootstrap samples; 0 for no intervals.
        seed: of the bootstrap.
    """
    by_observation: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        by_observation.setdefault(judgement.observation, []).append(judgement)
    return {
        name: _of_observation(name, own, resamples, seed) for name, own in by_observation.items()
    }


def choose_labeler(by_labeler: Mapping[str, Sequence[Judgement]]) -> Choice:
    """Choose the labeler with the highest mean balanced accuracy; ties go to the rules.

    Give judgements of training patients only: whoever chooses by the test set has used it up.
    Observations without both positives and negatives among the references do not count.

    Raises:
        ValueError: no labeler, or none that any observation can tell apart.
    """
    means: dict[str, float] = {}
    for labeler, judgements in by_labeler.items():
        values = [
            each.balanced_accuracy.value for each in agreement(judgements, resamples=0).values()
        ]
        known = [value for value in values if not np.isnan(value)]
        if known:
            means[labeler] = float(np.mean(known))
    if not means:
        raise ValueError("no observation has both positives and negatives among the references")
    best = max(means.values())
    tied = sorted(name for name, mean in means.items() if mean >= best - 1e-9)
    chosen = BASELINE if BASELINE in tied else tied[0]
    figures = ", ".join(f"{name} {mean:.3f}" for name, mean in sorted(means.items()))
    sentence = (
        f"{chosen} is used: highest mean balanced accuracy on the reference labels of training "
        f"patients, ties to {BASELINE} ({figures})."
    )
    return Choice(chosen, means, sentence)


def _of_observation(
    name: str, judgements: Sequence[Judgement], resamples: int, seed: int
) -> Agreement:
    used = [each for each in judgements if each.reference not in _LEFT_OUT]
    reference = np.array([each.reference is State.PRESENT for each in used], dtype=bool)
    label = np.array([each.label is State.PRESENT for each in used], dtype=bool)
    given = [each.score for each in used if each.score is not None]
    scores = np.array(given) if len(given) == len(used) else None
    draws = _draws([each.patient for each in used], resamples, seed)
    sensitivity, specificity = _rates(reference, label)
    return Agreement(
        observation=name,
        n=len(used),
        n_present=int(reference.sum()),
        n_uncertain_reference=sum(each.reference in _LEFT_OUT for each in judgements),
        n_failed=sum(each.label is State.FAILED for each in judgements),
        confusion=Counter((each.reference, each.label) for each in judgements),
        sensitivity=sensitivity,
        specificity=specificity,
        balanced_accuracy=_estimate(
            balanced_accuracy(reference, label),
            [balanced_accuracy(reference[draw], label[draw]) for draw in draws],
        ),
        macro_f1=_estimate(
            macro_f1(reference, label), [macro_f1(reference[d], label[d]) for d in draws]
        ),
        auroc=None
        if scores is None
        else _estimate(auroc(reference, scores), [auroc(reference[d], scores[d]) for d in draws]),
    )


def _draws(patients: Sequence[str], resamples: int, seed: int) -> list[NDArray[np.intp]]:
    """Return for each bootstrap sample the indices of its reports; whole patients are drawn."""
    members: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        members.setdefault(patient, []).append(index)
    groups = [np.array(indices, dtype=np.intp) for indices in members.values()]
    if not groups:
        return []
    rng = np.random.default_rng(seed)
    return [
        np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])
        for _ in range(resamples)
    ]


def _estimate(value: float, resampled: Sequence[float]) -> Estimate:
    known = [each for each in resampled if not np.isnan(each)]
    if not known or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def _rates(reference: _Bools, label: _Bools) -> tuple[float, float]:
    if reference.all() or not reference.any():
        return float("nan"), float("nan")
    return float(label[reference].mean()), float((~label[~reference]).mean())


def balanced_accuracy(reference: _Bools, label: _Bools) -> float:
    """Return the mean of sensitivity and specificity; NaN where a class is empty."""
    return sum(_rates(reference, label)) / 2


def macro_f1(reference: _Bools, label: _Bools) -> float:
    """Return the mean F1 of the positive and the negative class; NaN where a class is empty."""
    if reference.all() or not reference.any():
        return float("nan")
    scores = []
    for truth, said in ((reference, label), (~reference, ~label)):
        hits = float((truth & said).sum())
        scores.append(2 * hits / float(truth.sum() + said.sum()))
    return sum(scores) / 2


def auroc(reference: _Bools, scores: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve (Mann-Whitney, ties half); NaN where a class is empty."""
    positives, negatives = scores[reference], np.sort(scores[~reference])
    if not len(positives) or not len(negatives):
        return float("nan")
    below = np.searchsorted(negatives, positives, side="left")
    tied = np.searchsorted(negatives, positives, side="right") - below
    return float((below + tied / 2).sum() / (len(positives) * len(negatives)))

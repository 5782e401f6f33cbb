"""Two labelers on the same reports: paired differences, with intervals by patient.

The interval is that of a paired bootstrap: both are judged on the same drawn patients. For AUROC
the p value is DeLong's (Biometrics 1988;44:837), which takes reports for independent: it is given
only where each report has its own patient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from labeling.evaluation.agreement import NOT_JUDGED, Judgement, scores_of
from labeling.evaluation.metrics import Estimate, estimates
from labeling.evaluation.resampling import Bootstrap, Floats, Integers, auroc, decision
from labeling.evaluation.weights import Design
from labeling.vocabulary import State

FEW_PATIENTS = 20
"""Below so many DeLong's p value is too small too often."""

_NOTHING = 1e-10
"""Areas differ by no less: what is smaller comes from rounding."""

_COMPARED = ("balanced_accuracy", "f1", "sensitivity", "specificity")


@dataclass(frozen=True)
class Comparison:
    """What the first labeler has ahead of the second on one observation.

    Args:
        n, n_present: reports judged by both with a reference that says present or not.
        differences: by figure; above 0 where the first is better. An interval that holds 0 shows
            no difference.
        p_auroc: two-sided, of DeLong's test; None without margins of both or where patients have
            several reports, or where cases were drawn with unequal probabilities.
        same: share of these reports about which both say the same state.
    """

    observation: str
    n: int
    n_present: int
    differences: Mapping[str, Estimate]
    p_auroc: float | None
    same: float


def compare(
    first: Sequence[Judgement],
    second: Sequence[Judgement],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Return the paired comparison by observation, over the labels that both have."""
    others = {_key(each): each for each in second}
    pairs: dict[str, list[tuple[Judgement, Judgement]]] = {}
    for ours in first:
        theirs = others.get(_key(ours))
        if theirs is not None and ours.reference not in NOT_JUDGED:
            pairs.setdefault(ours.observation, []).append((ours, theirs))
    bootstrap = Bootstrap(resamples, seed)
    return {name: _compared(name, own, bootstrap) for name, own in pairs.items()}


def delong(
    target: NDArray[np.bool_],
    first: Floats,
    second: Floats,
    patients: Integers | None = None,
) -> float:
    """Return the two-sided p value of equal areas under two correlated ROC curves.

    NaN where a class has fewer than two cases or patients, and where the curves differ by the same
    for every patient, so that nothing tells how sure that is; 1 where they do not differ at all.
    With fewer than ``FEW_PATIENTS`` patients of several cases each it is below .05 too often: .10
    of simulated draws without a difference, at six patients of five cases.

    Args:
        target: where the finding is present; shape (n,).
        first, second: scores of the same cases; shape (n,).
        patients: the number of the patient of each case, 0 to P-1. Cases of one patient are not
            taken for independent then (Obuchowski, Biometrics 1997;53:567); with one case for each
            patient that is DeLong's test. None: one case for each patient.
    """
    owners = np.arange(target.size) if patients is None else patients
    with_finding, without = np.unique(owners[target]).size, np.unique(owners[~target]).size
    if min(with_finding, without) < 2:
        return float("nan")
    (rises, falls), (rises_2, falls_2) = _placements(target, first), _placements(target, second)
    gain = float(rises.mean() - rises_2.mean())
    count, everybody = int(owners.max()) + 1, np.unique(owners).size
    positive = np.bincount(owners[target], rises - rises_2 - gain, count) / rises.size
    negative = np.bincount(owners[~target], falls - falls_2 - gain, count) / falls.size
    variance = float(
        positive @ positive * with_finding / (with_finding - 1)
        + negative @ negative * without / (without - 1)
        + 2 * (positive @ negative) * everybody / (everybody - 1)
    )
    if variance <= _NOTHING**2:
        return 1.0 if abs(gain) <= _NOTHING else float("nan")
    return float(2 * norm.sf(abs(gain) / math.sqrt(variance)))


def _placements(target: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """Return of each present case the share of absent ones below it, and the other way round."""
    positives, negatives = int(target.sum()), int((~target).sum())
    ranks = rankdata(score)
    inside, outside = rankdata(score[target]), rankdata(score[~target])
    return (ranks[target] - inside) / negatives, 1 - (ranks[~target] - outside) / positives


def _compared(
    name: str, pairs: Sequence[tuple[Judgement, Judgement]], bootstrap: Bootstrap
) -> Comparison:
    target = np.array([ours.reference is State.PRESENT for ours, _ in pairs], dtype=bool)
    goal = target.astype(np.float64)
    said = [np.array([pair[i].label is State.PRESENT for pair in pairs]) for i in (0, 1)]
    scores = [scores_of([pair[i] for pair in pairs]) for i in (0, 1)]
    first, second = scores
    patients = [ours.patient for ours, _ in pairs]

    def ahead(weights: Floats) -> dict[str, Floats]:
        ours, theirs = (decision(goal, each, weights) for each in said)
        found = {figure: ours[figure] - theirs[figure] for figure in _COMPARED}
        if first is not None and second is not None:
            found["auroc"] = auroc(goal, first, weights) - auroc(goal, second, weights)
        return found

    ours = [each for each, _ in pairs]
    design = Design.of([each.weight for each in ours], [each.stratum for each in ours])
    p_auroc = None
    if (
        design is None
        and len(set(patients)) == len(patients)
        and first is not None
        and second is not None
    ):
        p_auroc = delong(target, first, second)
    return Comparison(
        observation=name,
        n=len(pairs),
        n_present=int(target.sum()),
        differences=estimates(ahead, patients, bootstrap, design),
        p_auroc=p_auroc,
        same=sum(ours.label is theirs.label for ours, theirs in pairs) / len(pairs),
    )


def _key(judgement: Judgement) -> tuple[str, str, str]:
    return judgement.report, judgement.observation, judgement.site

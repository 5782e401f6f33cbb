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
from labeling.evaluation.resampling import Bootstrap, Floats, auroc, decision
from labeling.evaluation.weights import Design
from labeling.vocabulary import State

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


def delong(target: NDArray[np.bool_], first: Floats, second: Floats) -> float:
    """Return the two-sided p value of equal areas under two correlated ROC curves.

    NaN where a class has fewer than two reports; 1 where the curves do not differ at all.
    """
    positives, negatives = int(target.sum()), int((~target).sum())
    if min(positives, negatives) < 2:
        return float("nan")
    areas, of_positives, of_negatives = [], [], []
    for scores in (first, second):
        ranks = rankdata(scores)
        inside, outside = rankdata(scores[target]), rankdata(scores[~target])
        of_positives.append((ranks[target] - inside) / negatives)
        of_negatives.append(1 - (ranks[~target] - outside) / positives)
        areas.append(float(of_positives[-1].mean()))
    contrast = np.array([1.0, -1.0])
    spread = np.cov(np.array(of_positives)) / positives + np.cov(np.array(of_negatives)) / negatives
    variance = float(contrast @ spread @ contrast)
    if variance <= 0:
        return 1.0 if areas[0] == areas[1] else 0.0
    return float(2 * norm.sf(abs(areas[0] - areas[1]) / math.sqrt(variance)))


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

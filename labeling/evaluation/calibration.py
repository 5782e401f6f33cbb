"""Fits thresholds on the labels of human readers: per condition, for one labeler and its questions.

Margins of two models, prompts or conditions share no zero, so nothing fitted on one holds for
another. The probability is Platt's (Advances in Large Margin Classifiers, 1999, with his smoothed
targets); the cut is found by balanced accuracy, by F1 where a condition is rare and a false
finding costs as much as a missed one, or by the equal error rate as in Park et al. (MICCAI 2024).
Labels of a sample with unequal probabilities count by their weights (``evaluation.weights``), but
for the uncertain band. Fit on training patients only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from labeling.evaluation.cases import Case, decided, folds_by_patient
from labeling.evaluation.metrics import numbered
from labeling.evaluation.resampling import Bootstrap, Floats
from labeling.evaluation.weights import Design
from labeling.thresholds import Threshold, Thresholds
from labeling.vocabulary import WHOLE, LabelSchema, State

_NOT_JUDGED = frozenset({State.UNCERTAIN, State.FAILED, State.STABLE_UNKNOWN})
_MENTIONED_BUT_NOT_PRESENT = frozenset({State.ABSENT, State.STABLE_UNKNOWN})
_FEW_VALUES = 8
_MOST_SAID = 2.0  # times the present ones that a cut by F1 may say
_MOST_EDGES = 64


CutRule = Literal["balanced_accuracy", "f1", "equal_error_rate"]


@dataclass(frozen=True)
class FitRule:
    """How thresholds are fitted.

    Args:
        cut: what the cut makes best; "equal_error_rate" makes both kinds of error equally likely.
        site_cut: the same for single sites, of which few have what is looked for: by balanced
            accuracy a site would be called present at the price of many that are not.
        band: "references" fits the uncertain band to the readers' uncertain labels where there are
            ``minimum_uncertain`` of them (the mean recall of present, uncertain and the rest), and
            goes by "share" where there are fewer. "share" lets the ``share`` of reports nearest to
            the cut be uncertain, never beyond the margins at which readers say both. "none": the
            band is empty.
        given_up: share of the findings above the cut, of those that readers call present, that
            either band may take: doubt is not to swallow a rare condition.
        minimum: positives, and negatives, below which a condition keeps the default.
        resamples: bootstrap samples for the interval of the cut, by patient.
    """

    cut: CutRule = "balanced_accuracy"
    site_cut: CutRule = "f1"
    band: Literal["references", "share", "none"] = "references"
    share: float = 0.05
    given_up: float = 0.05
    minimum: int = 3
    minimum_uncertain: int = 5
    resamples: int = 200
    seed: int = 0


class Measured(NamedTuple):
    """One margin beside what readers say."""

    patient: str
    margin: float
    mention_margin: float | None
    reference: State
    weight: float | None = None
    stratum: str = ""


def fit_thresholds(cases: Sequence[Case], rule: FitRule | None = None) -> Thresholds:
    """Fit the thresholds of whole reports, and of sites: those of an observation share one.

    A condition with too few labels, or a labeler without margins, gets none and stays uncalibrated.
    """
    groups: dict[tuple[str, bool], list[Measured]] = {}
    for case in cases:
        for result, reference in case.pairs():
            if result.margin is None or result.state is State.FAILED:
                continue
            measured = Measured(
                case.patient,
                result.margin,
                result.mention_margin,
                reference.state,
                reference.weight,
                reference.stratum,
            )
            groups.setdefault((result.observation, result.site == WHOLE), []).append(measured)
    whole = rule or FitRule()
    site = replace(whole, cut=whole.site_cut)
    fitted = {
        key: fit_threshold(found, whole if key[1] else site)
        for key, found in sorted(groups.items())
    }
    return Thresholds(
        {name: each for (name, is_whole), each in fitted.items() if is_whole and each},
        {name: each for (name, is_whole), each in fitted.items() if not is_whole and each},
    )


def fit_threshold(measured: Sequence[Measured], rule: FitRule | None = None) -> Threshold | None:
    """Fit cut, band, probability and mention cut of one condition; None where labels are too few.

    Margins that take only a few values are an order of states (those of rules): there is no place
    between them to fit, so the band stays the default and only the probability is fitted.
    """
    rule = rule or FitRule()
    judged = [each for each in measured if each.reference not in _NOT_JUDGED]
    present = np.array([each.reference is State.PRESENT for each in judged], dtype=bool)
    positives = int(present.sum())
    if min(positives, len(present) - positives) < rule.minimum:
        return None
    margins = np.array([each.margin for each in judged], dtype=np.float64)
    design = Design.of([each.weight for each in judged], [each.stratum for each in judged])
    # Their mean is 1, so that Platt's smoothed targets keep their meaning.
    weights = np.ones(len(judged)) if design is None else design.weights / design.weights.mean()
    slope, intercept = fit_probability(margins, present, weights)
    fitted = Threshold(
        slope=slope,
        intercept=intercept,
        mention_cut=_mention_cut(measured, rule),
        fitted_on=len(judged),
        positives=positives,
    )
    if _is_an_order(margins):
        return fitted
    [cut] = best_cuts(margins, present, weights[None, :], rule.cut)
    doubted = [each.margin for each in measured if each.reference is State.UNCERTAIN]
    low, high = _band(float(cut), margins, present, np.array(doubted), rule)
    patients = numbered([each.patient for each in judged])
    bootstrap = Bootstrap(rule.resamples, rule.seed)
    rows = bootstrap.weights(patients) if design is None else design.resampled(bootstrap, patients)
    drawn = [best_cuts(margins, present, each, rule.cut) for each in rows]
    interval = _interval(np.concatenate(drawn)) if drawn else None
    return replace(fitted, low=low, high=high, cut_interval=interval)


def _interval(cuts: Floats) -> tuple[float, float] | None:
    known = cuts[~np.isnan(cuts)]
    if not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def cross_fitted(
    cases: Sequence[Case],
    schema: LabelSchema,
    *,
    folds: int = 5,
    rule: FitRule | None = None,
    seed: int = 0,
    sought: Thresholds | None = None,
) -> list[Case]:
    """Return the cases, in order, each decided by thresholds fitted on the other folds' patients.

    So every label can be judged although the thresholds come from the same readers' labels.
    ``sought`` is explained at ``cases.decided``.
    """
    rule = rule or FitRule()
    found: dict[int, Case] = {}
    for held_out in folds_by_patient(cases, folds, seed):
        apart = set(held_out)
        thresholds = fit_thresholds(
            [case for index, case in enumerate(cases) if index not in apart], rule
        )
        own = [cases[index] for index in held_out]
        judged = decided(own, schema, thresholds, sought=sought)
        found |= dict(zip(held_out, judged, strict=True))
    return [found[index] for index in range(len(cases))]


def fit_probability(
    margins: Floats, present: NDArray[np.bool_], weights: Floats | None = None
) -> tuple[float, float]:
    """Return slope and intercept of Platt's sigmoid; weights have the mean 1, None: all alike.

    The slope is 0 (no probability) where greater margins do not go with present: such margins say
    nothing that a probability could express.
    """
    centre, width = float(margins.mean()), float(margins.std()) or 1.0
    scaled = (margins - centre) / width
    counts = np.ones(len(margins)) if weights is None else weights
    positives, negatives = float(counts[present].sum()), float(counts[~present].sum())
    target = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        score = parameters[0] * scaled + parameters[1]
        error = 1 / (1 + np.exp(-np.clip(score, -500, 500))) - target
        value = float((counts * (np.logaddexp(0, score) - target * score)).sum())
        error = counts * error
        return value, np.array([float((error * scaled).sum()), float(error.sum())])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    slope = float(found[0]) / width
    return (slope, float(found[1]) - slope * centre) if slope > 0 else (0.0, 0.0)


def best_cuts(
    margins: Floats,
    present: NDArray[np.bool_],
    weights: Floats,
    by: CutRule = "balanced_accuracy",
) -> Floats:
    """Return the best cut for each weighting; NaN where a weighting lacks a class.

    Args:
        margins, present: of the labels, [labels].
        weights: of the labels, [weightings, labels].
        by: what is to be best, as ``FitRule.cut``.

    Among equally good cuts the middle of the widest gap between margins is taken: it is the one
    that a small change of the margins upsets least.
    """
    order = np.argsort(margins, kind="stable")
    values, starts = np.unique(margins[order], return_index=True)
    cuts = np.concatenate([[values[0] - 1.0], (values[:-1] + values[1:]) / 2, [values[-1] + 1.0]])
    gaps = np.concatenate([[0.0], np.diff(values), [0.0]])
    below = [
        np.cumsum(np.add.reduceat((weights * side)[:, order], starts, axis=1), axis=1)
        for side in (present, ~present)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        missed, right = (
            np.hstack([np.zeros((len(weights), 1)), each / each[:, -1:]]) for each in below
        )
    good = _goodness(missed, right, [weights @ side for side in (present, ~present)], by)
    best = np.isclose(good, good.max(axis=1, keepdims=True))
    chosen = cuts[np.argmax(np.where(best, gaps, -1.0), axis=1)]
    return np.where(np.isnan(good).any(axis=1), np.nan, chosen)


def _goodness(missed: Floats, right: Floats, totals: Sequence[Floats], by: CutRule) -> Floats:
    """Return how good each cut is for each weighting.

    Args:
        missed: share of the present below a cut; [weightings, cuts], as ``right``.
        right: share of the absent below it.
        totals: weight of the present and of the absent, each [weightings].
        by: what is to be best.
    """
    if by == "balanced_accuracy":
        return right - missed
    if by == "equal_error_rate":
        return -np.abs(missed - (1 - right))
    present, absent = (each[:, None] for each in totals)
    found = (1 - missed) * present
    said = found + (1 - right) * absent
    f1 = 2 * found / (said + present)
    # Margins that say little have their best F1 where nearly all is called present: no such cut.
    return np.where(said > _MOST_SAID * present, -1.0, f1)


def _band(
    cut: float, margins: Floats, present: NDArray[np.bool_], doubted: Floats, rule: FitRule
) -> tuple[float, float]:
    if rule.band == "none":
        return cut, cut
    if rule.band == "references" and len(doubted) >= rule.minimum_uncertain:
        return _band_of_doubt(cut, margins, present, doubted, rule)
    distances = np.sort(np.abs(margins - cut))
    among = int(rule.share * len(margins))
    if not 0 < among < len(distances):
        return cut, cut
    width = float(distances[among - 1] + distances[among]) / 2
    lowest, highest = float(margins[present].min()), float(margins[~present].max())
    if lowest > highest:
        return cut, cut
    high = min(cut + width, max(highest, cut), _highest(cut, margins[present], margins, rule))
    return max(cut - width, min(lowest, cut)), high


def _highest(cut: float, found: Floats, given: Floats, rule: FitRule) -> float:
    """Return how far up a band may reach: between the first finding spared and what lies below."""
    above = np.sort(found[found > cut])
    taken = int(rule.given_up * len(above) + 1e-9)
    if taken == len(above):
        return float("inf")
    spared = above[taken]
    return float(given[given < spared].max(initial=cut) + spared) / 2


def _band_of_doubt(
    cut: float, margins: Floats, present: NDArray[np.bool_], doubted: Floats, rule: FitRule
) -> tuple[float, float]:
    """Return the band around the cut with the best mean recall of present, uncertain, the rest."""
    edges = np.unique(np.concatenate([margins, doubted]))
    between = np.concatenate([[edges[0] - 1.0], (edges[:-1] + edges[1:]) / 2, [edges[-1] + 1.0]])
    if len(between) > _MOST_EDGES:
        between = np.quantile(between, np.linspace(0, 1, _MOST_EDGES))
    lows = np.concatenate([between[between < cut], [cut]])
    reach = _highest(cut, margins[present], edges, rule)
    highs = np.concatenate([[cut], between[(between > cut) & (between <= reach)]])
    rest = (margins[~present] < lows[:, None]).mean(axis=1)  # [lows]
    sure = (margins[present] > highs[:, None]).mean(axis=1)  # [highs]
    inside = (doubted >= lows[:, None, None]) & (doubted <= highs[None, :, None])
    recall = rest[:, None] + sure[None, :] + inside.mean(axis=2)
    # The narrowest of the best: doubt is said only where it pays.
    width = highs[None, :] - lows[:, None]
    narrow = np.where(np.isclose(recall, recall.max()), width, np.inf)
    low, high = np.unravel_index(int(np.argmin(narrow)), narrow.shape)
    return float(lows[low]), float(highs[high])


def _mention_cut(measured: Iterable[Measured], rule: FitRule) -> float:
    """Return the cut between labels that readers call absent and those that nobody mentions."""
    judged = [
        (each.mention_margin, each.reference in _MENTIONED_BUT_NOT_PRESENT)
        for each in measured
        if each.mention_margin is not None
        and each.reference in _MENTIONED_BUT_NOT_PRESENT | {State.NOT_MENTIONED}
    ]
    mentioned = np.array([said for _, said in judged], dtype=bool)
    if min(int(mentioned.sum()), int((~mentioned).sum())) < rule.minimum:
        return 0.0
    margins = np.array([margin for margin, _ in judged], dtype=np.float64)
    return float(best_cuts(margins, mentioned, np.ones((1, len(margins))))[0])


def _is_an_order(margins: Floats) -> bool:
    values = len(np.unique(margins))
    return values <= _FEW_VALUES and len(margins) > 3 * values

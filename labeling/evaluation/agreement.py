"""How well labels agree with a reference: never accuracy alone, always with an interval.

The headline is "present" against the rest; reference labels that are uncertain are left out of it
and counted apart. A failed label counts as not present, and below every margin, so a labeler gains
nothing by failing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labeling.evaluation.cases import Case
from labeling.evaluation.edges import People
from labeling.evaluation.metrics import (
    Bin,
    Estimate,
    bounded,
    brier,
    calibration_error,
    estimates,
    reliability,
)
from labeling.evaluation.resampling import Bootstrap, Floats, auroc, decision, ratio
from labeling.evaluation.weights import Design
from labeling.labeler import is_unasked
from labeling.vocabulary import WHOLE, State

BASELINE = "rules"
"""The labeler that wins a tie: it is cheaper and every one of its labels can be read off."""

NOT_JUDGED = frozenset({State.UNCERTAIN, State.FAILED, State.STABLE_UNKNOWN})
"""Reference states that no headline counts: nobody knows what is right."""


@dataclass(frozen=True)
class Judgement:
    """One label beside its reference. ``patient`` groups reports that are not independent."""

    observation: str
    patient: str
    label: State
    reference: State
    score: float | None = None  # a margin or probability, where the labeler gives one
    probability: float | None = None
    report: str = ""
    site: str = WHOLE
    asked: bool = True  # False: the report names no such site
    weight: float | None = None  # one over the probability of being drawn; None: was not drawn
    stratum: str = ""


@dataclass(frozen=True)
class Agreement:
    """Agreement on one observation.

    Args:
        n, n_present: judged reference labels; those that say present.
        n_uncertain_reference: reference labels that are left out, as nobody knows what is right.
        n_uncertain, n_failed: labels of the labeler among all.
        confusion: counts of (reference, label), of all.
        auroc, auroc_possible: by margin; None where the labeler gives none. "Possible" counts the
            readers' uncertain labels as positive: it tells suspicion from silence.
        n_not_asked: judged labels of sites that a report does not name; they have no probability.
        brier, calibration_error, curve: of the probabilities; None and empty where there are none.
        prevalence: of present among the judged.
        design_effect: 1 where all count alike; else figures are weighted by one over the
            probability of being drawn, and the labels are worth n over this.
    """

    observation: str
    n: int
    n_present: int
    n_uncertain_reference: int
    n_uncertain: int
    n_failed: int
    n_not_asked: int
    confusion: Mapping[tuple[State, State], int]
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    balanced_accuracy: Estimate
    f1: Estimate
    macro_f1: Estimate
    auroc: Estimate | None
    auroc_possible: Estimate | None
    brier: Estimate | None
    calibration_error: float | None
    curve: tuple[Bin, ...]
    prevalence: Estimate
    design_effect: float = 1.0


@dataclass(frozen=True)
class Choice:
    """Which labeler was chosen, each one's mean balanced accuracy, and a sentence that says why."""

    labeler: str
    mean_balanced_accuracy: Mapping[str, float]
    sentence: str


def judgements(cases: Iterable[Case], *, at_sites: bool = False) -> Iterator[Judgement]:
    """Yield each decided label that has a reference, of whole reports or of their sites."""
    for case in cases:
        for result, reference in case.pairs():
            if (result.site != WHOLE) is at_sites:
                yield Judgement(
                    observation=result.observation,
                    patient=case.patient,
                    label=result.state,
                    reference=reference.state,
                    score=result.margin,
                    probability=result.probability,
                    report=case.report,
                    site=result.site,
                    asked=not is_unasked(result),
                    weight=reference.weight,
                    stratum=reference.stratum,
                )


def unweighted(judgements: Iterable[Judgement]) -> Iterator[Judgement]:
    """Yield the judgements as if all had been drawn alike: the figures of the mixture itself."""
    for each in judgements:
        yield replace(each, weight=None, stratum="")


def agreement(
    judgements: Iterable[Judgement], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Agreement]:
    """Return the agreement by observation; intervals by resampling patients, not reports.

    Where every judged label of an observation was drawn with a known probability, and these differ,
    figures are weighted (``evaluation.weights``); counts never are.

    Args:
        judgements: labels beside references, of any number of observations.
        resamples: bootstrap samples; 0 for no intervals.
        seed: of the bootstrap.
    """
    by_observation: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        by_observation.setdefault(judgement.observation, []).append(judgement)
    bootstrap = Bootstrap(resamples, seed)
    return {name: _of_observation(name, own, bootstrap) for name, own in by_observation.items()}


def choose_labeler(
    by_labeler: Mapping[str, Sequence[Judgement]],
    labels: str = "the reference labels of training patients",
) -> Choice:
    """Choose the labeler with the highest mean balanced accuracy; ties go to the rules.

    Give judgements of training patients only: whoever chooses by the test set has used it up.
    Observations without both positives and negatives among the references do not count.

    Args:
        by_labeler: judgements of each.
        labels: what the reference labels are called, for the sentence.

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
        f"{chosen} is used: highest mean balanced accuracy on {labels}, ties to {BASELINE} "
        f"({figures})."
    )
    return Choice(chosen, means, sentence)


def _of_observation(name: str, given: Sequence[Judgement], bootstrap: Bootstrap) -> Agreement:
    used = [each for each in given if each.reference not in NOT_JUDGED]
    target = _present(each.reference for each in used)
    said = _present(each.label for each in used) > 0
    patients = [each.patient for each in used]
    design = _design(used)

    def figures(weights: Floats) -> dict[str, Floats]:
        prevalence = ratio(weights @ target, weights.sum(axis=1))
        return {**decision(target, said, weights), "prevalence": prevalence}

    people = _people(used, target > 0, said, design)
    decided = bounded(estimates(figures, patients, bootstrap, design), people)
    asked = [each for each in used if each.asked]
    probabilities = _numbers(asked, lambda each: each.probability, missing=0.0)
    asked_target = _present(each.reference for each in asked)
    drawn = _design(asked)
    counts = None if drawn is None else drawn.weights
    curve = (
        ()
        if probabilities is None
        else tuple(reliability(asked_target, probabilities, weights=counts))
    )
    return Agreement(
        observation=name,
        n=len(used),
        n_present=int(target.sum()),
        n_uncertain_reference=sum(each.reference in NOT_JUDGED for each in given),
        n_uncertain=sum(each.label is State.UNCERTAIN for each in given),
        n_failed=sum(each.label is State.FAILED for each in given),
        n_not_asked=len(used) - len(asked),
        confusion=Counter((each.reference, each.label) for each in given),
        **decided,
        auroc=_area(used, {State.PRESENT}, bootstrap),
        auroc_possible=_area(given, {State.PRESENT, State.UNCERTAIN}, bootstrap),
        brier=_brier(asked_target, probabilities, asked, bootstrap),
        calibration_error=calibration_error(curve) if curve else None,
        curve=curve,
        design_effect=1.0 if design is None else design.effect,
    )


def scores_of(given: Sequence[Judgement]) -> Floats | None:
    """Return a score for each; those of failed labels and of what was not asked lie below all.

    None where no label has one, or where one lacks it that was asked and did not fail.
    """
    known = [each.score for each in given if each.score is not None]
    if not known:
        return None
    lowest = min(known) - 1.0
    return _numbers(given, lambda each: each.score, missing=lowest)


def _area(
    given: Sequence[Judgement], positive: set[State], bootstrap: Bootstrap
) -> Estimate | None:
    scores = scores_of(given)
    if scores is None:
        return None
    target = np.array([each.reference in positive for each in given], dtype=np.float64)
    patients = [each.patient for each in given]
    design = _design(given)
    found = estimates(lambda w: {"auroc": auroc(target, scores, w)}, patients, bootstrap, design)
    return bounded(found, _people(given, target > 0, target > 0, design))["auroc"]


def _people(
    given: Sequence[Judgement],
    present: NDArray[np.bool_],
    called: NDArray[np.bool_],
    design: Design | None,
) -> People:
    """Return how many patients there are, divided by what unequal weights cost."""
    everybody = np.array([each.patient for each in given], dtype=object)
    counts = (len(set(everybody[chosen])) for chosen in (present, ~present, present | True, called))
    return People(*counts).shared(1.0 if design is None else design.effect)


def _brier(
    target: Floats,
    probabilities: Floats | None,
    given: Sequence[Judgement],
    bootstrap: Bootstrap,
) -> Estimate | None:
    if probabilities is None:
        return None
    said, patients = probabilities, [each.patient for each in given]
    found = estimates(
        lambda w: {"brier": brier(target, said, w)}, patients, bootstrap, _design(given)
    )
    return found["brier"]


def _design(given: Sequence[Judgement]) -> Design | None:
    return Design.of([each.weight for each in given], [each.stratum for each in given])


def _present(states: Iterable[State]) -> Floats:
    return np.array([state is State.PRESENT for state in states], dtype=np.float64)


def _numbers(
    given: Sequence[Judgement], of: Callable[[Judgement], float | None], missing: float
) -> Floats | None:
    """Return a number for each judgement; None where no label has one, or one lacks it.

    ``missing`` stands for that of a failed label, and of one that nobody asked for.
    """
    found = [None if each.label is State.FAILED else of(each) for each in given]
    needed = (each.asked and each.label is not State.FAILED for each in given)
    if not any(each is not None for each in found) or any(
        number is None and needs for number, needs in zip(found, needed, strict=True)
    ):
        return None
    return np.array([missing if each is None else each for each in found], dtype=np.float64)

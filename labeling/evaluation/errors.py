"""The errors from which one learns most: those that the labeler is surest of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labeling.evaluation.agreement import NOT_JUDGED
from labeling.evaluation.cases import Case
from labeling.labeler import LabelResult, Span, is_unasked
from labeling.thresholds import Thresholds
from labeling.vocabulary import State


@dataclass(frozen=True)
class LabelError:
    """One label that readers contradict. ``distance`` is in logits from the cut; None: no margin.

    ``evidence`` and ``quotes`` are ranges of the report's text: the words are looked up only where
    a person reads them.
    """

    report: str
    observation: str
    site: str
    reference: State
    label: State
    margin: float | None
    probability: float | None
    distance: float | None
    evidence: tuple[Span, ...]
    quotes: tuple[Span, ...]
    detail: str


def worst_errors(
    cases: Iterable[Case], thresholds: Thresholds, count: int = 10
) -> list[LabelError]:
    """Return the errors about "present", the farthest from the cut first.

    Before them come failures, and findings at sites that nobody asked about: no threshold mends
    those.
    """
    found = [
        (_is_beyond_thresholds(result), _error(case.report, result, case, thresholds))
        for case in cases
        for result, reference in case.pairs()
        if reference.state not in NOT_JUDGED
        and (reference.state is State.PRESENT) is not (result.state is State.PRESENT)
        and not (reference.state is not State.PRESENT and result.state is State.FAILED)
    ]
    return [error for _, error in sorted(found, key=_rank)[:count]]


def excerpts(error: LabelError, text: str) -> dict[str, str]:
    """Return the words of an error's spans; for a screen or a file of the user, never for a log."""
    return {
        "evidence": " ... ".join(text[start:end] for start, end in error.evidence),
        "quote": " ... ".join(text[start:end] for start, end in error.quotes),
    }


def _error(report: str, result: LabelResult, case: Case, thresholds: Thresholds) -> LabelError:
    reference = case.references[result.observation, result.site]
    threshold = thresholds.of(result.observation, result.site)
    middle = (threshold.low + threshold.high) / 2
    return LabelError(
        report=report,
        observation=result.observation,
        site=result.site,
        reference=reference.state,
        label=result.state,
        margin=result.margin,
        probability=result.probability,
        distance=None if result.margin is None else abs(result.margin - middle),
        evidence=result.evidence,
        quotes=reference.quotes,
        detail=result.detail,
    )


def _is_beyond_thresholds(result: LabelResult) -> bool:
    return result.state is State.FAILED or is_unasked(result)


def _rank(found: tuple[bool, LabelError]) -> tuple[bool, float, str, str, str]:
    is_beyond, error = found
    distance = -1.0 if error.distance is None else error.distance
    return not is_beyond, -distance, error.report, error.observation, error.site

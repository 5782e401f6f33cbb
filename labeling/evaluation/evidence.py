"""How far a labeler points at the words on which readers rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labeling.evaluation.cases import Case
from labeling.labeler import Span
from labeling.vocabulary import WHOLE, State

_CARRIED = frozenset({State.PRESENT, State.UNCERTAIN})


@dataclass(frozen=True)
class EvidenceOverlap:
    """Evidence beside readers' quotes, over labels that both give as present or uncertain.

    Args:
        n: labels compared: those whose reader left a quote that stands in the report.
        pointed: of them, labels with evidence.
        touched: share of ``n`` whose evidence shares a character with the quote.
        first_touched: the same of the strongest span alone.
        overlap: mean share of characters of both together that both hold (IoU), 0 where none.
        covered: mean share of the quote that the evidence holds.
    """

    n: int
    pointed: int
    touched: float
    first_touched: float
    overlap: float
    covered: float


def evidence_overlap(cases: Iterable[Case]) -> dict[str, EvidenceOverlap]:
    """Return the overlap by observation, of labels of whole reports; only those with quotes."""
    pairs: dict[str, list[tuple[Sequence[Span], Sequence[Span]]]] = {}
    for case in cases:
        for result, reference in case.pairs():
            both = result.state in _CARRIED and reference.state in _CARRIED
            if both and reference.quotes and result.site == WHOLE:
                found = (result.evidence, reference.quotes)
                pairs.setdefault(result.observation, []).append(found)
    return {name: _overlap(own) for name, own in pairs.items()}


def _overlap(pairs: Sequence[tuple[Sequence[Span], Sequence[Span]]]) -> EvidenceOverlap:
    count = len(pairs)
    said = [(_characters(evidence), _characters(quotes)) for evidence, quotes in pairs]
    first = [(_characters(evidence[:1]), _characters(quotes)) for evidence, quotes in pairs]
    return EvidenceOverlap(
        n=count,
        pointed=sum(bool(evidence) for evidence, _ in pairs),
        touched=sum(bool(ours & theirs) for ours, theirs in said) / count,
        first_touched=sum(bool(ours & theirs) for ours, theirs in first) / count,
        overlap=sum(len(ours & theirs) / len(ours | theirs) for ours, theirs in said) / count,
        covered=sum(len(ours & theirs) / len(theirs) for ours, theirs in said) / count,
    )


def _characters(spans: Iterable[Span]) -> set[int]:
    return {place for start, end in spans for place in range(start, end)}

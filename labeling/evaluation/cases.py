"""Reports with what a labeler measured and what readers say: the input of every evaluation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from labeling.decision import decide
from labeling.labeler import LabelResult, Span
from labeling.thresholds import Thresholds
from labeling.vocabulary import LabelSchema, State

Place = tuple[str, str]
"""Observation and site."""


@dataclass(frozen=True)
class Reference:
    """What readers say of one observation at one site.

    Args:
        state: the readers' state; where they disagree there is no reference.
        severity: id of the observation's scale; empty: not said.
        quotes: where the words that they rest on stand in the stored text.
        weight: one over the probability with which it was drawn; None: it was not.
        stratum: of which sample and stratum.
    """

    state: State
    severity: str = ""
    quotes: tuple[Span, ...] = ()
    weight: float | None = None
    stratum: str = ""


@dataclass(frozen=True)
class Case:
    """One report that a labeler has read and readers have labelled.

    Args:
        report: names the report to its owner (accession number, id of a file's row).
        patient: groups reports that are not independent.
        results: of the labeler, one for each observation and site.
        references: of the readers, by place; places without one are not judged.
    """

    report: str
    patient: str
    results: tuple[LabelResult, ...]
    references: Mapping[Place, Reference] = field(default_factory=dict)

    def pairs(self) -> Iterator[tuple[LabelResult, Reference]]:
        """Yield each result that has a reference, with it."""
        for result in self.results:
            reference = self.references.get((result.observation, result.site))
            if reference is not None:
                yield result, reference


_STAND_IN = ((-1, 0),)
"""A span that no report has, for labels whose evidence was not sought."""


def decided(
    cases: Iterable[Case],
    schema: LabelSchema,
    thresholds: Thresholds,
    *,
    sought: Thresholds | None = None,
) -> list[Case]:
    """Return the cases with the states that the thresholds give.

    Args:
        cases: as a labeler measured them.
        schema: of the labels.
        thresholds: what decides.
        sought: the thresholds under which the labeler read. It looks for evidence only from their
            lower end on, so a label below that end is not held to "no span, no present" here: it
            would be read again. None: evidence was sought everywhere.
    """
    return [
        replace(case, results=tuple(_decide(case.results, schema, thresholds, sought)))
        for case in cases
    ]


def _decide(
    results: Sequence[LabelResult],
    schema: LabelSchema,
    thresholds: Thresholds,
    sought: Thresholds | None,
) -> Iterator[LabelResult]:
    found = decide([_looked_at(each, sought) for each in results], schema, thresholds)
    for each in found:
        yield replace(each, evidence=()) if each.evidence == _STAND_IN else each


def _looked_at(result: LabelResult, sought: Thresholds | None) -> LabelResult:
    if sought is None or result.evidence or result.margin is None:
        return result
    low = sought.of(result.observation, result.site).low
    return replace(result, evidence=_STAND_IN) if result.margin < low else result


def locate_quote(text: str, quote: str) -> tuple[Span, ...]:
    """Return where a reader's quote stands in a report, blanks and case apart; empty: nowhere."""
    words = quote.split()
    if not words:
        return ()
    pattern = r"\s+".join(re.escape(word) for word in words)
    return tuple(match.span() for match in re.finditer(pattern, text, re.IGNORECASE))


def folds_by_patient(cases: Sequence[Case], folds: int, seed: int = 0) -> list[list[int]]:
    """Return the indices of the cases of each fold; a patient is in one fold only.

    Patients with a rare finding are dealt out first, so that each fold has its share of them.
    """
    carriers: dict[Place, set[str]] = {}
    for case in cases:
        for place, reference in case.references.items():
            if reference.state is State.PRESENT:
                carriers.setdefault(place, set()).add(case.patient)
    rarity = {place: (len(patients), place) for place, patients in carriers.items()}
    rarest: dict[str, tuple[int, Place]] = {}
    for place, patients in carriers.items():
        for patient in patients:
            rarest[patient] = min(rarest.get(patient, rarity[place]), rarity[place])
    patients_in_order = sorted({case.patient for case in cases})
    np.random.default_rng(seed).shuffle(patients_in_order)
    last = (len(cases) + 1, ("", ""))
    patients_in_order.sort(key=lambda patient: rarest.get(patient, last))
    fold_of = {patient: index % folds for index, patient in enumerate(patients_in_order)}
    return [
        [index for index, case in enumerate(cases) if fold_of[case.patient] == fold]
        for fold in range(folds)
    ]

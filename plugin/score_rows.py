"""Rows of figures for labelers that stand beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from labeling.evaluation.agreement import Agreement, Judgement, agreement, judgements
from labeling.evaluation.cases import Case
from labeling.evaluation.comparison import compare
from labeling.evaluation.evidence import evidence_overlap
from labeling.vocabulary import LabelSchema
from plugin.stages.evaluate import confusion_rows, difference_rows, figures_row

WHOLE, SITES = "whole", "sites"
_FIRST = ("auroc", "balanced_accuracy", "macro_f1")


def judgements_at(cases: Iterable[Case], at: str) -> list[Judgement]:
    """Return the judgements of whole reports (``WHOLE``) or of their sites (``SITES``)."""
    return list(judgements(cases, at_sites=at == SITES))


def figure_rows(
    figures: Mapping[tuple[str, str], Mapping[str, Agreement]],
) -> Iterator[dict[str, Any]]:
    """Yield the figures of each observation, by where they were made and labeler."""
    for (at, name), found in figures.items():
        for each in found.values():
            yield _row(figures_row(each), {"at": at, "labeler": name})


def _row(found: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of figures that begins with what tells it apart and the chief figures."""
    head = {"observation": found["observation"], **names}
    chief = [f"{name}{end}" for name in _FIRST for end in ("", "_low", "_high")]
    ordered = {name: found[name] for name in ("n", "present", *chief)}
    return {**head, **ordered, **found}


def in_order(rows: Iterable[dict[str, Any]], schema: LabelSchema) -> list[dict[str, Any]]:
    """Return rows by observation, whole before sites: the labelers stand below each other."""
    order = [each.id for each in schema.observations]
    return sorted(rows, key=lambda row: (order.index(row["observation"]), row["at"] == SITES))


def means(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the mean of each chief figure over the observations that have it."""
    for at, labeler in dict.fromkeys((row["at"], row["labeler"]) for row in rows):
        own = [row for row in rows if (row["at"], row["labeler"]) == (at, labeler)]
        found: dict[str, Any] = {"at": at, "labeler": labeler, "observations": len(own)}
        for name in _FIRST:
            known = [row[name] for row in own if row[name] is not None]
            found[name] = round(sum(known) / len(known), 4) if known else None
        yield found


def differences(
    said: Mapping[str, Mapping[str, list[Judgement]]], resamples: int
) -> Iterator[dict[str, Any]]:
    """Yield the paired differences of the first labeler and each other."""
    first, *others = said
    for other in others:
        for at in (WHOLE, SITES):
            found = compare(said[first][at], said[other][at], resamples=resamples)
            for each in found.values():
                for row in difference_rows(each):
                    yield {"between": f"{first} - {other}", "at": at, **row}


def site_rows(
    cases: Mapping[str, list[Case]], schema: LabelSchema, resamples: int
) -> Iterator[dict[str, Any]]:
    """Yield figures of each observation at each site, and labeler."""
    for site in schema.sites:
        for name, own in cases.items():
            here = [each for each in judgements_at(own, SITES) if each.site == site.id]
            for each in agreement(here, resamples=resamples).values():
                yield _row(figures_row(each), {"site": site.id, "labeler": name})


def confusions(
    figures: Mapping[tuple[str, str], Mapping[str, Agreement]],
) -> Iterator[dict[str, Any]]:
    """Yield how often a known state met each labeler's, of whole reports."""
    for (at, name), found in figures.items():
        if at == WHOLE:
            for each in found.values():
                yield from ({"labeler": name, **row} for row in confusion_rows(each))


def evidence_rows(cases: Mapping[str, list[Case]]) -> Iterator[dict[str, Any]]:
    """Yield how far each labeler points at the words that carry a finding, where known."""
    for name, own in cases.items():
        for observation, each in evidence_overlap(own).items():
            yield {
                "observation": observation,
                "labeler": name,
                "n": each.n,
                "touched": round(each.touched, 4),
                "overlap": round(each.overlap, 4),
            }

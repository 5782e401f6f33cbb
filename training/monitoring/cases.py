"""What is watched: one probability of a model, and what the report said later."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

NOT_STATED = "not stated"
"""The name of a scanner or site of which nothing is known."""

_LONGEST = 64


def shown_name(text: str) -> str:
    """Return what images call a scanner or a site, as it may be shown and kept in a file.

    Printable characters alone, in one line, at most 64 of them; an element of an image may hold
    whatever somebody typed.
    """
    told = "".join(each if each.isprintable() else " " for each in text)
    told = " ".join(told.split())
    return told if len(told) <= _LONGEST else told[: _LONGEST - 3] + "..."


@dataclass(frozen=True, slots=True)
class Watched:
    """A model's word on one observation at one site of one study, and the report's.

    Args:
        study: which study; never shown.
        patient: the key of its patient; never shown.
        probability: None where the site was not evaluated.
        threshold: "present" from it on; None where the model has no operating point.
        stage: "silent" or "live", when it was predicted.
        scanner: manufacturer and model of the machine.
        house: which hospital or sender the study is of.
        label: 1.0 present, 0.0 absent, by the labels of the final report; None: it says nothing
            certain, or there is none that may be compared.
        report_at: when that report came; None: there is none.
        ours_before: whether a structured report of ours was, or may have been, in the archive
            before it came.
        abstained: whether the model said that it was not made for such an image.
    """

    study: str
    patient: str
    observation: str
    site: str
    probability: float | None
    threshold: float | None
    stage: str
    scanner: str
    house: str
    predicted_at: dt.datetime
    label: float | None = None
    report_at: dt.datetime | None = None
    ours_before: bool = False
    abstained: bool = False

    @property
    def compared(self) -> bool:
        """Whether probability and label are both there."""
        return self.probability is not None and self.label is not None


GROUPS: Mapping[str, Callable[[Watched], str]] = {
    "scanner": lambda each: each.scanner,
    "site": lambda each: each.house,
    "structured report before": lambda each: "yes" if each.ours_before else "no",
    "stage": lambda each: each.stage,
}
"""By what the figures are split, beside all together."""

ALL = "all"


def groups(
    rows: Iterable[Watched], by: Iterable[str] = GROUPS
) -> dict[tuple[str, str], list[Watched]]:
    """Return the rows of each group, all together first: (split, value) -> rows."""
    rows = list(rows)
    found: dict[tuple[str, str], list[Watched]] = {(ALL, ""): rows}
    for split in by:
        for value in sorted({GROUPS[split](each) for each in rows}):
            found[split, value] = [each for each in rows if GROUPS[split](each) == value]
    return found


def studies_in_order(rows: Iterable[Watched]) -> list[str]:
    """Return the studies in the order in which they were predicted."""
    first: dict[str, dt.datetime] = {}
    for each in rows:
        first[each.study] = min(each.predicted_at, first.get(each.study, each.predicted_at))
    return sorted(first, key=lambda study: (first[study], study))

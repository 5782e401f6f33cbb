"""Why labels failed, counted: what a person looks at after a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from labeling.labeler import LabelResult
from labeling.vocabulary import State


class FailureCount:
    """Counts the reasons of failed labels; they are notes of labelers and quote no report.

    ``reports`` is the number of reports that got no label at all.
    """

    def __init__(self) -> None:
        self.reports = 0
        self._reports: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()

    def add(self, results: Iterable[LabelResult]) -> None:
        """Count the results of one report."""
        results = list(results)
        reasons = Counter(each.detail for each in results if each.state is State.FAILED)
        self._reports.update(reasons.keys())
        self._labels.update(reasons)
        self.reports += bool(results) and reasons.total() == len(results)

    def rows(self) -> list[dict[str, str | int]]:
        """Return reason, reports in which it occurred and labels, the most frequent first."""
        ordered = sorted(self._reports.items(), key=lambda item: (-item[1], item[0]))
        return [
            {
                "reason": reason or "no reason given",
                "reports": count,
                "labels": self._labels[reason],
            }
            for reason, count in ordered
        ]

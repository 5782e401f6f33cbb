"""A labeler in a child process: who it is, and what it says about reports.

One piece for all who let a labeler read: the node's reports, a file of reports, and reports on
which it is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from labeling.labeler import LabelResult, failed, result_of
from labeling.runs import LabelerIdentity
from labeling.schema_file import schema_of
from labeling.settings import LabelingSettings
from labeling.thresholds import Thresholds
from plugin.child import ChildProcess
from plugin.context import Progress
from plugin.errors import ChildFailed, TaskBroke

DIED = "the process that reads reports ended at this one, twice"
"""Why a report failed that the labeler does not survive."""

HARMLESS = "FINDINGS: Normal examination. IMPRESSION: Normal."
"""Read to tell whether a labeler breaks on one report or on all."""

_TRIES = 2

Key = TypeVar("Key", int, str)
"""What a report goes by; it comes back with the results."""


class LabelerChild:
    """A labeler that a child process makes from its name and the settings.

    Args:
        child: runs it; other jobs can go between.
        labeler: entry-point name.
        settings: of labeling; they name schema, model and language packs.
        model_store: folder of the language models.
    """

    def __init__(
        self, child: ChildProcess, labeler: str, settings: LabelingSettings, model_store: Path
    ) -> None:
        self._child, self._labeler, self._schema = child, labeler, schema_of(settings)
        self._setup: dict[str, Any] = {
            "labeler": labeler,
            "settings": settings.for_child(),
            "model_store": str(model_store),
        }

    def identify(self, progress: Progress) -> LabelerIdentity:
        """Return what exactly reads; a model is checked for it, not loaded.

        Raises:
            Permanent: the labeler cannot be made.
        """
        (identity,) = self._child.run("identify_labeler", self._setup, progress)
        return LabelerIdentity(self._labeler, **identity)

    def heed(self, thresholds: Thresholds) -> None:
        """Tell the labeler what holds, so that it looks for evidence where a label would count."""
        self._setup["thresholds"] = thresholds.to_json()

    def spare_evidence(self) -> None:
        """Tell the labeler that margins are all that is wanted."""
        self._setup["evidence"] = False

    def read(
        self, reports: Sequence[tuple[Key, str]], progress: Progress
    ) -> Iterator[tuple[Key, list[LabelResult]]]:
        """Yield key and results of each report, in order, as the labeler gives them.

        Where the child dies or breaks, the reports that it had not answered are read one by one.
        One that a second child does not survive either has failed, with the reason, if that child
        still reads a harmless report: else not the report is to blame.

        Raises:
            Permanent: the labeler cannot be made or cannot go on.
            ChildFailed: the child dies whatever it reads, for example for want of memory.
        """
        answered = 0
        try:
            for answer in self._answers(reports, progress):
                answered += 1
                yield answer
        except (ChildFailed, TaskBroke) as error:
            progress(f"{self._labeler}: {error}; its reports are read one by one")
            self._child.restart()
            for report in reports[answered:]:
                yield self._alone(report, progress)

    def _answers(
        self, reports: Sequence[tuple[Any, str]], progress: Progress
    ) -> Iterator[tuple[Any, list[LabelResult]]]:
        for key, rows in self._child.run("label", {**self._setup, "reports": reports}, progress):
            yield key, [result_of(row) for row in rows]

    def _alone(self, report: tuple[Key, str], progress: Progress) -> tuple[Key, list[LabelResult]]:
        """Return the answer about a report that may have killed the child among others."""
        reason = DIED
        for _ in range(_TRIES):
            try:
                [answer] = self._answers([report], progress)
            except ChildFailed:
                self._child.restart()
            except TaskBroke as error:
                reason = str(error)
                self._child.restart()
            else:
                return answer
        list(self._answers([(0, HARMLESS)], progress))
        return report[0], failed(self._schema, reason)

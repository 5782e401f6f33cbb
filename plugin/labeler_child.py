"""A labeler in a child process: who it is, and what it says about reports.

One piece for all who let a labeler read: the node's reports, a file of reports, and reports on
which it is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from labeling.labeler import LabelResult, result_of
from labeling.runs import LabelerIdentity
from labeling.settings import LabelingSettings
from labeling.thresholds import Thresholds
from plugin.child import ChildProcess
from plugin.context import Progress

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
        self._child, self._labeler = child, labeler
        self._setup = {
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

    def read(
        self, reports: Sequence[tuple[Key, str]], progress: Progress
    ) -> Iterator[tuple[Key, list[LabelResult]]]:
        """Yield key and results of each report, in order, as the labeler gives them.

        Raises:
            Permanent: the labeler cannot be made or cannot go on.
            ChildFailed: the child died, for example for want of memory.
        """
        for key, rows in self._child.run("label", {**self._setup, "reports": reports}, progress):
            yield key, [result_of(row) for row in rows]

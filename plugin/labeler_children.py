"""A labeler in as many child processes as pay: the student reads twice as fast in two as in one.

What a small encoder computes is over before its threads have met, and half of a student's work is
Python. A language model gains nothing: it stays in one process, with all threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from labeling.labeler import LabelResult
from labeling.runs import LabelerIdentity
from labeling.settings import LabelingSettings
from labeling.thresholds import Thresholds
from plugin.child import ChildProcess
from plugin.context import Progress
from plugin.labeler_child import Key, LabelerChild

_IN_PARALLEL = "student"
_REPORTS_AT_ONCE = 32
_REPORTS_OF_EACH = 128  # of a student: equal sentences are read once, so more pay


class LabelerChildren:
    """The same labeler in several child processes; each reads a part of the reports."""

    def __init__(self, children: Sequence[LabelerChild], at_once: int) -> None:
        self._children = children
        self.at_once = at_once
        """How many reports it should be given at once."""

    def identify(self, progress: Progress) -> LabelerIdentity:
        """Return what exactly reads, as ``LabelerChild.identify``."""
        return self._children[0].identify(progress)

    def heed(self, thresholds: Thresholds) -> None:
        """Tell the labeler what holds, as ``LabelerChild.heed``."""
        for child in self._children:
            child.heed(thresholds)

    def read(
        self, reports: Sequence[tuple[Key, str]], progress: Progress
    ) -> Iterator[tuple[Key, list[LabelResult]]]:
        """Yield key and results of each report, in order; errors as ``LabelerChild.read``."""
        parts = _parts(reports, len(self._children))
        if len(parts) == 1:
            yield from self._children[0].read(parts[0], progress)
            return
        readings = [_Reading(*each, progress) for each in zip(self._children, parts, strict=False)]
        try:
            for reading in readings:
                yield from reading.answers()
        finally:
            for reading in readings:
                reading.stop()


class _Reading:
    """One child at work in a thread of its own; its answers wait until they are asked for."""

    def __init__(self, child: LabelerChild, part: Sequence[Any], progress: Progress) -> None:
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self.stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._read, args=(child, part, progress), daemon=True
        )
        self._thread.start()

    def _read(self, child: LabelerChild, part: Sequence[Any], progress: Progress) -> None:
        try:
            for answer in child.read(part, progress):
                self._answers.put(answer)
                if self.stopped.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised where the answers are read
            self._error = error
        finally:
            self._answers.put(None)

    def stop(self) -> None:
        """Wait until it has ended, which it does with its next answer where nobody wants more."""
        self.stopped.set()
        self._thread.join()

    def answers(self) -> Iterator[Any]:
        """Yield what the child says; raise what stopped it."""
        while (answer := self._answers.get()) is not None:
            yield answer
        if self._error is not None:
            raise self._error


def _parts(reports: Sequence[Any], number: int) -> list[Sequence[Any]]:
    """Cut reports into as many parts, in order, of about the same number of characters."""
    whole = sum(len(text) for _, text in reports)
    parts: list[list[Any]] = [[]]
    read = 0
    for report in reports:
        if len(parts) < number and parts[-1] and read >= whole * len(parts) / number:
            parts.append([])
        parts[-1].append(report)
        read += len(report[1])
    return list(parts)


@contextmanager
def labeler_children(
    log: Path, labeler: str, settings: LabelingSettings, model_store: Path
) -> Iterator[LabelerChildren]:
    """Open a labeler in its child processes, which share the threads of the settings.

    Args:
        log: takes the standard error of all of them.
        labeler: entry-point name.
        settings: of labeling; they name schema, model, threads and processes.
        model_store: folder of the language models.
    """
    number = _processes(labeler, settings)
    threads = max(1, settings.language_model.threads // number)
    model = settings.language_model.model_copy(update={"threads": threads})
    bounded = settings.model_copy(update={"language_model": model})
    at_once = number * _REPORTS_OF_EACH if labeler == _IN_PARALLEL else _REPORTS_AT_ONCE
    with ExitStack() as stack:
        children = [stack.enter_context(ChildProcess(log, threads)) for _ in range(number)]
        yield LabelerChildren(
            [LabelerChild(child, labeler, bounded, model_store) for child in children], at_once
        )


def _processes(labeler: str, settings: LabelingSettings) -> int:
    if labeler != _IN_PARALLEL:
        return 1
    return settings.student.processes or settings.language_model.threads

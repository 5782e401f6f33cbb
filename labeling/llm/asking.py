"""What all labelers that ask a language model share: batches, and reports that fail alone.

Importing this file loads neither torch nor transformers; a model is loaded with its first report.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from labeling.guarding.guard import LEFT_OUT, guarded
from labeling.labeler import LabelerSetup, LabelResult, failed
from labeling.llm.interface import LanguageModel, UnansweredReport
from labeling.llm.lazy import LazyLanguageModel
from labeling.sections import ReadableReport, UnreadableReport, read_report
from labeling.vocabulary import LabelSchema

Prepared = TypeVar("Prepared")
"""A report as a labeler asks about it."""


class AskingLabeler(ABC, Generic[Prepared]):
    """A labeler that asks a language model about several reports side by side.

    What of a report speaks to its reader is left out before anything is asked, and its labels say
    so (``labeling.guarding``).

    Args:
        setup: its settings name the model, and an expected SHA-256 there is enforced.
        model: asked in place of the one that the settings name.
    """

    def __init__(self, setup: LabelerSetup, model: LanguageModel | None = None) -> None:
        self._setup, self._schema = setup, setup.schema
        self._model = LazyLanguageModel(setup.settings.language_model, setup.model_store, model)
        self._batch = setup.settings.language_model.batch_reports

    @property
    def model_digest(self) -> str:
        """SHA-256 of the weights, or of what a server says of them."""
        return self._model.digest

    def label_report(self, text: str) -> list[LabelResult]:
        """Return the results of one text."""
        return next(self.label_reports([text]))

    def label_reports(self, texts: Sequence[str]) -> Iterator[list[LabelResult]]:
        """Yield the results of each text, in order; a batch is read when its first is asked for.

        Raises:
            UnusableLanguageModel: the model cannot be loaded or cannot answer.
            ModelUnavailable: a server is away.
        """
        for start in range(0, len(texts), self._batch):
            yield from self._label(texts[start : start + self._batch])

    def _label(self, texts: Sequence[str]) -> list[list[LabelResult]]:
        results: dict[int, list[LabelResult]] = {}
        prepared: dict[int, Prepared] = {}
        cut: set[int] = set()
        for number, text in enumerate(texts):
            try:
                report = self._readable(text)
                prepared[number] = self._prepare(report)
            except UnreadableReport as error:
                results[number] = failed(self._schema, str(error))
                continue
            if report.left_out:
                cut.add(number)
        if prepared:
            results |= zip(prepared, self._answered(list(prepared.values())), strict=True)
        return [
            _noted(results[number]) if number in cut else results[number]
            for number in range(len(texts))
        ]

    def _readable(self, text: str) -> ReadableReport:
        return guarded(read_report(text, self._setup.languages, self._setup.settings))

    def _answered(self, prepared: Sequence[Prepared]) -> list[list[LabelResult]]:
        return each_answered(prepared, self._asked, self._schema)

    @abstractmethod
    def _prepare(self, report: ReadableReport) -> Prepared:
        """Return a report as it is asked about; UnreadableReport where it cannot be."""

    @abstractmethod
    def _asked(self, prepared: Sequence[Prepared]) -> list[list[LabelResult]]:
        """Ask about reports together and return their results, in order."""


def each_answered(
    reports: Sequence[Prepared],
    read: Callable[[Sequence[Prepared]], list[list[LabelResult]]],
    schema: LabelSchema,
) -> list[list[LabelResult]]:
    """Return the results of all reports, in order.

    They are read together; where that fails for one, each is read alone, and those that cannot be
    answered have failed, with the reason.
    """
    try:
        return read(reports)
    except UnansweredReport as error:
        if len(reports) == 1:
            return [failed(schema, str(error))]
    return [results for each in reports for results in each_answered([each], read, schema)]


def _noted(results: Sequence[LabelResult]) -> list[LabelResult]:
    """Return results that say that a part of the report was left out."""
    return [
        replace(each, detail="; ".join(part for part in (each.detail, LEFT_OUT) if part))
        for each in results
    ]

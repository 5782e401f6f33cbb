"""What all labelers that ask a language model share: batches, and reports that fail alone.

Importing this file loads neither torch nor transformers; a model is loaded with its first report.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from labeling.guarding.guard import LEFT_OUT, guarded
from labeling.labeler import LabelerSetup, LabelResult, failed
from labeling.llm.adapter_choice import AUTO, NONE, Choice, chosen
from labeling.llm.adapter_file import UnusableAdapter
from labeling.llm.interface import LanguageModel, UnansweredReport
from labeling.llm.lazy import LazyLanguageModel
from labeling.llm.opening import stored_model, takes_adapters
from labeling.sections import ReadableReport, UnreadableReport, read_report
from labeling.vocabulary import LabelSchema

if TYPE_CHECKING:
    from labeling.token_scores.prompt import PackWords

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

    name: str

    def __init__(self, setup: LabelerSetup, model: LanguageModel | None = None) -> None:
        self._setup, self._schema = setup, setup.schema
        settings = setup.settings.language_model
        choice = None if model is not None else self._choice()
        self.kind = self.name if choice is None else choice.kind
        self._band = {} if choice is None else choice.adapter.description.band
        self._model = LazyLanguageModel(
            settings, setup.model_store, model, None if choice is None else choice.adapter
        )
        self._batch = setup.settings.language_model.batch_reports

    def _choice(self) -> Choice | None:
        """Return the adapter for what this labeler asks; UnusableAdapter where it must not be."""
        settings = self._setup.settings.language_model
        if settings.adapter == NONE or not takes_adapters(settings):
            if settings.adapter not in {AUTO, NONE}:
                raise UnusableAdapter("adapters go on models of the backend transformers only")
            return None
        base = stored_model(settings, self._setup.model_store).sha256
        return chosen(
            settings.adapter, self._setup.model_store, base, self.name, self._digests_asked
        )

    def _digests_asked(self, kind: str) -> dict[str, dict[str, str]]:
        """Return by language and observation the digest of what would be asked in such words.

        It is empty for a language that this labeler reads and that has no words of this kind.
        """
        names = [each.id for each in self._schema.observations]
        spoken = [c for c, p in self._setup.languages.packs.items() if p.prompts.get(self.name)]
        words = self._words(kind)
        return {
            code: {name: words[code].digest(name) if code in words else "" for name in names}
            for code in spoken
        }

    def _words(self, kind: str) -> Mapping[str, PackWords]:
        """Return by language the words of this kind, where a pack has them."""
        return {}

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

"""The extension point of labeling, and the labeler that asks a language model.

Importing this file loads neither torch nor transformers; a model is loaded with its first report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from labeling.errors import Permanent
from labeling.evidence import EvidenceFinder
from labeling.model_store import EMBEDDED_NAME, ModelStore
from labeling.prompt import ReportTooLong, build_prompt, report_for_prompt
from labeling.sections import refusal
from labeling.settings import LabelingSettings
from labeling.thresholds import UNCALIBRATED, Thresholds
from labeling.vocabulary import WHOLE, LabelSchema, State

if TYPE_CHECKING:
    from labeling.llm import LanguageModel


class InvalidResults(Permanent):
    """A labeler's answer does not fit the schema or the report."""


@dataclass(frozen=True)
class LabelResult:
    """What a labeler says about one observation at one site of a report.

    ``site`` is a site of the schema or ``vocabulary.WHOLE``. ``probability`` is calibrated or
    None. ``margin`` is logit("yes") - logit("no"). ``evidence`` is a half-open character range of
    the stored report text.
    """

    observation: str
    site: str
    state: State
    probability: float | None = None
    margin: float | None = None
    evidence: tuple[int, int] | None = None
    detail: str = ""


class Labeler(Protocol):
    """Reads one report at a time; the digests say exactly what read it.

    A class named by an entry point of the group ``radloop.labelers`` is called with
    ``(schema, settings, model_store)``: LabelSchema, LabelingSettings, ModelStore.
    """

    name: str
    model_digest: str
    prompt_digest: str

    def label_report(self, text: str) -> list[LabelResult]:
        """Return one result for every observation of the schema, whole and at each site."""
        ...


class TokenScoreLabeler:
    """Asks a local language model one yes/no question per label and compares two token scores.

    The report is read once for all questions. A margin above the threshold is present. Below it
    the answer is no, and no single question tells "absent" from "not mentioned": it is absent
    where a sentence of the report names the observation, else not mentioned. Evidence is the first
    such sentence; where there is none, ``detail`` says so.

    Args:
        schema: what to ask.
        settings: names the model; an expected SHA-256 there is enforced.
        model_store: where the model is; the embedded default enters it by itself.
        thresholds: fitted on reference labels; without them labels are uncalibrated and say so.
    """

    name = "token_scores"

    def __init__(
        self,
        schema: LabelSchema,
        settings: LabelingSettings,
        model_store: ModelStore,
        thresholds: Thresholds = UNCALIBRATED,
    ) -> None:
        wanted = settings.language_model
        if wanted.name == EMBEDDED_NAME and EMBEDDED_NAME not in model_store.names():
            model_store.add_embedded()
        self._stored = model_store.get(wanted.name, sha256=wanted.sha256)
        self._threads = wanted.threads
        self._schema = schema
        self._prompt = build_prompt(schema)
        self._evidence = EvidenceFinder(schema)
        self._thresholds = thresholds
        self._model: LanguageModel | None = None
        self.model_digest = self._stored.sha256
        self.prompt_digest = hashlib.sha256(
            (self._prompt.digest + thresholds.digest).encode()
        ).hexdigest()

    def with_thresholds(self, thresholds: Thresholds) -> TokenScoreLabeler:
        """Return a labeler that shares the loaded model and decides by other thresholds."""
        other = object.__new__(TokenScoreLabeler)
        other.__dict__.update(self.__dict__)
        other._thresholds = thresholds
        other.prompt_digest = hashlib.sha256(
            (self._prompt.digest + thresholds.digest).encode()
        ).hexdigest()
        return other

    def load(self) -> LanguageModel:
        """Load the model where that has not happened yet; takes seconds."""
        if self._model is None:
            from labeling.llm import LanguageModel

            self._model = LanguageModel.load(self._stored.path, threads=self._threads)
        return self._model

    def label_report(self, text: str) -> list[LabelResult]:
        """Return one result for every observation of the schema, whole and at each site."""
        if reason := refusal(text):
            return failed(self._schema, reason)
        model = self.load()
        report = report_for_prompt(text, model.markers)
        if not report:
            return failed(self._schema, "the report has no findings, impression or free text")
        try:
            margins = model.score(self._prompt, report)
        except ReportTooLong as error:
            return failed(self._schema, str(error))
        spans = self._evidence.find(text)
        results: list[LabelResult] = []
        for stem, stem_margins in zip(self._prompt.stems, margins, strict=True):
            for (site, _), margin in zip(stem.questions, stem_margins, strict=True):
                span = spans.get((stem.observation, site))
                results.append(self._result(stem.observation, site, margin, span))
        return results

    def _result(
        self, observation: str, site: str, margin: float, span: tuple[int, int] | None
    ) -> LabelResult:
        threshold = self._thresholds.of(observation)
        state = threshold.decide(margin)
        details = [] if threshold.fitted_on else ["uncalibrated"]
        if span is None and state is State.ABSENT:
            state = State.NOT_MENTIONED
        if span is None and state in {State.PRESENT, State.UNCERTAIN}:
            details.append("no sentence names it")
        return LabelResult(
            observation, site, state, margin=margin, evidence=span, detail="; ".join(details)
        )


def failed(schema: LabelSchema, reason: str) -> list[LabelResult]:
    """Return the results for a report that cannot be read: every label failed, with the reason."""
    return [
        LabelResult(observation.id, site, State.FAILED, detail=reason)
        for observation in schema.observations
        for site in (WHOLE, *observation.sites)
    ]


def checked(results: Sequence[LabelResult], schema: LabelSchema, text: str) -> list[LabelResult]:
    """Return results that keep to the schema and quote the report; for labelers of other makers.

    Raises:
        InvalidResults: a result is missing, stands twice, or its evidence is not in the report.
    """
    expected = {(o.id, site) for o in schema.observations for site in (WHOLE, *o.sites)}
    given = [(result.observation, result.site) for result in results]
    if len(given) != len(expected) or set(given) != expected:
        raise InvalidResults("the labeler did not answer each observation and site once")
    for result in results:
        if result.evidence is not None:
            start, end = result.evidence
            if not 0 <= start < end <= len(text):
                raise InvalidResults("the labeler's evidence lies outside the report")
    return list(results)

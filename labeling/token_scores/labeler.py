"""Asks a language model a yes/no question for each label and compares two token scores.

Importing this file loads neither torch nor transformers; a model is loaded with its first report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from labeling.labeler import LabelerSetup, LabelResult, failed
from labeling.llm.model_store import EMBEDDED_NAME
from labeling.sections import refusal
from labeling.token_scores.evidence import EvidenceFinder
from labeling.token_scores.prompt import ReportTooLong, build_prompt, report_for_prompt
from labeling.vocabulary import State

if TYPE_CHECKING:
    from labeling.llm.transformers_model import LanguageModel


class TokenScoreLabeler:
    """Asks a local language model one yes/no question per label and compares two token scores.

    The report is read once for all questions. A margin above the threshold is present. Below it
    the answer is no, and no single question tells "absent" from "not mentioned": it is absent
    where a sentence of the report names the observation, else not mentioned. Evidence is the first
    such sentence; where there is none, ``detail`` says so.

    The settings name the model, and an expected SHA-256 there is enforced; the embedded default
    enters the store by itself.
    """

    name = "token_scores"

    def __init__(self, setup: LabelerSetup) -> None:
        schema, model_store, thresholds = setup.schema, setup.model_store, setup.thresholds
        wanted = setup.settings.language_model
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
        self.prompt_digest = self._prompt.digest

    def load(self) -> LanguageModel:
        """Load the model where that has not happened yet; takes seconds."""
        if self._model is None:
            from labeling.llm.transformers_model import LanguageModel

            self._model = LanguageModel.load(self._stored.path, threads=self._threads)
        return self._model

    def label_reports(self, texts: Sequence[str]) -> Iterator[list[LabelResult]]:
        """Yield the results of each text, in order."""
        return map(self.label_report, texts)

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
        threshold = self._thresholds.of(observation, site)
        state = threshold.decide(margin)
        details = [] if threshold.fitted_on else ["uncalibrated"]
        if span is None and state is State.ABSENT:
            state = State.NOT_MENTIONED
        if span is None and state in {State.PRESENT, State.UNCERTAIN}:
            details.append("no sentence names it")
        return LabelResult(
            observation,
            site,
            state,
            margin=margin,
            evidence=(span,) if span else (),
            detail="; ".join(details),
        )

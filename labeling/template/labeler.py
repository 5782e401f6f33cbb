"""Labels by a form: a language model writes one JSON object a report, held to a grammar.

Importing this file loads neither torch nor transformers; a model is loaded with its first report.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from labeling.labeler import LabelerSetup, LabelResult, Span
from labeling.language import LanguagePack
from labeling.llm.asking import AskingLabeler, each_answered
from labeling.llm.digest import asked_digest
from labeling.llm.interface import (
    Ask,
    Generated,
    GenerateRequest,
    Grammar,
    LanguageModel,
)
from labeling.rules.levels import LevelFinder
from labeling.sections import ReadableReport, UnreadableReport
from labeling.template.answer import members
from labeling.template.form import LABELER, fullest, json_schema, numbered, task
from labeling.template.results import results_of
from labeling.token_scores.prompt import FENCE, cleaned, fenced, filled

ALTERNATIVES = 20
"""Alternatives a token; what many servers give at most."""

_SLACK = 1.25  # a model may break words into more tokens than the measured form has


@dataclass(frozen=True)
class _Form:
    """A report as it is asked: its numbered sentences, and the request.

    ``fits`` says that report, task and the longest answer surely fit into the model.
    """

    report: ReadableReport
    sentences: tuple[Span, ...]
    request: GenerateRequest
    fits: bool


class TemplateLabeler(AskingLabeler[_Form]):
    """Fills in a form about a report: for each finding the sentences, then true or false.

    Each entry is read by itself: one that is missing, cut off or malformed makes the labels of
    its finding failed, never false. The margin is the log-odds of present, by the alternatives
    that the model had where it chose; "uncertain" counts half for either side. Evidence are the
    numbered sentences that the model named, so it is verbatim by construction.

    Args:
        setup: as for every labeler.
        model: asked in place of the one that the settings name.
    """

    name = LABELER

    def __init__(self, setup: LabelerSetup, model: LanguageModel | None = None) -> None:
        super().__init__(setup, model)
        self._levels = LevelFinder(setup.schema)
        self._tasks = {
            code: task(setup.schema, pack) for code, pack in setup.languages.packs.items()
            if LABELER in pack.prompts
        }  # fmt: skip
        self.prompt_digest = asked_digest(setup, LABELER, [json_schema(setup.schema, 1), _SLACK])

    def _answered(self, prepared: Sequence[_Form]) -> list[list[LabelResult]]:
        easy = [form for form in prepared if form.fits]
        given = iter(each_answered(easy, self._asked, self._schema) if easy else [])
        # A form that may be too long is asked alone: it must not cost others a second reading.
        return [
            next(given) if form.fits else each_answered([form], self._asked, self._schema)[0]
            for form in prepared
        ]

    def _asked(self, prepared: Sequence[_Form]) -> list[list[LabelResult]]:
        answers = self._model.open().generate([form.request for form in prepared])
        return [self._results(f, answer) for f, (answer,) in zip(prepared, answers, strict=True)]

    def _prepare(self, report: ReadableReport) -> _Form:
        words = self._tasks.get(report.pack.code)
        if words is None:
            raise UnreadableReport("language: the language pack has no words for this labeler")
        model = self._model.open()
        lines = {
            span: " ".join(cleaned(report.text[span[0] : span[1]], model.markers).split())
            for span in report.spans
        }
        lines = {span: line for span, line in lines.items() if line}
        if not lines:
            raise UnreadableReport("the report holds no words")
        reading = fenced(self._system(report.pack), numbered(list(lines.values())))
        if not model.fits(reading):
            raise UnreadableReport("the report has more tokens than the model may read")
        longest = json.dumps(fullest(self._schema, len(lines)))
        ask = Ask(
            turns=(words,),
            maximum_tokens=int(model.count_tokens(longest) * _SLACK) + 16,
            grammar=Grammar(json_schema(self._schema, len(lines))),
            alternatives=ALTERNATIVES,
        )
        # A model says what it can read only of a report, so the form is measured as if it were one.
        everything = replace(reading, report="\n".join([reading.report, words, longest]))
        request = GenerateRequest(reading, (ask,))
        return _Form(report, tuple(lines), request, model.fits(everything))

    def _results(self, form: _Form, answer: Generated) -> list[LabelResult]:
        entries = members(answer.text)
        return [
            result
            for observation in self._schema.observations
            for result in results_of(
                self._schema,
                observation,
                answer,
                entries,
                form.report.text,
                form.sentences,
                self._levels,
            )
        ]

    def _system(self, pack: LanguagePack) -> str:
        words = {"title": self._schema.title, "open": FENCE[0], "close": FENCE[1]}
        return filled(pack, LABELER, "system", **words)

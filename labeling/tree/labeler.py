"""Labels by a tree of questions to a language model: presence, likelihood, severity, place.

Importing this file loads neither torch nor transformers; a model is loaded with its first report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from labeling.labeler import LabelerSetup, LabelResult, Span
from labeling.llm.asking import AskingLabeler
from labeling.llm.digest import asked_digest
from labeling.llm.interface import BOUND_NOTE, BoundedScores, LanguageModel
from labeling.places import without_contradictions
from labeling.sections import ReadableReport, UnreadableReport
from labeling.token_scores import evidence
from labeling.token_scores.evidence import Excerpt, Key, excerpt_of, find_evidence, spans_of
from labeling.token_scores.prompt import report_for_prompt
from labeling.tree.questions import (
    DENIED,
    LEAST_SHARE,
    LOCATION,
    NO,
    NODES,
    ROOT,
    SEVERITY,
    YES,
    margin_of,
    mention_margin_of,
    state_of,
)
from labeling.tree.rollup import rolled_up
from labeling.tree.walk import Case, ask_root, said_yes, walk
from labeling.tree.wording import LABELER, Wording
from labeling.vocabulary import WHOLE, State

WHOLE_ONLY = "asked of the whole report only"
_COUNTING = {State.PRESENT, State.UNCERTAIN}


@dataclass(frozen=True)
class _Read:
    """A report, and its way through the tree."""

    report: ReadableReport
    case: Case


class TreeLabeler(AskingLabeler[_Read]):
    """Leads each finding through a tree of one-token questions (MAPLEZ, arXiv 2403.04024).

    The margin is the log-odds of present over all ways through the tree; a question that is
    hardly reached is not asked. Evidence is found by the tree's first question, as that of token
    scores is. A finding below another speaks for it (``tree.rollup``).

    Args:
        setup: its settings name the model, and an expected SHA-256 there is enforced.
        model: asked in place of the one that the settings name.
    """

    name = LABELER

    def __init__(self, setup: LabelerSetup, model: LanguageModel | None = None) -> None:
        super().__init__(setup, model)
        self._wordings = self._words(self.kind)
        self._keys = tuple(
            (observation.id, site)
            for observation in setup.schema.observations
            for site in (WHOLE, *observation.sites)
        )
        self._floors = {key: setup.thresholds.of(*key).low for key in self._keys}
        form = {
            "nodes": {name: asdict(node) for name, node in NODES.items()},
            "share": LEAST_SHARE,
            "evidence": list(evidence.FORM) if setup.settings.tree.evidence else [],
        }
        if not setup.settings.tree.all_ways:
            form["share"] = None
        self.prompt_digest = asked_digest(setup, self.kind, form)

    def _words(self, kind: str) -> dict[str, Wording]:
        return {
            code: Wording(self._schema, pack, kind)
            for code, pack in self._setup.languages.packs.items()
            if pack.prompts.get(kind)
        }

    def _asked(self, read: Sequence[_Read]) -> list[list[LabelResult]]:
        walk(self._model.open(), [each.case for each in read], self._batch)
        found = self._find_evidence(read)
        return [
            rolled_up(self._results(each, carrying), self._schema)
            for each, carrying in zip(read, found, strict=True)
        ]

    def _prepare(self, report: ReadableReport) -> _Read:
        wording = self._wordings.get(report.pack.code)
        if wording is None:
            raise UnreadableReport(f"language: the pack {report.pack.code} has no such prompts")
        model = self._model.open()
        words = report_for_prompt(report, model.markers)
        if not words:
            raise UnreadableReport("nothing of the report can be read")
        if not model.fits(wording.reading(words)):
            raise UnreadableReport("the report has more tokens than the model may read")
        return _Read(
            report,
            Case(wording, words, self._keys, self._floors, self._setup.settings.tree.all_ways),
        )

    def _find_evidence(self, read: Sequence[_Read]) -> list[dict[Key, tuple[int, ...]]]:
        if not (self._setup.settings.tree.evidence and self._setup.evidence):
            return [{} for _ in read]

        def margins(excerpts: Sequence[Excerpt]) -> list[dict[Key, float]]:
            model = self._model.open()
            asked = [
                (
                    read[each.case].case.wording,
                    excerpt_of(read[each.case].report, each, model.markers),
                    each.keys,
                )
                for each in excerpts
            ]
            return ask_root(model, asked, evidence.AT_ONCE * self._batch)

        return find_evidence([self._evidence_case(each) for each in read], margins)

    def _evidence_case(self, read: _Read) -> evidence.Case:
        """Return the labels that may count, by the margins of the tree's first question.

        A label falls where that question loses as much as would take the whole margin below the
        band.
        """
        margins: dict[Key, float] = {}
        floors: dict[Key, float] = {}
        for key in self._keys:
            if not read.case.asked(key):
                continue
            answers = read.case.presence(key)
            margin, first = margin_of(answers), answers[ROOT][YES] - answers[ROOT][NO]
            if margin >= self._floors[key] or state_of(answers) in _COUNTING:
                margins[key] = first
                floors[key] = first - max(margin - self._floors[key], 0.0)
        return evidence.Case(len(read.report.sentences), margins, floors)

    def _results(self, read: _Read, carrying: Mapping[Key, tuple[int, ...]]) -> list[LabelResult]:
        results: dict[Key, LabelResult] = {}
        for key in self._keys:
            if read.case.asked(key):
                spans = spans_of(read.report, carrying.get(key, ()))
                results[key] = self._result(read, key, spans)
            else:
                results[key] = _below_whole(read.case, key, results[key[0], WHOLE])
        return list(results.values())

    def _result(self, read: _Read, key: Key, spans: tuple[Span, ...]) -> LabelResult:
        answers = read.case.presence(key)
        state = state_of(answers)
        counts = state in _COUNTING
        bounded = any(isinstance(scores, BoundedScores) for scores in answers.values())
        return LabelResult(
            *key,
            state,
            margin=margin_of(answers),
            mention_margin=mention_margin_of(answers),
            evidence=spans,
            severity=self._severity(read.case, key) if counts else "",
            locations=self._locations(read, key, spans) if counts else (),
            detail=BOUND_NOTE if bounded else "",
        )

    def _severity(self, case: Case, key: Key) -> str:
        given = case.answers[key].get((SEVERITY, ""))
        scale = self._schema.observation(key[0]).severities
        if given is None:
            return ""
        chosen = given.index(max(given))
        return scale[chosen].id if chosen < len(scale) else ""

    def _locations(self, read: _Read, key: Key, spans: tuple[Span, ...]) -> tuple[str, ...]:
        said = {
            place: scores[YES] - scores[NO]
            for (name, place), scores in read.case.answers[key].items()
            if name == LOCATION and said_yes(scores)
        }
        ranked = sorted(said, key=lambda place: -said[place])
        quoted = " ".join(read.report.text[start:end] for start, end in spans)
        return without_contradictions(self._schema, ranked, quoted)


def _below_whole(case: Case, key: Key, whole: LabelResult) -> LabelResult:
    """Return what is known of a site where the finding is not there in the report as a whole."""
    scores = case.answers.get(key, {}).get((DENIED, ""))
    state = whole.state if whole.state not in {*_COUNTING, State.ABSENT} else State.NOT_MENTIONED
    return LabelResult(
        *key,
        State.ABSENT if said_yes(scores) else state,
        margin=whole.margin,
        mention_margin=None if scores is None else scores[YES] - scores[NO],
        detail=WHOLE_ONLY if scores is None else "",
    )

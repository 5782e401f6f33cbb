"""Asks a language model a yes/no question for each label and compares two token scores.

Importing this file loads neither torch nor transformers; a model is loaded with its first report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from labeling.labeler import NOT_ASKED, LabelerSetup, LabelResult
from labeling.llm.adapter_choice import AUTO, NONE, Choice
from labeling.llm.adapter_file import UnusableAdapter
from labeling.llm.asking import AskingLabeler
from labeling.llm.digest import asked_digest
from labeling.llm.interface import BOUND_NOTE, LanguageModel
from labeling.sections import ReadableReport, UnreadableReport
from labeling.thresholds import Threshold
from labeling.token_scores import evidence
from labeling.token_scores.asking import Enquiry, Reply, ask
from labeling.token_scores.evidence import Case, Excerpt, Key, excerpt_of, find_evidence, spans_of
from labeling.token_scores.levels import NamedSites
from labeling.token_scores.prompt import Prompts, report_for_prompt
from labeling.vocabulary import WHOLE, State

TOO_LONG = "the report has more tokens than the model may read"
LEVELS_OFF = "not asked: levels are switched off in the settings"

_FORM = 3  # of the order in which the words are put together, and of what is not asked


def _notes(reply: Reply) -> str:
    notes = {"no summary was written": reply.without_summary, BOUND_NOTE: reply.is_bound}
    return "; ".join(note for note, holds in notes.items() if holds)


@dataclass(frozen=True)
class _Read:
    """A report that was asked about, and the replies."""

    report: ReadableReport
    prompts: Prompts
    replies: Mapping[Key, Reply]


class TokenScoreLabeler(AskingLabeler[tuple[ReadableReport, Enquiry]]):
    """Asks a language model one yes/no question for each label and compares two token scores.

    One-step (the question after the report) or two-step (first a summary aimed at the condition),
    after Park et al., MICCAI 2024. A second question tells "absent" from "not mentioned". The
    evidence of a label that may count is the sentences that it is lost without (``evidence``).
    Several reports are read side by side; each is read once for all its questions.

    Args:
        setup: its settings name the model, and an expected SHA-256 there is enforced.
        model: asked in place of the one that the settings name.
        kind: of the words in which that model is asked, where it learned others than ours.
    """

    name = "token_scores"

    def __init__(
        self, setup: LabelerSetup, model: LanguageModel | None = None, kind: str = ""
    ) -> None:
        super().__init__(setup, model)
        self.kind = kind or self.kind
        self._settings = setup.settings.token_scores
        self._prompts = self._words(self.kind)
        self._keys = tuple(
            (observation.id, site)
            for observation in setup.schema.observations
            for site in (WHOLE, *(observation.sites if self._settings.levels else ()))
        )
        self._named = {
            code: NamedSites(setup.schema, pack) for code, pack in setup.languages.packs.items()
        }
        form = [self._settings.model_dump(mode="json"), evidence.FORM, _FORM]
        self.prompt_digest = asked_digest(setup, self.kind, form)

    def _words(self, kind: str) -> dict[str, Prompts]:
        return {
            code: Prompts(self._schema, pack, kind)
            for code, pack in self._setup.languages.packs.items()
            if pack.prompts.get(kind)
        }

    def _choice(self) -> Choice | None:
        if not self._setup.settings.token_scores.two_step:
            return super()._choice()
        if self._setup.settings.language_model.adapter not in {AUTO, NONE}:
            raise UnusableAdapter("an adapter learned to answer, not to write a summary first")
        return None

    def _asked(self, prepared: Sequence[tuple[ReadableReport, Enquiry]]) -> list[list[LabelResult]]:
        replies = ask(self._model.open(), [enquiry for _, enquiry in prepared], self._batch)
        read = [
            _Read(report, enquiry.prompts, reply)
            for (report, enquiry), reply in zip(prepared, replies, strict=True)
        ]
        found = self._find_evidence(read)
        return [self._results(each, carry) for each, carry in zip(read, found, strict=True)]

    def _prepare(self, report: ReadableReport) -> tuple[ReadableReport, Enquiry]:
        prompts = self._prompts.get(report.pack.code)
        if prompts is None:
            raise UnreadableReport(f"language: the pack {report.pack.code} has no such prompts")
        model = self._model.open()
        text = report_for_prompt(report, model.markers)
        enquiry = Enquiry(
            prompts,
            text,
            self._keys_of(text, report.pack.code),
            mention=self._settings.mention,
            summary_tokens=self._summary_tokens,
        )
        if not enquiry.report:
            raise UnreadableReport("nothing of the report can be read")
        if not model.fits(prompts.reading(enquiry.report)):
            raise UnreadableReport(TOO_LONG)
        return report, enquiry

    def _keys_of(self, text: str, language: str) -> tuple[Key, ...]:
        """Return the labels that a report is asked about."""
        if not self._settings.levels:
            return self._keys
        asked = {WHOLE, *self._named[language].of(text)}
        return tuple(key for key in self._keys if key[1] in asked)

    @property
    def _summary_tokens(self) -> int:
        return self._settings.summary_tokens if self._settings.two_step else 0

    def _find_evidence(self, read: Sequence[_Read]) -> list[dict[Key, tuple[int, ...]]]:
        if not (self._settings.evidence and self._setup.evidence):
            return [{} for _ in read]

        def margins(excerpts: Sequence[Excerpt]) -> list[dict[Key, float]]:
            model = self._model.open()
            # Sentences that are read alone only make the shortlist: a summary would be wasted.
            enquiries = [
                Enquiry(
                    read[each.case].prompts,
                    excerpt_of(read[each.case].report, each, model.markers),
                    each.keys,
                    summary_tokens=0 if each.alone else self._summary_tokens,
                )
                for each in excerpts
            ]
            replies = ask(model, enquiries, evidence.AT_ONCE * self._batch)
            return [{key: given.margin for key, given in reply.items()} for reply in replies]

        return find_evidence([self._case(each) for each in read], margins)

    def _case(self, read: _Read) -> Case:
        """Return the labels that may count: above the band's low end, as is the whole report."""
        # No higher than where thresholds look for it: new ones must not have to read again.
        floors = {
            key: min(self._threshold(key).low, self._setup.thresholds.of(*key).low)
            for key in read.replies
        }
        above = {key for key, reply in read.replies.items() if reply.margin >= floors[key]}
        wanted = [key for key in read.replies if key in above and (key[0], WHOLE) in above]
        return Case(
            len(read.report.sentences),
            {key: read.replies[key].margin for key in wanted},
            {key: floors[key] for key in wanted},
            # Without a summary the same question gives other margins.
            comparable=not self._settings.two_step,
        )

    def _results(self, read: _Read, carrying: Mapping[Key, tuple[int, ...]]) -> list[LabelResult]:
        results: list[LabelResult] = []
        for observation in self._schema.observations:
            for site in (WHOLE, *observation.sites):
                key = observation.id, site
                reply = read.replies.get(key)
                if reply is None:
                    results.append(self._not_asked(key))
                    continue
                spans = spans_of(read.report, carrying.get(key, ()))
                results.append(
                    LabelResult(
                        *key,
                        self._state(key, reply, carried=bool(spans) or not self._setup.evidence),
                        margin=reply.margin,
                        mention_margin=reply.mention_margin,
                        evidence=spans,
                        detail=_notes(reply),
                    )
                )
        return results

    def _not_asked(self, key: Key) -> LabelResult:
        if self._settings.levels:
            return LabelResult(*key, State.NOT_MENTIONED, detail=NOT_ASKED)
        return LabelResult(*key, State.FAILED, detail=LEVELS_OFF)

    def _threshold(self, key: Key) -> Threshold:
        """Return what was fitted, or else what the adapter was found to mean by its margins."""
        threshold = self._setup.thresholds.of(*key)
        band = self._band.get("whole" if key[1] == WHOLE else "sites")
        if threshold.fitted_on or not band:
            return threshold
        return replace(threshold, low=band[0], high=band[1])

    def _state(self, key: Key, reply: Reply, *, carried: bool) -> State:
        threshold = self._threshold(key)
        state = threshold.decide(reply.margin)
        if state is State.PRESENT and not carried:
            return State.UNCERTAIN
        if state is not State.ABSENT:
            return state
        if reply.mention_margin is None or reply.mention_margin < threshold.mention_cut:
            return State.NOT_MENTIONED
        return State.ABSENT

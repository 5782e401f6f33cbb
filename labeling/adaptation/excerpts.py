"""Parts of a generated report, and what they still say: a labeler reads such parts for evidence."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from labeling.adaptation.interference import Interference
from labeling.adaptation.lessons import Truth
from labeling.language import Languages
from labeling.sections import ReadableReport, UnreadableReport, read_report
from labeling.settings import LabelingSettings
from labeling.synthesis.generated import GeneratedReport, Place, Span
from labeling.token_scores.prompt import cleaned, report_for_prompt
from labeling.vocabulary import WHOLE, State

_EMPTY = 0.1
_ALONE = 0.4
_LEFT_OUT = 0.35


@dataclass(frozen=True)
class Texts:
    """Reads reports as the labelers do.

    Args:
        languages, settings: say what of a report may label.
        markers: of the model's chat format.
        interference: words that speak to a reader instead of describing a patient; None: none.
    """

    languages: Languages
    settings: LabelingSettings
    markers: Collection[str]
    interference: Interference | None = None

    def readable(self, report: GeneratedReport) -> ReadableReport | None:
        """Return a report as labelers see it; None where they refuse it."""
        try:
            return read_report(report.text, self.languages, self.settings)
        except UnreadableReport:
            return None

    def whole(self, report: GeneratedReport, read: ReadableReport) -> Truth:
        """Return all that may label."""
        return Truth.of(report, report_for_prompt(read, self.markers))

    def interfered(
        self, report: GeneratedReport, read: ReadableReport, chance: random.Random
    ) -> Truth:
        """Return all that may label, with words in it that speak to the reader."""
        words = report_for_prompt(read, self.markers)
        if self.interference is not None:
            words = cleaned(self.interference.put_into(words, chance), self.markers)
        return Truth.of(report, words)

    def excerpt(
        self, report: GeneratedReport, read: ReadableReport, chance: random.Random
    ) -> Truth:
        """Return some sentences alone, or all but some, or none; with what is still sure.

        What stays whole stays true of the report as a whole; whether a site is still meant may
        hang on a heading that was left out. Where all that carried a place went, it is not
        mentioned any more.
        """
        count, drawn = len(read.sentences), chance.random()
        if drawn < _EMPTY:
            kept: set[int] = set()
        elif drawn < _EMPTY + _ALONE:
            kept = set(chance.sample(range(count), min(count, chance.randint(1, 2))))
        else:
            kept = {index for index in range(count) if chance.random() >= _LEFT_OUT}
        spans = [read.spans[index] for index in sorted(kept)]
        gone = [read.spans[index] for index in range(count) if index not in kept]
        if drawn < _EMPTY + _ALONE:
            words = report_for_prompt(read, self.markers, only=spans)
        else:
            words = report_for_prompt(read, self.markers, without=gone)
        states = dict(_known(report, spans, gone))
        return Truth(words, states, is_part=True)


def _known(
    report: GeneratedReport, kept: Collection[Span], gone: Collection[Span]
) -> Iterable[tuple[Place, State]]:
    for place, state in report.states.items():
        carrying = report.evidence.get(place, ())
        if all(_outside(span, kept) for span in carrying):
            yield place, State.NOT_MENTIONED
        elif place[1] == WHOLE and all(_outside(span, gone) for span in carrying):
            yield place, state


def _outside(span: Span, others: Collection[Span]) -> bool:
    return all(span[1] <= start or end <= span[0] for start, end in others)

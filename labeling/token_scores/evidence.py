"""Finds, for a label of a language model, a sentence of the report that names the finding."""

from __future__ import annotations

from labeling.rules.lexicon import load_lexicon
from labeling.rules.statements import StatementFinder
from labeling.sections import READ, Kind, find_sections, find_sentences
from labeling.vocabulary import WHOLE, LabelSchema

Span = tuple[int, int]


class EvidenceFinder:
    """Looks for sentences by the words of the rule lexicon, affirmed or denied alike."""

    def __init__(self, schema: LabelSchema) -> None:
        self._finder = StatementFinder(schema, load_lexicon(schema))

    def find(self, text: str) -> dict[tuple[str, str], Span]:
        """Return by (observation, site) the first sentence that names the observation there.

        For the whole report a sentence of the impression wins over one of the findings.
        """
        sentences = [
            sentence
            for section in find_sections(text)
            if section.kind in READ
            for sentence in find_sentences(text, section)
        ]
        spans: dict[tuple[str, str], Span] = {}
        concluding: dict[tuple[str, str], Span] = {}
        for statement in self._finder.find(text, sentences):
            span = (statement.start, statement.end)
            for site in statement.sites or ():
                spans.setdefault((statement.observation, site), span)
            target = concluding if statement.kind is Kind.IMPRESSION else spans
            target.setdefault((statement.observation, WHOLE), span)
        return spans | concluding

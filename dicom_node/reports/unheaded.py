"""Finds what precedes the findings where a report has no headings: history, technique, comparison.

What is taken for one of these is not read for labels, so a finding must never be: only whole
sentences at the beginning count, only in the words that such sentences usually have, and never one
that says that something is there, is not there, or has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dicom_node.reports.headings import Headings
from dicom_node.reports.kinds import Kind

_SENTENCE = re.compile(r"\s*([^\n\r]+?(?:[.!?](?=\s|$)|(?=[\n\r]|$)))")
_LONGEST = 400  # characters of a sentence that is looked at
_MOST = 8  # sentences before the findings
_TITLE_WORDS = 8


def leading_parts(
    text: str, start: int, end: int, headings: Headings
) -> Iterator[tuple[Kind, int, int]]:
    """Yield kind and range of the sentences that stand before the findings, in order.

    A title on a line of its own may stand before them; it is not part of what is yielded.
    """
    at = start
    for number in range(_MOST + 1):
        match = _SENTENCE.match(text, at, min(end, at + _LONGEST))
        if match is None or (match.end() == at + _LONGEST and match.end() < end):
            return
        sentence = match[1].strip().rstrip(".!?")
        kind = _kind_of(sentence, headings)
        if kind is not None:
            yield kind, match.start(1), match.end()
        elif number or not _is_title(text, sentence, match.end(), end):
            return
        at = match.end()


def summary_start(text: str, start: int, end: int, headings: Headings) -> int | None:
    """Return where a closing summary begins that has no heading."""
    found = [match.end() for match in headings.summaries.finditer(text, start, end)]
    return found[-1] if found and found[-1] > start else None


def _kind_of(sentence: str, headings: Headings) -> Kind | None:
    for kind, pattern in headings.whole_sentences.items():
        if pattern.fullmatch(sentence):
            compares = kind is Kind.COMPARISON
            plain = headings.no_priors.sub("", sentence) if compares else sentence
            return None if headings.claiming.search(plain) else kind
    return None


def _is_title(text: str, sentence: str, at: int, end: int) -> bool:
    """Tell whether a line without a full stop may be the name of the examination."""
    alone = at >= end or text[at] in "\n\r"
    words = sentence.split()
    return alone and text[at - 1] not in ".!?" and len(words) <= _TITLE_WORDS

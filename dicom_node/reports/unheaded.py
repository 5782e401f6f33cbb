"""Finds what precedes the findings where a report has no headings: history, technique, comparison.

What is taken for one of these is not read for labels, so a finding must never be: only whole
sentences at the beginning count, only in the words that such sentences usually have, and never one
that says that something is there, is not there, or has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dicom_node.reports.kinds import Kind

_SENTENCE = re.compile(r"\s*([^\n\r]+?(?:[.!?](?=\s|$)|(?=[\n\r]|$)))")
_LONGEST = 400  # characters of a sentence that is looked at
_MOST = 8  # sentences before the findings
_TITLE_WORDS = 8

_STATES = re.compile(
    r"\b(?:no|not(?:ed|es)?|shows?|showing|shown|demonstrat\w*|reveal\w*|there (?:is|are|was|were)"
    r"|may|likely|probabl[ey]|possibly|compatible|opacit\w*"
    r"|seen|visuali[sz]ed|identified|evidence|present|absent|findings?|features?|consistent|unchanged"
    r"|stable|changed?|increas\w*|decreas\w*|enlarg\w*|improv\w*|worsen\w*|resol\w*|interval|new(?:ly)?"
    r"|normal|abnormal\w*|clear|intact|within|measur\w*|suggest\w*|impression|appears?|remains?"
    r"|bulg\w*|herniat\w*|protru\w*|narrow\w*|compress\w*)\b",
    re.IGNORECASE,
)
_PERSON = r"(?:male|female|man|woman|boy|girl|gentleman|lady|patient|infant|child|[mf]\b)"
_STUDY = (
    r"(?:stud(?:y|ies)|exam(?:ination)?s?|imaging|films?|radiographs?|scans?|images?|mris?|cts?)"
)
_WHOLE = {
    Kind.HISTORY: re.compile(
        rf"(?:an?\s+)?\d{{1,3}}[\s-]*(?:years?|yrs?|months?|weeks?|days?|y)[\s/-]*o(?:ld)?\b"
        rf"[\s,-]*{_PERSON}?.*"
        rf"|(?:the\s+)?(?:patient|pt)\s+(?:with|presents|presented|presenting|complains|referred)\b.*"
        r"|(?:clinical\s+)?history\s+(?:of|is)\b.*|referred\s+(?:for|with|by)\b.*"
        r"|(?:to\s+)?(?:evaluate|assess)\s+for\b.*",
        re.IGNORECASE,
    ),
    Kind.TECHNIQUE: re.compile(
        r"(?:[\w/&+,-]+\s+){0,14}?(?:views?|sequences?|images?|radiographs?|projections?|mri?|ct|scans?"
        r"|imaging)\b.{0,200}?\b(?:was|were)\s+(?:obtained|performed|acquired|taken|submitted|done)\b.*",
        re.IGNORECASE,
    ),
    Kind.COMPARISON: re.compile(
        rf"comparison\s+(?:is|was)\s+made\s+(?:to|with)\b[^,;]*"
        rf"|compar(?:ed|ison)\s+(?:to|with)\s+(?:the\s+|a\s+)?(?:prior|previous|earlier)\b[^,;]*"
        rf"|(?:there\s+are\s+)?no\s+(?:prior|previous|earlier)\s+{_STUDY}\b[^,;]*",
        re.IGNORECASE,
    ),
}
_NO_PRIORS = re.compile(r"(?:there\s+are\s+)?no\s+(?=(?:prior|previous|earlier)\b)", re.IGNORECASE)
_SUMMARY = re.compile(
    r"(?:(?<=[.!?])|^)[ \t]*(?=(?:in\s+(?:summary|conclusion)|to\s+(?:summari[sz]e|conclude))\b)",
    re.IGNORECASE | re.MULTILINE,
)


def leading_parts(text: str, start: int, end: int) -> Iterator[tuple[Kind, int, int]]:
    """Yield kind and range of the sentences that stand before the findings, in order.

    A title on a line of its own may stand before them; it is not part of what is yielded.
    """
    at = start
    for number in range(_MOST + 1):
        match = _SENTENCE.match(text, at, min(end, at + _LONGEST))
        if match is None or (match.end() == at + _LONGEST and match.end() < end):
            return
        sentence = match[1].strip().rstrip(".!?")
        kind = _kind_of(sentence)
        if kind is not None:
            yield kind, match.start(1), match.end()
        elif number or not _is_title(text, sentence, match.end(), end):
            return
        at = match.end()


def summary_start(text: str, start: int, end: int) -> int | None:
    """Return where a closing summary begins that has no heading."""
    found = [match.end() for match in _SUMMARY.finditer(text, start, end)]
    return found[-1] if found and found[-1] > start else None


def _kind_of(sentence: str) -> Kind | None:
    for kind, pattern in _WHOLE.items():
        if pattern.fullmatch(sentence):
            plain = _NO_PRIORS.sub("", sentence) if kind is Kind.COMPARISON else sentence
            return None if _STATES.search(plain) else kind
    return None


def _is_title(text: str, sentence: str, at: int, end: int) -> bool:
    """Tell whether a line without a full stop may be the name of the examination."""
    alone = at >= end or text[at] in "\n\r"
    words = sentence.split()
    return alone and text[at - 1] not in ".!?" and len(words) <= _TITLE_WORDS

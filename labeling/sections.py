"""Finds the sections and sentences of a radiology report, as offsets into its stored text.

History, indication, technique and comparison name conditions that the patient need not have, so
only findings, impression, addenda and text outside any section are read for labels
(Park et al., MICCAI 2024, drop the clinical history for the same reason).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MAXIMUM_CHARACTERS = 50_000
"""Longer texts are not reports; they are refused, not cut."""

_LONGEST_SENTENCE = 2_000
_UNREADABLE_SHARE = 0.02
_LANGUAGE_MINIMUM_WORDS = 40
_ENGLISH_SHARE = 0.08


class Kind(StrEnum):
    """What a section of a report is about."""

    TITLE = "title"
    HISTORY = "history"
    TECHNIQUE = "technique"
    COMPARISON = "comparison"
    FINDINGS = "findings"
    IMPRESSION = "impression"
    ADDENDUM = "addendum"
    RECOMMENDATION = "recommendation"
    BODY = "body"


READ = frozenset({Kind.FINDINGS, Kind.IMPRESSION, Kind.ADDENDUM, Kind.BODY})
"""Sections that may label."""

_HEADINGS: dict[Kind, str] = {
    Kind.HISTORY: r"(?:(?:clinical|relevant|patient|brief|medical)[ \t]+)?histor(?:y|ies)"
    r"|(?:clinical[ \t]+)?(?:indications?|details?|question|background)"
    r"|clinical[ \t]+(?:information|data|notes?)"
    r"|(?:reasons?|indications?)[ \t]+for[ \t]+(?:the[ \t]+)?"
    r"(?:exam(?:ination)?|study|scan|referral|mri?)"
    r"|presenting[ \t]+complaints?|symptoms?|(?:provisional[ \t]+)?clinical[ \t]+diagnosis"
    r"|history[ \t]*(?:/|and|&)[ \t]*indications?|referral",
    Kind.TECHNIQUE: r"techniques?|protocol|sequences?|procedure|exam(?:ination)?|study|scan"
    r"|imaging[ \t]+(?:technique|protocol)|mri?[ \t]+technique|contrast",
    Kind.COMPARISON: r"comparisons?|prior[ \t]+(?:studies|study|exams?|examinations?|imaging)"
    r"|previous[ \t]+(?:studies|study|exams?|imaging)|compared[ \t]+(?:with|to)",
    Kind.FINDINGS: r"(?:mri?[ \t]+|imaging[ \t]+|radiological[ \t]+)?findings?|report|description"
    r"|interpretation|result",
    Kind.IMPRESSION: r"impressions?|conclusions?|opinions?|summary|assessment"
    r"|(?:radiological[ \t]+|imaging[ \t]+)diagnosis",
    Kind.ADDENDUM: r"addend(?:um|a)(?:[ \t]+\d+)?|corrections?|amendments?|amended[ \t]+report",
    Kind.RECOMMENDATION: r"recommendations?|advice|advised?|follow[ \t\-]?up",
}

_NAMES = "|".join(f"(?P<{kind.name}>{names})" for kind, names in _HEADINGS.items())
# A heading opens a line and is followed by a colon or stands alone ...
_LINE_HEADING = re.compile(
    rf"^[ \t]*(?:[*#_\-=>]+[ \t]*)?(?:{_NAMES})[ \t]*(?:[*_=]+)?[ \t]*"
    r"(?:[:：]|(?=\r?$|\r?\n)|[ \t]-[ \t])",
    re.IGNORECASE | re.MULTILINE,
)
# ... or, where a feed delivers one long line, follows the end of a sentence.
_INLINE_HEADING = re.compile(rf"(?<=[.;!?])[ \t]+(?:{_NAMES})[ \t]*:", re.IGNORECASE)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")

_ENGLISH = re.compile(
    r"(?:the|of|and|is|are|no|with|at|in|to|there|an?|on|or|not|by|from|seen|without|this|normal"
    r"|mild|levels?|disc)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Section:
    """A part of a report: its kind, its half-open character range, and where its heading ends."""

    kind: Kind
    start: int
    end: int
    body: int


@dataclass(frozen=True)
class Sentence:
    """A sentence without surrounding blanks, and the line and section it stands in."""

    start: int
    end: int
    kind: Kind
    paragraph: int  # counts lines; sentences of one line share it


def refusal(text: str) -> str | None:
    """Say why a text cannot be read as an English report, or None where it can."""
    if not text.strip():
        return "the report is empty"
    if len(text) > MAXIMUM_CHARACTERS:
        return f"the report is longer than {MAXIMUM_CHARACTERS} characters"
    strange = sum(1 for char in text if char == "\ufffd" or (char < " " and char not in "\n\r\t\f"))
    if strange > _UNREADABLE_SHARE * len(text):
        return "the report is not text"
    words = _WORD.findall(text)
    if not words:
        return "the report holds no words"
    english = sum(1 for word in words if _ENGLISH.fullmatch(word))
    if len(words) >= _LANGUAGE_MINIMUM_WORDS and english < _ENGLISH_SHARE * len(words):
        return "language: the report does not read like English"
    return None


def find_sections(text: str) -> tuple[Section, ...]:
    """Cut a report into sections that together cover it without gap or overlap."""
    text = _with_line_feeds(text)
    marks = _headings(text)
    if not marks:
        return (Section(Kind.BODY, 0, len(text), 0),)
    findings = [mark.start for mark in marks if mark.kind is Kind.FINDINGS]
    sections: list[Section] = []
    if marks[0].start > 0:
        titled = Kind.TITLE if findings else Kind.BODY
        sections.append(Section(titled, 0, marks[0].start, 0))
    ends = [mark.start for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        section = Section(mark.kind, mark.start, end, mark.end)
        if mark.kind in READ or any(later >= end for later in findings):
            sections.append(section)
        else:
            sections.extend(_until_blank_line(text, section))
    return tuple(sections)


def _with_line_feeds(text: str) -> str:
    """Turn bare carriage returns (the line break of HL7 v2) into line feeds; offsets stay."""
    return re.sub(r"\r(?!\n)", "\n", text)


@dataclass(frozen=True)
class _Heading:
    kind: Kind
    start: int
    end: int


def _headings(text: str) -> list[_Heading]:
    """Return the headings in order."""
    found: dict[int, _Heading] = {}
    for pattern in (_LINE_HEADING, _INLINE_HEADING):
        for match in pattern.finditer(text):
            if match.lastgroup is not None:
                heading = _Heading(Kind[match.lastgroup], match.start(), match.end())
                found.setdefault(match.start(), heading)
    return [found[start] for start in sorted(found)]


def _until_blank_line(text: str, section: Section) -> Iterator[Section]:
    """End an unread section at its first blank line where no findings heading follows it.

    Without this, "History: pain", a blank line and a report without heading would be all history.
    """
    content = re.compile(r"\S").search(text, section.body, section.end)
    blank = _BLANK_LINE.search(text, content.start(), section.end) if content else None
    if blank is None or blank.end() == section.end:
        yield section
        return
    yield Section(section.kind, section.start, blank.end(), section.body)
    yield Section(Kind.BODY, blank.end(), section.end, blank.end())


_ABBREVIATION = re.compile(
    r"(?:\b(?:approx|e\.g|i\.e|vs|dr|mr|mrs|ms|prof|fig|incl|resp|cf|max|min|lt|rt|w))\.$",
    re.IGNORECASE,
)
_OPEN_END = re.compile(
    r"(?:,|\b(?:a|an|and|at|by|from|in|is|are|no|of|on|or|the|through|to|with|without|mild|moderate|severe))$",
    re.IGNORECASE,
)
_SENTENCE_BREAK = re.compile(r"[.!;](?=\s|$)|[.!](?=[A-Z])|\?(?=\s*$|\s+[A-Z])")
_BULLET = re.compile(r"\s*(?:\(?\d{1,2}[.)]|[-*•>]+)\s+")
_LINE = re.compile(r"[^\n\r\f]*")


def find_sentences(text: str, section: Section) -> Iterator[Sentence]:
    """Yield the sentences of a section in order, as ranges of the report's text."""
    text = _with_line_feeds(text)
    for number, (start, end) in enumerate(_lines(text, section.body, section.end)):
        for first, last in _split(text, start, end):
            yield Sentence(first, last, section.kind, number)


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield logical lines: a hard-wrapped line goes on where the next one begins in lower case."""
    opened: int | None = None
    closed = start
    for match in _LINE.finditer(text, start, end):
        line = match.group()
        if match.start() == match.end() and match.end() < end and text[match.end()] not in "\n\r\f":
            continue
        if not line.strip():
            # "\r\n" leaves an empty match between its two characters; only a real blank line ends.
            if opened is not None and text[closed : match.end()].count("\n") > 1:
                yield opened, closed
                opened = None
            continue
        if opened is not None and not _goes_on(text[opened:closed], line.lstrip()):
            yield opened, closed
            opened = None
        if opened is None:
            opened = match.start()
        closed = match.end()
    if opened is not None:
        yield opened, closed


def _goes_on(before: str, after: str) -> bool:
    before = before.rstrip()
    if before.endswith((".", ":", ";", "!", "?")):
        return False
    return after[:1].islower() or _OPEN_END.search(before) is not None


def _split(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    bullet = _BULLET.match(text, start, end)
    first = bullet.end() if bullet else start
    for match in _SENTENCE_BREAK.finditer(text, first, end):
        if match.group() == "." and _ABBREVIATION.search(text[first : match.end()]):
            continue
        yield from _trimmed(text, first, match.end())
        first = match.end()
    yield from _trimmed(text, first, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the range without its blanks; in pieces where it is too long to be a sentence."""
    while end - start > _LONGEST_SENTENCE:
        blank = text.rfind(" ", start, start + _LONGEST_SENTENCE)
        cut = blank if blank > start else start + _LONGEST_SENTENCE
        yield from _trimmed(text, start, cut)
        start = cut
    piece = text[start:end]
    stripped = piece.strip(" \t\r\n\f;")
    if stripped.strip(".!?-*•"):
        lead = len(piece) - len(piece.lstrip(" \t\r\n\f;"))
        yield start + lead, start + lead + len(stripped)

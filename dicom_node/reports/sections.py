"""Finds the sections of a radiology report, as offsets into its stored text.

History, indication, technique and comparison name conditions that the patient need not have, so
only findings, impression, addenda and text outside any section are read for labels
(Park et al., MICCAI 2024, drop the clinical history for the same reason).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.reports.kinds import READ, Kind
from dicom_node.reports.unheaded import leading_parts, summary_start

__all__ = ["READ", "Kind", "Section", "find_sections", "with_line_feeds"]


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
# ... or stands in the middle of such a line, where only a capital letter tells it from other words.
_BARE_HEADING = re.compile(
    r"(?<=[^\s.;!?:])[ \t]+(?=[A-Z])(?:"
    r"(?P<HISTORY>(?i:(?:clinical[ \t]+)?(?:history|indications?|information)"
    r"|reasons?[ \t]+for[ \t]+(?:the[ \t]+)?(?:exam(?:ination)?|study)))"
    r"|(?P<TECHNIQUE>(?i:techniques?))|(?P<COMPARISON>(?i:comparisons?))"
    r"|(?P<FINDINGS>(?i:findings))|(?P<IMPRESSION>(?i:impressions?|conclusions?))"
    r"|(?P<ADDENDUM>(?i:addend(?:um|a)))"
    r")[ \t]*:"
)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")


@dataclass(frozen=True)
class Section:
    """A part of a report: its kind, its half-open character range, and where its heading ends."""

    kind: Kind
    start: int
    end: int
    body: int


def find_sections(text: str) -> tuple[Section, ...]:
    """Cut a report into sections that together cover it without gap or overlap."""
    text = with_line_feeds(text)
    marks = _headings(text)
    if not marks:
        return tuple(_unheaded(text, Section(Kind.BODY, 0, len(text), 0)))
    findings = [mark.start for mark in marks if mark.kind is Kind.FINDINGS]
    sections: list[Section] = []
    if marks[0].start > 0:
        titled = Kind.TITLE if findings else Kind.BODY
        sections.extend(_unheaded(text, Section(titled, 0, marks[0].start, 0)))
    ends = [mark.start for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        section = Section(mark.kind, mark.start, end, mark.end)
        if mark.kind in READ or any(later >= end for later in findings):
            sections.append(section)
        else:
            sections.extend(_until_blank_line(text, section))
    return tuple(sections)


def _unheaded(text: str, section: Section) -> Iterator[Section]:
    """Cut what has no heading into what precedes the findings, the findings, and a summary."""
    at = section.start
    for kind, start, end in leading_parts(text, section.start, section.end):
        if start > at and text[at:start].strip():
            yield Section(section.kind, at, start, at)
            at = start
        yield Section(kind, at, end, start)
        at = end
    last = summary_start(text, at, section.end) if section.kind is Kind.BODY else None
    if last is not None:
        yield Section(section.kind, at, last, at)
        yield Section(Kind.IMPRESSION, last, section.end, last)
    elif at < section.end or at == section.start:
        yield Section(section.kind, at, section.end, at)


def with_line_feeds(text: str) -> str:
    """Turn bare carriage returns (the line break of HL7 v2) into line feeds; offsets stay."""
    return re.sub(r"\r(?!\n)", "\n", text)


@dataclass(frozen=True)
class _Heading:
    kind: Kind
    start: int
    end: int


def _headings(text: str) -> list[_Heading]:
    """Return the headings in order.

    In the middle of a line what looks like the heading of an unread section is one only where a
    heading of findings follows: findings must not be lost to a word that they mention.
    """
    found: dict[int, _Heading] = {}
    for pattern in (_LINE_HEADING, _INLINE_HEADING, _BARE_HEADING):
        last = max((each.start for each in found.values() if each.kind is Kind.FINDINGS), default=0)
        for heading in _matches(pattern, text, last):
            found.setdefault(heading.start, heading)
    return [found[start] for start in sorted(found)]


def _matches(pattern: re.Pattern[str], text: str, last_findings: int) -> Iterator[_Heading]:
    matches = [
        _Heading(Kind[match.lastgroup], match.start(), match.end())
        for match in pattern.finditer(text)
        if match.lastgroup is not None
    ]
    if pattern is not _BARE_HEADING:
        yield from matches
        return
    own = (each.start for each in matches if each.kind is Kind.FINDINGS)
    last = max((last_findings, *own))
    yield from (each for each in matches if each.kind in READ or each.start < last)


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

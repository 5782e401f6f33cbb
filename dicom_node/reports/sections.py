"""Finds the sections of a radiology report, as offsets into its stored text.

History, indication, technique and comparison name conditions that the patient need not have, so
only findings, impression, addenda and text outside any section are read for labels
(Park et al., MICCAI 2024, drop the clinical history for the same reason).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.reports.headings import Headings, english_headings
from dicom_node.reports.kinds import READ, Kind
from dicom_node.reports.unheaded import leading_parts, summary_start

__all__ = ["READ", "Kind", "Section", "find_sections", "with_line_feeds"]


_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")


@dataclass(frozen=True)
class Section:
    """A part of a report: its kind, its half-open character range, and where its heading ends."""

    kind: Kind
    start: int
    end: int
    body: int


def find_sections(text: str, headings: Headings | None = None) -> tuple[Section, ...]:
    """Cut a report into sections that together cover it without gap or overlap.

    ``headings`` are those of the report's language; English where none are given.
    """
    headings = headings or english_headings()
    text = with_line_feeds(text)
    marks = _headings(text, headings)
    if not marks:
        return tuple(_unheaded(text, Section(Kind.BODY, 0, len(text), 0), headings))
    findings = [mark.start for mark in marks if mark.kind is Kind.FINDINGS]
    sections: list[Section] = []
    if marks[0].start > 0:
        titled = Kind.TITLE if findings else Kind.BODY
        sections.extend(_unheaded(text, Section(titled, 0, marks[0].start, 0), headings))
    ends = [mark.start for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        section = Section(mark.kind, mark.start, end, mark.end)
        if mark.kind in READ or (findings and findings[-1] >= end):
            sections.append(section)
        else:
            sections.extend(_until_blank_line(text, section))
    return tuple(sections)


def _unheaded(text: str, section: Section, headings: Headings) -> Iterator[Section]:
    """Cut what has no heading into what precedes the findings, the findings, and a summary."""
    at = section.start
    for kind, start, end in leading_parts(text, section.start, section.end, headings):
        if start > at and text[at:start].strip():
            yield Section(section.kind, at, start, at)
            at = start
        yield Section(kind, at, end, start)
        at = end
    body = section.kind is Kind.BODY
    last = summary_start(text, at, section.end, headings) if body else None
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


def _headings(text: str, headings: Headings) -> list[_Heading]:
    """Return the headings in order.

    In the middle of a line what looks like the heading of an unread section is one only where a
    heading of findings follows: findings must not be lost to a word that they mention.
    """
    found: dict[int, _Heading] = {}
    for pattern in (headings.opening, headings.after_sentence):
        for heading in _matches(pattern, text):
            found.setdefault(heading.start, heading)
    within = [each for each in _matches(headings.within, text) if not _is_lower(text, each)]
    findings = [each.start for each in (*found.values(), *within) if each.kind is Kind.FINDINGS]
    last = max(findings, default=0)
    for heading in within:
        if heading.kind in READ or heading.start < last:
            found.setdefault(heading.start, heading)
    return [found[start] for start in sorted(found)]


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[_Heading]:
    for match in pattern.finditer(text):
        if match.lastgroup is not None:
            yield _Heading(Kind[match.lastgroup], match.start(), match.end())


def _is_lower(text: str, heading: _Heading) -> bool:
    return text[heading.start : heading.end].lstrip()[:1].islower()


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

"""Finds the sentences in the sections of a radiology report, as offsets into its stored text.

What may label at all, and what a section is, is said in ``dicom_node.reports.sections``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dicom_node.reports.sections import READ, Kind, Section, find_sections, with_line_feeds
from labeling.errors import Permanent
from labeling.guarding.commands import without_commands
from labeling.guarding.visible import visible
from labeling.language import ENGLISH, LanguagePack, Languages, load_languages
from labeling.settings import LabelingSettings

__all__ = [
    "READ",
    "Kind",
    "ReadableReport",
    "Section",
    "Sentence",
    "UnreadableReport",
    "find_sections",
    "find_sentences",
    "labelling_sections",
    "labelling_sentences",
    "read_report",
    "refusal",
]

_OPT_IN = frozenset({Kind.HISTORY, Kind.TECHNIQUE})

MAXIMUM_CHARACTERS = 50_000
"""Longer texts are not reports; they are refused, not cut."""

_LONGEST_SENTENCE = 2_000
_LOOK_BACK = 40  # characters; an endless line must not be read again for each of its words
_UNREADABLE_SHARE = 0.02
_UNREADABLE = frozenset({"\ufffd", "\x7f", *map(chr, range(0x80, 0xA0))})
_BLANKS = "\n\r\t\f"

_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Sentence:
    """A sentence without surrounding blanks, and the line and section it stands in."""

    start: int
    end: int
    kind: Kind
    paragraph: int  # counts lines; sentences of one line share it


class UnreadableReport(Permanent):
    """A report gets ``failed`` for every label; the message is the reason and quotes nothing."""


@dataclass(frozen=True)
class ReadableReport:
    """A report as labelers see it: its language, and what of it may label.

    All offsets refer to ``text``, the stored report. ``left_out`` are ranges within the sections
    that no sentence holds, since they speak to the reader (``labeling.guarding``).
    """

    text: str
    pack: LanguagePack
    sections: tuple[Section, ...]
    sentences: tuple[Sentence, ...]
    left_out: tuple[tuple[int, int], ...] = ()

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The sentences as half-open ranges of ``text``."""
        return tuple((each.start, each.end) for each in self.sentences)


def read_report(text: str, languages: Languages, settings: LabelingSettings) -> ReadableReport:
    """Return what of a report may label: the one way by which labelers get at its words.

    Raises:
        UnreadableReport: empty, too long, not text, in a language without a pack, or without a
            section that may label; the message is the reason for ``failed``.
    """
    if reason := refusal(text):
        raise UnreadableReport(reason)
    pack = _pack_of(text, languages)
    if pack is None:
        names = ", ".join(each.name for each in languages.packs.values())
        raise UnreadableReport(f"language: the report is not written in {names}")
    sections = labelling_sections(text, pack, settings)
    sentences = labelling_sentences(text, pack, settings)
    if not sentences:
        raise UnreadableReport("the report has no findings, impression or free text")
    return ReadableReport(text, pack, sections, sentences)


def _pack_of(text: str, languages: Languages) -> LanguagePack | None:
    """Return the pack of a report's language, which orders in another language do not decide."""
    shown = visible(text)
    pack = languages.pack_of(shown)
    if pack is not None and len(languages.packs) == 1:
        return pack
    rest = without_commands(shown)
    return languages.pack_of(rest) if rest.strip() and rest != shown else pack


def labelling_sections(
    text: str, pack: LanguagePack, settings: LabelingSettings
) -> tuple[Section, ...]:
    """Return the sections that may label, in the order of the report.

    History, indication and technique name what the patient need not have; they count only where
    the site opted in by ``label_history``. Comparison, title and recommendation never count.
    """
    read = READ | _OPT_IN if settings.label_history else READ
    found = find_sections(text, pack.headings)
    return tuple(section for section in found if section.kind in read)


def labelling_sentences(
    text: str, pack: LanguagePack, settings: LabelingSettings
) -> tuple[Sentence, ...]:
    """Return the sentences of the sections that may label, in the order of the report."""
    lines, marks = with_line_feeds(text), _marks(pack)
    return tuple(
        sentence
        for section in labelling_sections(text, pack, settings)
        for sentence in _sentences(lines, section, marks)
    )


def refusal(text: str) -> str | None:
    """Say why a text cannot be read in any language, or None where it can."""
    if not text.strip():
        return "the report is empty"
    if len(text) > MAXIMUM_CHARACTERS:
        return f"the report is longer than {MAXIMUM_CHARACTERS} characters"
    strange = sum(1 for char in text if char in _UNREADABLE or (char < " " and char not in _BLANKS))
    if strange > _UNREADABLE_SHARE * len(text):
        return "the report is not text"
    if not _WORD.search(text):
        return "the report holds no words"
    return None


_SENTENCE_BREAK = re.compile(r"[.!;](?=\s|$)|[.!](?=[A-Z])|\?(?=\s*$|\s+[A-Z])")
_BULLET = re.compile(r"\s*(?:\(?\d{1,2}[.)]|[-*•>]+)\s+")
_LINE = re.compile(r"[^\n\r\f]*")


def find_sentences(
    text: str, section: Section, pack: LanguagePack | None = None
) -> Iterator[Sentence]:
    """Yield the sentences of a section in order, as ranges of the report's text.

    ``pack`` is that of the report's language; English where none is given.
    """
    marks = _marks(pack or load_languages().packs[ENGLISH])
    yield from _sentences(with_line_feeds(text), section, marks)


def _sentences(text: str, section: Section, marks: _Marks) -> Iterator[Sentence]:
    for number, (start, end) in enumerate(_lines(text, section.body, section.end, marks)):
        for first, last in _split(text, start, end, marks):
            yield Sentence(first, last, section.kind, number)


@dataclass(frozen=True)
class _Marks:
    """What tells in a language whether a sentence ends at a full stop or a line's end."""

    abbreviation: re.Pattern[str]
    open_end: re.Pattern[str]


@lru_cache(maxsize=16)
def _compiled(abbreviations: tuple[str, ...], open_endings: tuple[str, ...]) -> _Marks:
    short = "|".join(map(re.escape, abbreviations)) or r"(?!)"
    words = "|".join(map(re.escape, open_endings)) or r"(?!)"
    return _Marks(
        abbreviation=re.compile(rf"\b(?:{short})\.$", re.IGNORECASE),
        open_end=re.compile(rf"(?:,|\b(?:{words}))$", re.IGNORECASE),
    )


def _marks(pack: LanguagePack) -> _Marks:
    return _compiled(pack.abbreviations, pack.open_endings)


def _lines(text: str, start: int, end: int, marks: _Marks) -> Iterator[tuple[int, int]]:
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
        end_of_line = text[max(opened or 0, closed - _LOOK_BACK) : closed]
        if opened is not None and not _goes_on(end_of_line, line.lstrip(), marks):
            yield opened, closed
            opened = None
        if opened is None:
            opened = match.start()
        closed = match.end()
    if opened is not None:
        yield opened, closed


def _goes_on(before: str, after: str, marks: _Marks) -> bool:
    before = before.rstrip()
    if before.endswith((".", ":", ";", "!", "?")):
        return False
    return after[:1].islower() or marks.open_end.search(before) is not None


def _split(text: str, start: int, end: int, marks: _Marks) -> Iterator[tuple[int, int]]:
    bullet = _BULLET.match(text, start, end)
    first = bullet.end() if bullet else start
    for match in _SENTENCE_BREAK.finditer(text, first, end):
        if match.group() == "." and marks.abbreviation.search(
            text[max(first, match.end() - _LOOK_BACK) : match.end()]
        ):
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

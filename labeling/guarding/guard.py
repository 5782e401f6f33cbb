"""Leaves out of a report what speaks to its reader, so that a model never reads it.

A sentence is judged by itself and with its neighbours ("Question: ... Answer: yes."). Of a
sentence that also says something else only the clauses that command are left out. A sentence in
another language than the report's is neither: nobody here can say what it claims, so the report
cannot be read.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from labeling.guarding.commands import (
    ENOUGH,
    NOTHING,
    STRONG,
    Score,
    is_answer,
    score,
    speaks_for_another,
)
from labeling.guarding.visible import visible
from labeling.labeler import Span
from labeling.language import LanguagePack
from labeling.language_detection import impression
from labeling.sections import ReadableReport, Sentence, UnreadableReport

ONLY_COMMANDS = "the report holds nothing but text that speaks to its reader"
LEFT_OUT = "left out of what was read: text that speaks to its reader, not of a patient"
"""What the labels of a report say from which something was left out."""

_CLAUSE_BREAK = re.compile(
    r"[,;:|\n\r]+\s*|\s[-\u2013\u2014]+\s|(?<=[.!?])(?!\d)\s*|(?=[<\[{]|```|[*=#_-]{3})"
    r"|\s(?=[A-Z]{3,15}\s?[:=])"
)
_CAPITALISED = re.compile(r"\W*[^\W\d_a-z][^\W\d_A-Z]+\W*")
_UNBROKEN = re.compile(r"\S*\w\S*")
_LETTER = re.compile(r"\w")
_AROUND = frozenset(" \t\r\n\f-*=#~_,;:")
_ROW_OF_ANSWERS = 3
_LONG_START = 5  # words before an order that has no capital and no sign before it
_FEW_WORDS = 6  # the classifier of languages reads less as anything
_KNOWN_SHARE = 0.15
_SURE = 0.95
_WORD = re.compile(r"[^\W\d_]{2,}")
_LATIN_END = 0x250


def guarded(report: ReadableReport) -> ReadableReport:
    """Return a report without the sentences and clauses that command whoever reads it.

    They are listed in ``left_out`` and stand in no sentence, so no prompt and no evidence holds
    them.

    Raises:
        UnreadableReport: nothing else is left, or a sentence is in another language.
    """
    scores = [score(report.text[each.start : each.end]) for each in report.sentences]
    commands = _commanding(scores)
    kept: list[Sentence] = []
    left_out: list[Span] = []
    for number, sentence in enumerate(report.sentences):
        if number not in commands:
            # A rule of dashes says nothing, and what is left out may reach over it.
            if not commands or _LETTER.search(report.text, sentence.start, sentence.end):
                kept.append(sentence)
            continue
        start, end = _commanding_range(report.text, sentence)
        left_out.append((start, end))
        kept += _rest(report.text, sentence, sentence.start, start)
        kept += _rest(report.text, sentence, end, sentence.end)
    if not kept:
        raise UnreadableReport(ONLY_COMMANDS)
    if any(_is_foreign(report.text[each.start : each.end], report.pack) for each in kept):
        raise UnreadableReport(f"language: a part of the report is not in {report.pack.name}")
    return replace(
        report, sentences=tuple(kept), left_out=tuple(_joined(report.text, left_out, kept))
    )


def _commanding(scores: Sequence[Score]) -> set[int]:
    """Return the sentences that command: alone, as a run, or beside one that does."""
    found = {number for number, each in enumerate(scores) if each.is_command}
    for run in _runs(scores, lambda each: each.strong >= STRONG):
        if len(run) > 1 and sum(scores[number].total for number in run) >= ENOUGH:
            found |= set(run)
    for run in _runs(scores, lambda each: each.total >= STRONG):
        if found & set(run):
            found |= set(run)
    return found


def _runs(scores: Sequence[Score], holds: Callable[[Score], bool]) -> Iterator[list[int]]:
    run: list[int] = []
    for number, each in enumerate([*scores, NOTHING]):
        if number < len(scores) and holds(each):
            run.append(number)
        elif run:
            yield run
            run = []


def _clauses(text: str, sentence: Sentence) -> Iterator[Span]:
    """Yield the clauses of a sentence, each with the sign that ends it."""
    start = sentence.start
    for match in _CLAUSE_BREAK.finditer(text, sentence.start, sentence.end):
        if match.end() > start:
            yield start, match.end()
            start = match.end()
    if start < sentence.end:
        yield start, sentence.end


def _commanding_range(text: str, sentence: Sentence) -> Span:
    """Return what of a commanding sentence is to go: from its first order to its last."""
    pieces = list(_clauses(text, sentence))
    strong = [each for each in pieces if score(text[each[0] : each[1]]).total >= STRONG]
    if not strong:
        return sentence.start, sentence.end
    start, end = strong[0][0], strong[-1][1]
    if speaks_for_another(text[sentence.start : sentence.end]):
        end = sentence.end  # what follows a marker, an opened object or a role belongs to it
    return start + _before_order(text[start : strong[0][1]]), end


def _before_order(clause: str) -> int:
    """Return how many characters of a clause stand before its order, where they say something.

    A note without a full stop may run into an order, which a capital or some words before it tell.
    """
    words = [(match.start(), visible(match.group())) for match in _UNBROKEN.finditer(clause)]
    answers = list(takewhile(lambda each: is_answer(each[1]), reversed(words)))
    if len(answers) >= _ROW_OF_ANSWERS and score(clause[: answers[-1][0]]).total < STRONG:
        return answers[-1][0]
    whole = score(clause).strong
    capitals = [start for start, word in words[2:] if _CAPITALISED.fullmatch(word)]
    if not capitals and words and _CAPITALISED.fullmatch(words[0][1]):
        return 0  # a sentence of its own
    for starts in (capitals, [start for start, _ in words[_LONG_START:]]):
        # What stands before only grows with the start, and what follows shrinks: few are tried.
        later = bisect_left(
            starts,
            True,
            key=lambda start: (
                score(clause[:start]).total >= STRONG or score(clause[start:]).strong != whole
            ),
        )
        if later:
            return starts[later - 1]
    return 0


def _rest(text: str, sentence: Sentence, start: int, end: int) -> Iterator[Sentence]:
    """Yield what is left of a sentence on one side, where it holds a word."""
    while start < end and text[start] in _AROUND:
        start += 1
    while start < end and text[end - 1] in _AROUND:
        end -= 1
    if _WORD.search(text, start, end):
        yield replace(sentence, start=start, end=end)


def _joined(text: str, spans: Sequence[Span], kept: Sequence[Sentence]) -> Iterator[Span]:
    """Yield the ranges with the rules and bullets around them, joined where no word parts them."""
    waiting: Span | None = None
    for start, end in spans:
        floor = max((each.end for each in kept if each.end <= start), default=0)
        while start > floor and text[start - 1] in _AROUND:
            start -= 1
        if waiting is not None and not _LETTER.search(text, waiting[1], start):
            waiting = waiting[0], end
            continue
        if waiting is not None:
            yield waiting
        waiting = start, end
    if waiting is not None:
        yield waiting


def _is_foreign(sentence: str, pack: LanguagePack) -> bool:
    """Tell whether a sentence is surely in another language than the pack's."""
    found = [word.lower() for word in _WORD.findall(visible(sentence))]
    known = sum(1 for word in found if word in pack.words)
    if known > _KNOWN_SHARE * len(found) or not pack.words:
        return False
    if _other_script(found) and not _other_script(pack.words):
        return True
    if len(found) < _FEW_WORDS:
        return False
    seen = impression(sentence)
    return seen.code not in {pack.code, *pack.detected_as} and seen.probability >= _SURE


def _other_script(words: Sequence[str] | frozenset[str]) -> bool:
    letters = "".join(words)
    return sum(1 for char in letters if ord(char) >= _LATIN_END) * 2 > len(letters)

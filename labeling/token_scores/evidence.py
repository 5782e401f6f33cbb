"""Finds the sentences that carry a label: those without which the answer changes most.

The report is read again without a sentence, and the margin that is lost says what it carried; no
word of the report is looked up. A long report is narrowed down first by reading its sentences
alone, which is shorter. Works for anything that turns an excerpt of a report into margins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace

from labeling.labeler import Span
from labeling.sections import ReadableReport
from labeling.token_scores.prompt import report_for_prompt

Key = tuple[str, str]
"""Observation and site."""

MINIMUM_LOSS = 0.5
"""Logits: a sentence that costs less carries nothing, unless the label falls without it."""

MAXIMUM_SENTENCES = 4
"""As many sentences are taken away together before the search for a label ends."""

_DIRECT = 8  # so many sentences are each taken away; of more, the best are found first
_WIDTH = 48  # groups that are read alone at once
_SHORTLIST = 4  # of them go on


@dataclass(frozen=True)
class Case:
    """A report and the margins of its labels for which evidence is wanted.

    Args:
        sentences: how many sentences it has.
        margins: of the whole report.
        floors: a label whose margin is below its floor has fallen.
        comparable: whether sentences that are read alone are asked about in the same way, so that
            their margins can be held against those of the whole report.
    """

    sentences: int
    margins: Mapping[Key, float]
    floors: Mapping[Key, float]
    comparable: bool = True


@dataclass(frozen=True)
class Excerpt:
    """A part of a report to be asked about: all but some sentences, or those alone.

    ``case`` and ``sentences`` are indices; ``keys`` are the labels whose margins are wanted.
    """

    case: int
    sentences: frozenset[int]
    alone: bool
    keys: tuple[Key, ...]


Ask = Callable[[Sequence[Excerpt]], Sequence[Mapping[Key, float]]]
"""Returns for each excerpt, in order, the margin of each of its keys."""

_Sets = Mapping[tuple[Key, int], frozenset[int]]  # by label and a number: sentences
_Search = Generator[list[Excerpt], Sequence[Mapping[Key, float]], dict[Key, tuple[int, ...]]]
_Round = Generator[list[Excerpt], Sequence[Mapping[Key, float]], dict[tuple[Key, int], float]]
_Left = Generator[list[Excerpt], Sequence[Mapping[Key, float]], dict[Key, list[int]]]


def find_evidence(cases: Sequence[Case], ask: Ask) -> list[dict[Key, tuple[int, ...]]]:
    """Return for each case, by label, the indices of the sentences that carry it, in that order.

    The first is the sentence whose removal costs most. Where the label stands without it, further
    ones are taken away with it, up to ``MAXIMUM_SENTENCES``. A label that no sentence carries, so
    that it is the model's habit and not the report's word, has an empty tuple.

    All cases search at the same time, so that ``ask`` gets much to read at once.
    """
    found: list[dict[Key, tuple[int, ...]]] = [{} for _ in cases]
    searches = {number: _search(number, case) for number, case in enumerate(cases)}
    waiting: dict[int, list[Excerpt]] = {}
    for number, search in list(searches.items()):
        _go_on(number, search, None, waiting, found)
    while waiting:
        answers = iter(ask([excerpt for excerpts in waiting.values() for excerpt in excerpts]))
        asked, waiting = waiting, {}
        for number, excerpts in asked.items():
            given = [next(answers) for _ in excerpts]
            _go_on(number, searches[number], given, waiting, found)
    return found


def excerpt_of(report: ReadableReport, excerpt: Excerpt, markers: Collection[str]) -> str:
    """Return the words of an excerpt, made harmless for a prompt."""
    spans = [report.spans[index] for index in excerpt.sentences]
    if excerpt.alone:
        return report_for_prompt(report, markers, only=spans)
    return report_for_prompt(report, markers, without=spans)


def spans_of(report: ReadableReport, sentences: Sequence[int]) -> tuple[Span, ...]:
    """Return the ranges of the stored text in which these sentences stand."""
    return tuple(report.spans[index] for index in sentences)


def _go_on(
    number: int,
    search: _Search,
    given: Sequence[Mapping[Key, float]] | None,
    waiting: dict[int, list[Excerpt]],
    found: list[dict[Key, tuple[int, ...]]],
) -> None:
    """Take a search to its next question, or note what it found."""
    try:
        waiting[number] = next(search) if given is None else search.send(given)
    except StopIteration as end:
        found[number] = end.value


def _search(number: int, case: Case) -> _Search:
    if not case.margins or not case.sentences:
        return dict.fromkeys(case.margins, ())
    habits = (yield from _habits(number, case)) if case.comparable else frozenset()
    case = replace(case, margins={k: m for k, m in case.margins.items() if k not in habits})
    if not case.margins:
        return dict.fromkeys(habits, ())
    left = yield from _shortlist(number, case)
    removed = {(key, s): frozenset({s}) for key, candidates in left.items() for s in candidates}
    margins = yield from _read(number, removed, alone=False)
    order = {
        key: sorted(candidates, key=lambda s, key=key: margins[key, s])  # type: ignore[misc]
        for key, candidates in left.items()
    }
    found: dict[Key, tuple[int, ...]] = {}
    standing: dict[Key, float] = {}
    for key, (first, *_) in order.items():
        _judge(case, key, first, margins[key, first], found, standing)
    for count in range(2, MAXIMUM_SENTENCES + 1):
        tried = {
            (key, count): frozenset(order[key][:count])
            for key in standing
            if len(order[key]) >= count
        }
        for (key, _), margin in (yield from _read(number, tried, alone=False)).items():
            _judge(case, key, order[key][count - 1], margin, found, standing)
    return found | dict.fromkeys(habits, ())


def _habits(
    number: int, case: Case
) -> Generator[list[Excerpt], Sequence[Mapping[Key, float]], frozenset[Key]]:
    """Return the labels that stand as high over a report without any sentence.

    They are what the model says of every report; one short reading spares the search for words.
    """
    nothing: dict[tuple[Key, int], frozenset[int]] = {(key, 0): frozenset() for key in case.margins}
    margins = yield from _read(number, nothing, alone=True)
    return frozenset(
        key
        for (key, _), margin in margins.items()
        if margin >= case.floors[key] and case.margins[key] - margin < MINIMUM_LOSS
    )


def _judge(
    case: Case,
    key: Key,
    sentence: int,
    margin: float,
    found: dict[Key, tuple[int, ...]],
    standing: dict[Key, float],
) -> None:
    """Note whether one more sentence, taken away, mattered, and whether the label still stands."""
    before = standing.get(key, case.margins[key])
    fallen = margin < case.floors[key]
    carried = found.setdefault(key, ())
    if before - margin >= MINIMUM_LOSS or (fallen and margin < before):
        found[key] = (*carried, sentence)
    if fallen:
        standing.pop(key, None)
    else:
        standing[key] = margin


def _shortlist(number: int, case: Case) -> _Left:
    """Return by label the sentences to try, narrowed down by reading groups of them alone."""
    left = {key: list(range(case.sentences)) for key in case.margins}
    while case.sentences > _DIRECT and max(map(len, left.values())) > _DIRECT:
        groups = {key: _grouped(sentences) for key, sentences in left.items()}
        alone = {
            (key, index): frozenset(group)
            for key, grouped in groups.items()
            for index, group in enumerate(grouped)
        }
        margins = yield from _read(number, alone, alone=True)
        for key, grouped in groups.items():
            ranked = sorted(
                range(len(grouped)),
                key=lambda index, key=key: -margins[key, index],  # type: ignore[misc]
            )
            left[key] = sorted(s for index in ranked[:_SHORTLIST] for s in grouped[index])
    return left


def _grouped(sentences: Sequence[int]) -> list[Sequence[int]]:
    size = -(-len(sentences) // _WIDTH)
    return [sentences[start : start + size] for start in range(0, len(sentences), size)]


def _read(number: int, sets: _Sets, *, alone: bool) -> _Round:
    """Ask about each set of sentences; labels that need the same excerpt share a reading."""
    keys: dict[frozenset[int], list[tuple[Key, int]]] = {}
    for label, sentences in sets.items():
        keys.setdefault(sentences, []).append(label)
    if not keys:
        return {}
    excerpts = [
        Excerpt(number, sentences, alone, tuple(dict.fromkeys(key for key, _ in labels)))
        for sentences, labels in keys.items()
    ]
    given = yield excerpts
    return {
        (key, index): answers[key]
        for answers, labels in zip(given, keys.values(), strict=True)
        for key, index in labels
    }

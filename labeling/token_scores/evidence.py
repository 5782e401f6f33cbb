"""Finds the sentences that carry a label: those that are missed where they are taken away.

No word of the report is looked up. Each sentence is read alone, which is short, to see what the
margin gains by it over an empty report; then the report is read without those that gain, and the
margin that is lost says whether they carry the label. Which of them are of a site, their readings
alone tell. Works for anything that turns an excerpt of a report into margins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from labeling.labeler import Span
from labeling.sections import ReadableReport
from labeling.token_scores.prompt import report_for_prompt
from labeling.vocabulary import WHOLE

Key = tuple[str, str]
"""Observation and site."""

MINIMUM_LOSS = 0.5
"""Logits: sentences that cost less carry nothing, unless the label falls without them."""

MAXIMUM_SENTENCES = 4
"""So many are named, the strongest first; more may be taken away together."""

SHARE = 0.6
"""A sentence is named that gains so much of what the best one gains."""

AT_ONCE = 8
"""So many excerpts are worth one report of a batch: they are short."""

_WIDTH = 48  # groups of sentences that are read alone at once
_CANDIDATES = 12  # the best of them are read sentence by sentence
_MAYBE = 0.3  # as SHARE, of the sentences in which a site is sought first
_DOUBTFUL = 4  # go on where none gains enough
_PARTS = 8  # of a report, each taken away where no sentence says a label by itself
_SEVERAL = 3  # sentences, from which on all of them can be held against each other

_LIMITS = (_WIDTH, _CANDIDATES, _MAYBE, _DOUBTFUL, _PARTS, _SEVERAL)

FORM = (2, MINIMUM_LOSS, MAXIMUM_SENTENCES, SHARE, *_LIMITS)
"""What decides which sentences are found, for digests; the first number is that of the search."""


@dataclass(frozen=True)
class Case:
    """A report and the margins of its labels for which evidence is wanted.

    Args:
        sentences: how many sentences it has.
        margins: of the whole report.
        floors: a label whose margin is below its floor has fallen.
        comparable: whether an empty report is asked about in the same way, so that its margins can
            be held against those of the whole report.
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
_Gains = Mapping[int, float]  # by sentence: what the margin gains over an empty report
_Found = dict[Key, tuple[int, ...]]  # by label: the sentences that carry it
_Result = TypeVar("_Result")
# Yields what it has to ask, is sent the answers, and ends with a result.
_Search = Generator[list[Excerpt], Sequence[Mapping[Key, float]], _Result]


def find_evidence(cases: Sequence[Case], ask: Ask) -> list[_Found]:
    """Return for each case, by label, the indices of the sentences that carry it, in that order.

    A label that loses nothing without them, so that it is the model's habit and not the report's
    word, has an empty tuple, and so have its sites.

    All cases search at the same time, so that ``ask`` gets much to read at once.
    """
    found: list[_Found] = [{} for _ in cases]
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
    search: _Search[_Found],
    given: Sequence[Mapping[Key, float]] | None,
    waiting: dict[int, list[Excerpt]],
    found: list[_Found],
) -> None:
    """Take a search to its next question, or note what it found."""
    try:
        waiting[number] = next(search) if given is None else search.send(given)
    except StopIteration as end:
        found[number] = end.value


def _search(number: int, case: Case) -> _Search[_Found]:
    if not case.margins or not case.sentences:
        return dict.fromkeys(case.margins, ())
    everywhere = range(case.sentences)
    base = yield from _base(number, case)
    leading = {key: _leading(key, case) for key in base}
    gains = yield from _gains(
        number, {key: everywhere for key, lead in leading.items() if key == lead}, base
    )
    found = yield from _judged(number, case, gains)
    near = {
        key: _most(gains[lead], _MAYBE)
        for key, lead in leading.items()
        if key != lead and found.get(lead)  # a site cannot count where the whole label does not
    }
    at_sites = yield from _gains(number, near, base)
    astray = [key for key, gained in at_sites.items() if not _strong(gained)]
    at_sites |= yield from _gains(number, dict.fromkeys(astray, everywhere), base)
    # The whole label has shown that sentences of the report carry it; which one is of the site?
    told = {key: gained for key, gained in at_sites.items() if case.comparable and _strong(gained)}
    found |= {key: _most(gained, SHARE)[:MAXIMUM_SENTENCES] for key, gained in told.items()}
    rest = {key: gained for key, gained in at_sites.items() if key not in told}
    found |= yield from _judged(number, case, rest)
    return dict.fromkeys(case.margins, ()) | found


def _base(number: int, case: Case) -> _Search[dict[Key, float]]:
    """Return the margins of an empty report, of all labels but those that are a habit.

    What stands as high over nothing the model says of every report: no sentence carries it, and
    the search for one is spared.
    """
    nothing = {(key, 0): frozenset[int]() for key in case.margins}
    empty = yield from _read(number, nothing, alone=True)

    def is_habit(key: Key, margin: float) -> bool:
        stands = case.comparable and margin >= case.floors[key]
        return stands and case.margins[key] - margin < MINIMUM_LOSS

    return {key: margin for (key, _), margin in empty.items() if not is_habit(key, margin)}


def _leading(key: Key, case: Case) -> Key:
    """Return the whole label of a site; where that is not wanted, the site leads itself."""
    return (key[0], WHOLE) if (key[0], WHOLE) in case.margins else key


def _judged(number: int, case: Case, gains: Mapping[Key, _Gains]) -> _Search[_Found]:
    """Return by label the sentences that are missed where all that gain are taken away.

    All of them, so that one that says it again, less clearly, hides nothing.
    """
    strong = {key: _strong(gained) for key, gained in gains.items()}
    taken = {(key, 0): frozenset(sentences) for key, sentences in strong.items() if sentences}
    left = yield from _read(number, taken, alone=False)
    found: _Found = dict.fromkeys(gains, ())
    for (key, _), margin in left.items():
        if _is_lost(case, key, margin) and not _is_any(case, gains[key]):
            found[key] = _most(gains[key], SHARE)[:MAXIMUM_SENTENCES]
    return found | (yield from _missed(number, case, [key for key in gains if not strong[key]]))


def _is_lost(case: Case, key: Key, margin: float) -> bool:
    """Tell whether what was taken away mattered: the label fell, or lost much."""
    lost = case.margins[key] - margin
    return lost >= MINIMUM_LOSS or (lost > 0 and margin < case.floors[key])


def _is_any(case: Case, gains: _Gains) -> bool:
    """Tell whether any words at all gain the same: that, too, is a habit of the model."""
    alike = max(gains.values()) - min(gains.values()) < MINIMUM_LOSS
    return alike and len(gains) == case.sentences >= _SEVERAL


def _missed(number: int, case: Case, keys: Collection[Key]) -> _Search[_Found]:
    """Return by label what is missed most, for labels that no sentence says by itself.

    Parts of the report are taken away, then parts of the part that is missed, down to a sentence.
    """
    found: _Found = dict.fromkeys(keys, ())
    left: dict[Key, Sequence[int]] = dict.fromkeys(keys, range(case.sentences))
    while left:
        parts = {key: _grouped(sentences, _PARTS) for key, sentences in left.items()}
        margins = yield from _read(number, _numbered(parts), alone=False)
        left = {}
        for key, of_it in parts.items():
            lowest = min(range(len(of_it)), key=lambda index, key=key: margins[key, index])  # type: ignore[misc]
            if not _is_lost(case, key, margins[key, lowest]):
                continue
            if len(of_it[lowest]) == 1:
                found[key] = (of_it[lowest][0],)
            else:
                left[key] = of_it[lowest]
    return found


def _gains(
    number: int, sought: Mapping[Key, Sequence[int]], base: Mapping[Key, float]
) -> _Search[dict[Key, _Gains]]:
    """Return by label what its best sentences gain alone; many are first read in groups."""
    groups = {key: _grouped(sentences, _WIDTH) for key, sentences in sought.items()}
    margins = yield from _read(number, _numbered(groups), alone=True)
    found: dict[Key, _Gains] = {}
    further: dict[Key, list[int]] = {}
    for key, grouped in groups.items():
        gains = {n: margins[key, n] - base[key] for n in range(len(grouped))}
        best = _strong(gains) or _ordered(gains)[:_DOUBTFUL]
        if len(grouped) == len(sought[key]):
            found[key] = {grouped[n][0]: gains[n] for n in best}
        else:
            further[key] = sorted(s for n in best[:_CANDIDATES] for s in grouped[n])
    if further:
        found |= yield from _gains(number, further, base)
    return found


def _ordered(gains: _Gains) -> list[int]:
    return sorted(gains, key=lambda each: -gains[each])


def _strong(gains: _Gains) -> list[int]:
    return [each for each in _ordered(gains) if gains[each] >= MINIMUM_LOSS]


def _most(gains: _Gains, share: float) -> tuple[int, ...]:
    """Return those that gain a share of what the best one does, the strongest first."""
    return tuple(each for each in _strong(gains) if gains[each] >= share * max(gains.values())) or (
        _ordered(gains)[0],
    )


def _grouped(sentences: Sequence[int], most: int) -> list[Sequence[int]]:
    size = -(-len(sentences) // most)
    return [sentences[start : start + size] for start in range(0, len(sentences), size)]


def _numbered(groups: Mapping[Key, Sequence[Sequence[int]]]) -> _Sets:
    """Return each group of a label's sentences by its number."""
    return {
        (key, index): frozenset(group)
        for key, grouped in groups.items()
        for index, group in enumerate(grouped)
    }


def _read(number: int, sets: _Sets, *, alone: bool) -> _Search[dict[tuple[Key, int], float]]:
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

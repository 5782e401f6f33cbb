"""Finds the sentences that carry a label: those without which it is no longer said.

No word of the report is looked up. Sentences are read alone, which is short: the margin that is
lost where such a sentence is taken away, too, says what it carries. Where no sentence alone makes
the label stand, the report is read without those that carry most. Works for anything that turns an
excerpt of a report into margins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass

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
"""A sentence carries a label that alone gains so much of what the best one gains."""

_WIDTH = 48  # groups of sentences that are read alone at once
_CANDIDATES = 12  # sentences that are taken away together at most
_DOUBTFUL = 4  # go on where none gains enough
_MAYBE = 0.3  # as SHARE, for what is looked at more closely: one site may be said less clearly


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
_Search = Generator[list[Excerpt], Sequence[Mapping[Key, float]], dict[Key, tuple[int, ...]]]
_Round = Generator[list[Excerpt], Sequence[Mapping[Key, float]], dict[tuple[Key, int], float]]
_Gains = Mapping[int, float]  # by sentence: what the margin gains over an empty report
_Gained = Generator[list[Excerpt], Sequence[Mapping[Key, float]], dict[Key, _Gains]]


def find_evidence(cases: Sequence[Case], ask: Ask) -> list[dict[Key, tuple[int, ...]]]:
    """Return for each case, by label, the indices of the sentences that carry it, in that order.

    Those that have to be taken from the report are taken together, so that one that repeats
    another hides nothing. A label that loses nothing, so that it is the model's habit and not the
    report's word, has an empty tuple. A label at a site is sought in the sentences that may carry
    the whole one.

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
    nothing = {(key, 0): frozenset[int]() for key in case.margins}
    empty = yield from _read(number, nothing, alone=True)
    base = {key: empty[key, 0] for key in case.margins if not _is_habit(case, key, empty[key, 0])}
    gains = yield from _gains(number, case, base)
    carrying = {key: _strongest(gained, SHARE) for key, gained in gains.items()}
    doubted = {
        (key, 0): frozenset(sentences)
        for key, sentences in carrying.items()
        if not _is_carried(case, key, base[key], gains[key][sentences[0]])
    }
    left = yield from _read(number, doubted, alone=False)
    kept = {key for (key, _), margin in left.items() if not _is_lost(case, key, margin)}
    return dict.fromkeys(case.margins, ()) | {
        key: sentences[:MAXIMUM_SENTENCES] for key, sentences in carrying.items() if key not in kept
    }


def _is_carried(case: Case, key: Key, empty: float, gain: float) -> bool:
    """Tell whether a sentence alone shows that it carries a label, so that none is taken away.

    The label stands on it and falls where it, too, is gone. At a site a gain is enough: the whole
    label has shown that the sentence speaks of it.
    """
    stands = case.comparable and empty < case.floors[key] <= empty + gain
    follows = key[1] != WHOLE and (key[0], WHOLE) in case.margins
    return gain >= MINIMUM_LOSS and (stands or follows)


def _is_habit(case: Case, key: Key, empty: float) -> bool:
    """Tell whether the label stands as high over an empty report: the model says it of every one.

    No sentence carries it, and the search for one is spared.
    """
    stands = case.comparable and empty >= case.floors[key]
    return stands and case.margins[key] - empty < MINIMUM_LOSS


def _is_lost(case: Case, key: Key, margin: float) -> bool:
    """Tell whether what was taken away mattered: the label fell, or lost much."""
    lost = case.margins[key] - margin
    return lost >= MINIMUM_LOSS or (lost > 0 and margin < case.floors[key])


def _gains(number: int, case: Case, base: Mapping[Key, float]) -> _Gained:
    """Return by label the sentences that may carry it, with what each gains alone over ``base``."""
    leading = {key: key for key in base}
    leading |= {key: (key[0], WHOLE) for key in base if (key[0], WHOLE) in base}
    everywhere = range(case.sentences)
    found = yield from _narrowed(number, dict.fromkeys(leading.values(), everywhere), base)
    sites = {key: sorted(found[lead]) for key, lead in leading.items() if lead != key}
    return found | (yield from _narrowed(number, sites, base))


def _narrowed(
    number: int, sought: Mapping[Key, Sequence[int]], base: Mapping[Key, float]
) -> _Gained:
    """Return by label the best of these sentences; many are first read in groups."""
    groups = {key: _grouped(sentences) for key, sentences in sought.items()}
    alone = {
        (key, index): frozenset(group)
        for key, grouped in groups.items()
        for index, group in enumerate(grouped)
    }
    margins = yield from _read(number, alone, alone=True)
    found: dict[Key, _Gains] = {}
    further: dict[Key, list[int]] = {}
    for key, grouped in groups.items():
        gains = {n: margins[key, n] - base[key] for n in range(len(grouped))}
        best = _strongest(gains, _MAYBE, otherwise=_DOUBTFUL)
        if len(grouped) == len(sought[key]):
            found[key] = {grouped[n][0]: gains[n] for n in best}
        else:
            further[key] = sorted(s for n in best for s in grouped[n])
    if further:
        found |= yield from _narrowed(number, further, base)
    return found


def _strongest(gains: _Gains, share: float, *, otherwise: int = 1) -> tuple[int, ...]:
    """Return those that gain most, the strongest first; some of them where none gains enough."""
    ordered = sorted(gains, key=lambda each: -gains[each])
    least = max(MINIMUM_LOSS, share * gains[ordered[0]])
    enough = tuple(each for each in ordered if gains[each] >= least)
    return enough[:_CANDIDATES] or tuple(ordered[:otherwise])


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

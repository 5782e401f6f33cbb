"""Decides whether a sentence affirms, doubts or denies a finding that it names.

Works in the manner of NegEx (Chapman et al., J Biomed Inform 2001) and ConText: cues with a
scope that runs over lists and ends at words that open a new statement. The cues are those of the
report's language (``labeling.cues``).
"""

from __future__ import annotations

import re

from labeling.cues import Cues, one_of, word_of
from labeling.vocabulary import State

_FLAGS = re.IGNORECASE
_REACH = 400  # characters; keeps the work linear where a peer sends one endless sentence
_NEAR = 60
_QUESTION = "[?\u061f\uff1f]"


class Assertion:
    """Reads what stands around the name of a finding."""

    def __init__(self, cues: Cues) -> None:
        self._pseudo = _compiled(one_of(cues.pseudo_negations))
        self._hedge = _compiled(rf"{word_of(cues.hedges)}|{_QUESTION}")
        self._post_hedge = _compiled(rf"{one_of(cues.hedges_after)}|{_QUESTION}")
        self._denial = _compiled(word_of(cues.denials))
        # "no severe stenosis" leaves room for a mild one.
        self._degree = _compiled(rf"^\s*(?:evidence\s+of\s+)?{one_of(cues.strong_degrees)}\b")
        stop, after = word_of(cues.denials_after_stop), one_of(cues.denials_after)
        self._post_denial = _compiled(
            rf"^(?:(?!{stop})[\w\s,/()'\-])*?{after}"
            rf"|^\s*[:=\-–]\s*{one_of(cues.denials_after_colon)}\b"
        )
        self._not_claimed = _compiled(rf"{word_of(cues.not_claimed)}[^.;:]*$")
        # A new statement begins: what was denied or doubted before does not reach beyond.
        self._boundary = _compiled(one_of(cues.boundaries))
        # Ends the scope unless a list goes on ("no herniation, severe stenosis or slip").
        self._soft_boundary = _compiled(one_of(cues.soft_boundaries))
        self._list_goes_on = _compiled(word_of(cues.list_words))
        self._tail_end = _compiled(one_of(cues.tail_ends))

    def state(self, sentence: str, start: int, end: int) -> State | None:
        """Return the state that ``sentence`` gives to the finding named in ``[start, end)``.

        Returns:
            PRESENT, UNCERTAIN or ABSENT; None where nothing is claimed (a history, a question).
        """
        before = self._pseudo.sub(_blank, sentence[max(0, start - _REACH) : start])
        after = self._pseudo.sub(_blank, sentence[end : end + _REACH])
        if self._not_claimed.search(self._scope(before, "")):
            return None
        tail = self._tail_end.split(after, maxsplit=1)[0]
        scope = self._scope(before, tail)
        if self._hedge.search(scope) or self._post_hedged(tail):
            return State.UNCERTAIN
        denials = list(self._denial.finditer(scope))
        if denials:
            degree = self._degree.match(scope[denials[-1].end() :] + sentence[start:end])
            return State.UNCERTAIN if degree else State.ABSENT
        return State.ABSENT if self._post_denial.search(tail) else State.PRESENT

    def _post_hedged(self, tail: str) -> bool:
        match = self._post_hedge.search(tail)
        # Too far away it speaks of something else.
        return match is not None and "," not in tail[: match.start()] and match.start() < _NEAR

    def _scope(self, before: str, after: str) -> str:
        """Return the part of ``before`` whose cues reach the finding."""
        start = max((match.end() for match in self._boundary.finditer(before)), default=0)
        if not (self._list_goes_on.search(before[start:]) or self._list_goes_on.search(after)):
            soft = self._soft_boundary.finditer(before, start)
            start = max((match.end() for match in soft), default=start)
        return before[start:]


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, _FLAGS)


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())

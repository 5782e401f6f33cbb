"""What findings below it say of a finding: a pneumonia is an opacity of the lung, too.

Precedence after MAPLEZ (arXiv 2403.04024): present, uncertain, absent of the finding itself,
stable, not mentioned, and last what is absent of the findings below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from labeling.labeler import LabelResult
from labeling.vocabulary import LabelSchema, State

_OWN, _BELOW = True, False
_PRECEDENCE: tuple[tuple[State, bool], ...] = (
    (State.PRESENT, _OWN),
    (State.PRESENT, _BELOW),
    (State.UNCERTAIN, _OWN),
    (State.UNCERTAIN, _BELOW),
    (State.ABSENT, _OWN),
    (State.STABLE_UNKNOWN, _OWN),
    (State.STABLE_UNKNOWN, _BELOW),
    (State.NOT_MENTIONED, _OWN),
    (State.NOT_MENTIONED, _BELOW),
    (State.ABSENT, _BELOW),
)


def roll_up(own: State, below: Sequence[State]) -> State:
    """Return the state of a finding from its own and those of the findings below it.

    A failed label stays failed; those below that failed do not count.
    """
    if own is State.FAILED:
        return own
    for state, is_own in _PRECEDENCE:
        if (own is state) if is_own else (state in below):
            return state
    return own


def rolled_up(results: Sequence[LabelResult], schema: LabelSchema) -> list[LabelResult]:
    """Return the results with each finding rolled up from all below it, at the same site.

    The margin is the greatest of them all, for the finding is there where one of them is. Where
    the state is that of a finding below, so are the evidence and the words of place.
    """
    by_key = {(each.observation, each.site): each for each in results}
    return [
        _rolled_up(
            each,
            [
                by_key[below, each.site]
                for below in _below(schema, each.observation)
                if (below, each.site) in by_key
            ],
        )
        for each in results
    ]


def _below(schema: LabelSchema, identifier: str) -> list[str]:
    """Return all findings below one, children and theirs, each once."""
    found: list[str] = []
    waiting = [identifier]
    while waiting:
        parent = waiting.pop()
        new = [o.id for o in schema.observations if parent in o.parents and o.id not in found]
        found += new
        waiting += new
    return found


def _rolled_up(own: LabelResult, below: Sequence[LabelResult]) -> LabelResult:
    state = roll_up(own.state, [each.state for each in below])
    if own.state is State.FAILED or not below:
        return own
    surest = max((own, *below), key=_margin)
    # A threshold below this margin would make it count, so it needs the words that carry it.
    rolled = replace(own, margin=surest.margin, evidence=own.evidence or surest.evidence)
    carrying = max((each for each in below if each.state is state), key=_margin, default=None)
    if state is own.state or carrying is None:
        return rolled
    note = f"as said of {carrying.observation}"
    return replace(
        rolled,
        state=state,
        mention_margin=None if state is State.STABLE_UNKNOWN else own.mention_margin,
        evidence=carrying.evidence,
        locations=carrying.locations,
        detail="; ".join(part for part in (own.detail, note) if part),
    )


def _margin(result: LabelResult) -> float:
    return -math.inf if result.margin is None else result.margin

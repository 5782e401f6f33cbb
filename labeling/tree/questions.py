"""The tree of questions by which a report's word on a finding becomes a state, as a table.

After MAPLEZ (Bigolin Lanfredi et al., Medical Image Analysis; arXiv 2403.04024): possibly present?
If so, how likely; if not, is it called stable, is its absence stated? Each answer is one token,
and the model's odds at every node make one margin, so that a threshold can be fitted to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from labeling.llm.interface import BoundedScores, Scores
from labeling.vocabulary import State

ROOT, DENIED = "possible", "denied"
GRADED, SEVERITY, LOCATED, LOCATION = "graded", "severity", "located", "location"
YES, NO = 0, 1

LEAST_SHARE = 0.02
"""A question is asked where it is reached with this probability, or may count by the threshold."""

DIGITS = tuple(str(digit) for digit in range(10))
_CERTAIN = 9  # MAPLEZ: likely by 90 % or more is present, less is uncertain


@dataclass(frozen=True)
class Node:
    """A question of the tree.

    Args:
        to: for each answer in order, the next question or the state.
        present: for each answer, how much it says "present", from 0 to 1, where it leads to a
            state.
        unasked: how much that is where nobody asked.
        early: asked along with the question before it, to spare a reading of the report.
        digits: answered by a digit; else by yes or no.
    """

    to: tuple[str | State, ...]
    present: tuple[float, ...] = (0.0, 0.0)
    unasked: float = 0.0
    early: bool = False
    digits: bool = False


NODES: Mapping[str, Node] = {
    ROOT: Node(to=("probability", "stable"), unasked=0.5),
    "probability": Node(
        to=(*(State.UNCERTAIN,) * _CERTAIN, *(State.PRESENT,) * (len(DIGITS) - _CERTAIN)),
        present=tuple(digit / (len(DIGITS) - 1) for digit in range(len(DIGITS))),
        unasked=0.5,
        digits=True,
    ),
    "stable": Node(to=("stable_possible", DENIED)),
    DENIED: Node(to=(State.ABSENT, State.NOT_MENTIONED), early=True),
    "stable_possible": Node(to=(State.PRESENT, "normal"), present=(1.0, 0.0)),
    "normal": Node(to=(State.ABSENT, State.STABLE_UNKNOWN)),
}

Answers = Mapping[str, Scores]
"""By question, the log-probabilities of its answers, which sum to one."""


def normal(scores: Scores) -> Scores:
    """Return log-probabilities of the choices alone, from scores that differ by as much."""
    total = _log_sum(scores)
    shares = tuple(score - total for score in scores)
    return BoundedScores(shares, scores.unlisted) if isinstance(scores, BoundedScores) else shares


def share_of(low: float) -> float:
    """Return how probable a question must be reached to be asked, for a band that begins so."""
    return min(LEAST_SHARE, 0.5 / (1.0 + math.exp(min(-low, 700.0))))


def due(answers: Answers, share: float) -> list[str]:
    """Return the questions of presence to ask next; none where the tree is settled."""
    return list(dict.fromkeys(_due(ROOT, answers, 0.0, math.log(share))))


def due_on_the_likeliest_way(answers: Answers) -> list[str]:
    """Return the questions to ask next where each answer is taken at its word, as published."""
    name: str | State = ROOT
    while not isinstance(name, State) and name in answers:
        given = answers[name]
        name = NODES[name].to[given.index(max(given))]
    if isinstance(name, State):
        return []
    early = (each for each in NODES[name].to if not isinstance(each, State) and NODES[each].early)
    return [name, *(each for each in early if each not in answers)]


def _due(name: str, answers: Answers, reach: float, least: float) -> Iterator[str]:
    if reach < least:
        return
    given = answers.get(name)
    if given is None:
        yield name
        yield from (
            each
            for each in NODES[name].to
            if not isinstance(each, State) and NODES[each].early and each not in answers
        )
        return
    for target, log in zip(NODES[name].to, given, strict=True):
        if not isinstance(target, State):
            yield from _due(target, answers, reach + log, least)


def state_of(answers: Answers) -> State:
    """Return the state to which the most probable answers lead.

    Raises:
        KeyError: a question on the way was not asked.
    """
    name: str | State = ROOT
    while not isinstance(name, State):
        given = answers[name]
        name = NODES[name].to[given.index(max(given))]
    return name


def margin_of(answers: Answers) -> float:
    """Return the log-odds of present against the rest, over all ways through the tree."""
    present, rest = zip(*_sides(ROOT, answers, 0.0), strict=True)
    return max(min(_log_sum(present) - _log_sum(rest), 700.0), -700.0)


def mention_margin_of(answers: Answers) -> float | None:
    """Return the log-odds of "its absence is stated"; None where the answers do not lead there."""
    states = {State.ABSENT, State.NOT_MENTIONED}
    given = answers.get(DENIED)
    if given is None or max(answers["stable"]) == answers["stable"][YES]:
        return None
    return given[YES] - given[NO] if state_of(answers) in states else None


def _sides(name: str, answers: Answers, reach: float) -> Iterator[tuple[float, float]]:
    """Yield for each way the logarithms of what it adds to present and to the rest."""
    node, given = NODES[name], answers.get(name)
    if given is None:
        yield _split(reach, node.unasked)
        return
    for target, present, log in zip(node.to, _padded(node), given, strict=True):
        if isinstance(target, State):
            yield _split(reach + log, present)
        else:
            yield from _sides(target, answers, reach + log)


def _padded(node: Node) -> tuple[float, ...]:
    return node.present + (0.0,) * (len(node.to) - len(node.present))


def _split(log: float, present: float) -> tuple[float, float]:
    return _times(log, present), _times(log, 1.0 - present)


def _times(log: float, share: float) -> float:
    return log + math.log(share) if share > 0.0 else -math.inf


def _log_sum(logs: tuple[float, ...]) -> float:
    top = max(logs)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(log - top) for log in logs))

"""How likely each answer was where a generated text chose one, from the steps' alternatives.

An answer may take several tokens, share a token with what stands before it, or share its first
token with another answer; the alternatives of all these tokens are followed until they part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from labeling.llm.interface import Step

Renderings = Mapping[str, tuple[str, ...]]
"""By answer, how its text can begin, without blanks."""


@dataclass(frozen=True)
class Odds:
    """Natural log-probabilities by answer, which sum to one.

    ``bounded`` says that an answer was in no list of alternatives; it counts with as much as it
    can have had at most.
    """

    of: Mapping[str, float]
    bounded: bool = False


def odds_at(steps: Sequence[Step], start: int, answers: Renderings) -> Odds | None:
    """Return the odds of the answers that could stand at a place of the generated text.

    Args:
        steps: of the text, whose texts joined are the text.
        start: index of the first character of the answer.
        answers: what could stand there.

    Returns:
        None where the steps tell no alternatives there.
    """
    place, before = _step_of(steps, start)
    head, mass, bounded = "", 0.0, False
    logs: dict[str, float] = {}
    open_answers = dict(answers)
    while place < len(steps):
        step = steps[place]
        token = _bare(step.text, before)
        chosen = _fitting(token, head, open_answers)
        if not chosen or (len(chosen) == 1 and not step.alternatives):
            return None
        if step.alternatives:
            parted = _parted(step, before, head, open_answers)
            rest = _rest(step)
            for name, log in _settled(parted, chosen, open_answers, rest):
                logs[name] = _add(logs.get(name), mass + log)
            bounded |= bool(open_answers.keys() - set().union(*parted))
            mass += parted.get(chosen, rest)
        if len(chosen) == 1:
            return Odds(_normal(logs), bounded)
        # Else the answers share this token, or a grammar left no choice but it.
        open_answers = {name: open_answers[name] for name in chosen}
        head += token or ""
        place, before = place + 1, ""
    return None


def log_odds(first: float, second: float) -> float:
    """Return the difference of two log-probabilities, kept finite."""
    return max(min(first - second, 700.0), -700.0)


def log_sum(*logs: float) -> float:
    """Return log(sum(exp(x)))."""
    return _sum(logs)


def _step_of(steps: Sequence[Step], start: int) -> tuple[int, str]:
    """Return the step in which a character stands, and what stands in it before the character."""
    end = 0
    for index, step in enumerate(steps):
        first, end = end, end + len(step.text)
        if end > start:
            return index, step.text[: start - first]
    return len(steps), ""


def _parted(step: Step, before: str, head: str, answers: Renderings) -> dict[frozenset[str], float]:
    """Return the mass of a step's alternatives by the answers that each leaves possible."""
    found: dict[frozenset[str], float] = {}
    for token, log in step.alternatives.items():
        names = _fitting(_bare(token, before), head, answers)
        if names:
            found[names] = _add(found.get(names), log)
    return found


def _settled(
    parted: Mapping[frozenset[str], float],
    chosen: frozenset[str],
    answers: Renderings,
    rest: float,
) -> Iterator[tuple[str, float]]:
    """Yield what each answer has by a step, but for those that the next step will part."""
    for names, log in parted.items():
        if len(names) == 1 or names != chosen:
            yield from ((name, log - math.log(len(names))) for name in names)
    for name in answers.keys() - set().union(*parted):
        if len(chosen) == 1 or name not in chosen:
            yield name, rest


def _fitting(token: str | None, head: str, answers: Renderings) -> frozenset[str] | None:
    """Return the answers that a token leaves possible; None where it does not reach them."""
    if token is None:
        return None
    text = head + token
    return frozenset(
        name
        for name, texts in answers.items()
        if any(each.startswith(text) or text.startswith(each) for each in texts)
    )


def _bare(token: str, before: str) -> str | None:
    """Return a token without blanks and without what stands before the answer."""
    token, before = "".join(token.split()), "".join(before.split())
    return token[len(before) :] if token.startswith(before) else None


def _rest(step: Step) -> float:
    """Return the most that a token outside the list can have: the least listed, or what is left."""
    listed = sum(math.exp(log) for log in step.alternatives.values())
    left = math.log(max(1.0 - listed, 1e-12))
    return min(min(step.alternatives.values()), left)


def _add(log: float | None, other: float) -> float:
    return other if log is None else _sum((log, other))


def _sum(logs: Iterable[float]) -> float:
    values = list(logs)
    top = max(values, default=-math.inf)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))


def _normal(logs: Mapping[str, float]) -> dict[str, float]:
    total = _sum(logs.values())
    return {name: log - total for name, log in logs.items()}

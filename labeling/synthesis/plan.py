"""What a report is going to say, drawn before any of it is written."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from labeling.vocabulary import LabelSchema, Observation, State

_PRESENT = (0, 1, 1, 2, 2, 3, 3, 4, 5, 6)
_UNCERTAIN = (0, 0, 1, 1, 1, 2, 2)
_AT_SITES, _DENIED_AT_SITES, _ALSO_DENIED, _ALSO_DOUBTED = 0.78, 0.3, 0.3, 0.08
_SITES = (1, 1, 1, 2, 2, 3, 4)
_MANY = 10
_NORMAL, _MUTED, _OWN_PART, _CHILD = 0.15, 0.22, 0.6, 0.6
_OF_ONE_PART = 0.9


@dataclass(frozen=True)
class Topic:
    """One observation, its state, and where; no sites: said without one."""

    observation: Observation
    state: State
    sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The topics of a report.

    Args:
        study: what was examined, as the report calls it.
        body_part: that it speaks of; empty: as the schema.
        observations: that it can speak of.
        muted: ids of those that are not found: else a parent of many would hardly ever be absent.
    """

    topics: tuple[Topic, ...]
    study: str
    body_part: str
    observations: tuple[Observation, ...]
    muted: frozenset[str] = frozenset()


def draw_plan(schema: LabelSchema, chance: random.Random) -> Plan:
    """Draw what a report says: every observation has its fair share of every state."""
    body_part = _body_part(schema, chance)
    known = [each for each in schema.observations if applies(each, body_part)]
    study = body_part.capitalize() or schema.title
    if chance.random() < _NORMAL:
        return _normal(known, study, body_part, chance)
    muted = _muted(known, chance)
    # Those of one body part come into few reports: there they come first more often.
    # A parent is found with its children, so they come first.
    rank = {
        e.id: chance.random()
        * (_OWN_PART if e.body_parts else 1.0)
        * (_CHILD if e.parents else 1.0)
        for e in known
    }
    order = sorted(known, key=lambda each: (each.id in muted, rank[each.id]))
    extra = chance.choice((0, 1, 2)) if len(known) > _MANY else 0
    loud = len(known) - len(muted)
    wanted = min(chance.choice(_PRESENT) + extra, max(1, len(known) * 2 // 3))
    present = min(loud, int(wanted * loud / len(known) + chance.random()))
    uncertain = min(chance.choice(_UNCERTAIN) + extra // 2, loud - present)
    absent = chance.randint(0, max(2, len(known) // 2))
    counts = ((State.PRESENT, present), (State.UNCERTAIN, uncertain), (State.ABSENT, absent))
    topics: list[Topic] = []
    for state, count in counts:
        for observation in order[:count]:
            topics += _topics(observation, state, chance)
        order = order[count:]
        if state is State.UNCERTAIN:
            chance.shuffle(order)
    topics = _without_denied_parents(topics, schema)
    if order and chance.random() < 0.1:
        topics.append(Topic(order[0], State.STABLE_UNKNOWN))
    return Plan(tuple(topics), study, body_part, tuple(known), frozenset(muted))


def _normal(
    known: Sequence[Observation], study: str, body_part: str, chance: random.Random
) -> Plan:
    """Return the plan of a report that finds nothing: it denies much, or says so in one word."""
    count = chance.choice((0, len(known) // 3, len(known) // 2, len(known) * 3 // 4))
    denied = tuple(Topic(each, State.ABSENT) for each in chance.sample(list(known), count))
    return Plan(denied, study, body_part, tuple(known), frozenset(each.id for each in known))


def _without_denied_parents(topics: Sequence[Topic], schema: LabelSchema) -> list[Topic]:
    """Leave out denials of what a finding, or a doubt, makes present."""
    found = [t.observation for t in topics if t.state in (State.PRESENT, State.UNCERTAIN)]
    above = frozenset[str]().union(*(schema.above(each.id) for each in found))
    return [t for t in topics if t.state is not State.ABSENT or t.observation.id not in above]


def _muted(known: Sequence[Observation], chance: random.Random) -> set[str]:
    """Draw families of parents and children that the report does not find."""
    children: dict[str, set[str]] = {}
    for each in known:
        for parent in each.parents:
            children.setdefault(parent, set()).add(each.id)
    muted: set[str] = set()
    for parent in children:
        if chance.random() < _MUTED:
            waiting = [parent]
            while waiting:
                muted.add(name := waiting.pop())
                waiting += children.get(name, set()) - muted
    return muted


def applies(observation: Observation, body_part: str) -> bool:
    """Return whether an observation can be made in a report about a body part."""
    return not body_part or not observation.body_parts or body_part in observation.body_parts


def _body_part(schema: LabelSchema, chance: random.Random) -> str:
    """Draw one body part where the observations are of several."""
    groups = list(dict.fromkeys(each.body_parts for each in schema.observations if each.body_parts))
    if len(groups) < 2 or chance.random() >= _OF_ONE_PART:
        return ""
    return chance.choice(groups)[0]


def _topics(observation: Observation, state: State, chance: random.Random) -> list[Topic]:
    share = _DENIED_AT_SITES if state is State.ABSENT else _AT_SITES
    if not observation.sites or chance.random() >= share:
        return [Topic(observation, state)]
    sites = _sites(observation.sites, chance)
    topics = [Topic(observation, state, sites)]
    left = [each for each in observation.sites if each not in sites]
    if state is State.PRESENT and left:
        if chance.random() < _ALSO_DENIED:
            count = chance.randint(1, len(left))
            topics.append(Topic(observation, State.ABSENT, _ordered(left, count, chance)))
        elif chance.random() < _ALSO_DOUBTED:
            topics.append(Topic(observation, State.UNCERTAIN, (chance.choice(left),)))
    return topics


def _sites(sites: Sequence[str], chance: random.Random) -> tuple[str, ...]:
    """Draw sites: most often one, else neighbours or some by chance."""
    count = min(chance.choice(_SITES), len(sites))
    if chance.random() < 0.5:
        start = chance.randrange(len(sites) - count + 1)
        return tuple(sites[start : start + count])
    return _ordered(sites, count, chance)


def _ordered(sites: Sequence[str], count: int, chance: random.Random) -> tuple[str, ...]:
    drawn = set(chance.sample(list(sites), count))
    return tuple(each for each in sites if each in drawn)

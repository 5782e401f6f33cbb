"""What a reader makes of given findings: what is hedged, what is left out, and the plan of that."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from labeling.synthesis.facts import Facts
from labeling.synthesis.generated import Place
from labeling.synthesis.plan import Plan, Topic, applies
from labeling.synthesis.writer import Writer
from labeling.vocabulary import WHOLE, Observation, State

_GENERAL = frozenset({State.ABSENT, State.STABLE_UNKNOWN})
_DOUBTS_RAISED, _FINDINGS_OMITTED = 1 / 8, 1 / 10


@dataclass(frozen=True)
class Reader:
    """How much of what is so a reader says, and how surely; shares between 0 and 1.

    Args:
        hedged: share of the findings at sites that are worded as uncertain; an eighth of it of
            what is absent there is raised as a doubt.
        omitted: share of the observations absent everywhere of which nothing is said; a tenth of
            it of those that are found somewhere.
        unsaid: share of the sites without a finding that go unnamed, where it is at others.
    """

    hedged: float = 0.0
    omitted: float = 0.0
    unsaid: float = 0.0


@dataclass(frozen=True)
class Context:
    """What is known besides the findings; what is not is left out of the text.

    Args:
        age: in years.
        sex: "F", "M" or empty.
        prior_date: when the study was made that this one is compared with.
    """

    age: int | None = None
    sex: str = ""
    prior_date: dt.date | None = None


def read(facts: Facts, reader: Reader, writer: Writer) -> Facts:
    """Return what of the facts the report is going to say, doubts included."""
    states: dict[Place, State] = {}
    for observation in facts.schema.observations:
        own = {place: state for place, state in facts.states.items() if place[0] == observation.id}
        writer.begin(f"omitted {observation.id}")
        absent = own.get((observation.id, WHOLE)) is State.ABSENT
        if writer.chance.random() >= reader.omitted * (1.0 if absent else _FINDINGS_OMITTED):
            states |= _opinions(own, observation, reader, writer)
    return replace(facts, states=states)


def _opinions(
    own: Mapping[Place, State], observation: Observation, reader: Reader, writer: Writer
) -> dict[Place, State]:
    """Return one observation's states as the reader sees and says them."""
    sites = {place: state for place, state in own.items() if place[1] != WHOLE}
    found = {}
    for place, state in sites.items():
        writer.begin(f"doubt {place}")
        share = reader.hedged * (1.0 if state is State.PRESENT else _DOUBTS_RAISED)
        doubted = writer.chance.random() < share and state in (State.PRESENT, State.ABSENT)
        found[place] = State.UNCERTAIN if doubted else state
    whole = own.get((observation.id, WHOLE))
    for state in (State.PRESENT, State.UNCERTAIN):
        if state in found.values():
            whole = state
            break
    if whole in (State.PRESENT, State.UNCERTAIN):
        found = {
            place: state
            for place, state in found.items()
            if state not in _GENERAL or not _unsaid(place, reader, writer)
        }
    return found if whole is None else {(observation.id, WHOLE): whole, **found}


def _unsaid(place: Place, reader: Reader, writer: Writer) -> bool:
    writer.begin(f"unsaid {place}")
    return writer.chance.random() < reader.unsaid


def plan_of(facts: Facts, writer: Writer, body_part: str) -> Plan:
    """Return the plan of a report that says these facts, in an order of chance."""
    schema = facts.schema
    known = [each for each in schema.observations if applies(each, body_part)]
    ranked: list[tuple[float, list[Topic]]] = []
    for each in known:
        writer.begin(f"rank {each.id}")
        ranked.append((writer.chance.random(), _topics(facts, each)))
    topics = [topic for _, some in sorted(ranked, key=lambda pair: pair[0]) for topic in some]
    named = {t.observation.id for t in topics if t.state in (State.PRESENT, State.UNCERTAIN)}
    muted = frozenset(each.id for each in known) - named
    return Plan(
        tuple(topics), body_part.capitalize() or schema.title, body_part, tuple(known), muted
    )


def _topics(facts: Facts, observation: Observation) -> list[Topic]:
    """Return an observation's topics: sites of one state and grade together."""
    whole = facts.states.get((observation.id, WHOLE))
    if whole in _GENERAL:
        return [Topic(observation, whole)]

    def alike(site: str) -> tuple[str, str]:
        return str(facts.states[observation.id, site]), facts.step(observation, (site,))

    sites = [each for each in observation.sites if (observation.id, each) in facts.states]
    groups = groupby(sorted(sites, key=alike), key=alike)
    topics = [Topic(observation, State(state), tuple(some)) for (state, _), some in groups]
    if whole is not None and not any(each.state is whole for each in topics):
        topics.append(Topic(observation, whole))
    return topics

"""Labels of a teacher and of readers for the same reports: the readers win where both speak.

A teacher (a language model, say) labels every report, readers a few. What readers said also decides
what it implies: a finding that they deny is at no site, one that they place is in the report, and
its parents with it. What the teacher says against that is taken out, not turned round: nobody has
said where else it may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from labeling.student.examples import Example, Place, allowed_of
from labeling.vocabulary import WHOLE, LabelSchema, Observation, State

Said = Mapping[Place, State | None]
"""What readers say of one report; None where they disagree: then nobody knows."""

Spans = tuple[tuple[int, int], ...]

_PRESENT = frozenset({State.PRESENT})
_ABSENT = frozenset({State.ABSENT, State.NOT_MENTIONED})
_STATES = frozenset({State.PRESENT, State.UNCERTAIN, State.ABSENT, State.NOT_MENTIONED})
_NOT_PRESENT = _STATES - _PRESENT


def taught_by_both(
    example: Example, said: Said, schema: LabelSchema, quotes: Mapping[Place, Spans] | None = None
) -> Example:
    """Return a report with what readers say in the place of what its teacher says.

    Args:
        example: with the teacher's labels.
        said: the readers' labels.
        schema: of both.
        quotes: by place, ranges of the text on which the readers rest.
    """
    allowed = dict(example.allowed)
    evidence = dict(example.evidence)
    for place, states in _implied(said, schema).items():
        teacher = allowed.get(place, _STATES)
        if place in said or teacher.isdisjoint(states):
            evidence.pop(place, None)
        if place in said or states == _PRESENT:
            allowed[place] = states
        elif teacher.isdisjoint(states):
            allowed.pop(place, None)
    for place, state in said.items():
        if state is None:
            allowed.pop(place, None)
            evidence.pop(place, None)
    evidence.update(quotes or {})
    return replace(example, allowed=allowed, evidence=evidence)


def taught_by_readers(
    examples: Sequence[Example], said: Mapping[str, Said], schema: LabelSchema
) -> tuple[list[Example], int]:
    """Return examples with the readers' labels by id, and how many examples those reach."""
    found = [
        taught_by_both(each, said[each.id], schema) if each.id in said else each
        for each in examples
    ]
    return found, sum(each.id in said for each in examples)


def _implied(said: Said, schema: LabelSchema) -> dict[Place, frozenset[State]]:
    """Return the states that the readers' labels leave to each place that they decide."""
    present: dict[Place, frozenset[State]] = {}
    denied: dict[Place, frozenset[State]] = {}
    for observation in schema.observations:
        places = [(observation.id, site) for site in (WHOLE, *observation.sites)]
        above = [(name, WHOLE) for name in _ancestors(observation, schema)]
        if any(said.get(place) is State.PRESENT for place in places):
            present |= dict.fromkeys([places[0], *above], _PRESENT)
        if said.get(places[0]) in _ABSENT:
            denied |= dict.fromkeys(places[1:], _ABSENT)
        if any(said.get(place) in _ABSENT for place in above):
            denied |= {place: _NOT_PRESENT for place in places if place not in denied}
    # What a reader says of a place outweighs what follows from another.
    own = {place: allowed_of(str(state)) for place, state in said.items() if state is not None}
    return denied | present | own


def _ancestors(observation: Observation, schema: LabelSchema) -> Iterator[str]:
    known = {each.id: each for each in schema.observations}
    waiting, seen = list(observation.parents), set[str]()
    while waiting:
        name = waiting.pop()
        if name in known and name not in seen:
            seen.add(name)
            yield name
            waiting += known[name].parents

"""What a report may say, where its truth is given and not drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from labeling.errors import Permanent
from labeling.synthesis.claims import Claim, Statement, severities_in
from labeling.synthesis.generated import Place
from labeling.synthesis.phrasings import Sentence
from labeling.vocabulary import WHOLE, LabelSchema, Observation, State

_DESCRIBED = frozenset({State.PRESENT, State.UNCERTAIN})
_GENERAL = frozenset({State.ABSENT, State.STABLE_UNKNOWN})
_SAYABLE = _DESCRIBED | _GENERAL
_MILLIMETRES = re.compile(r"\b(\d+)\s?mm\b")


class InvalidFindings(Permanent):
    """No report can say these findings; the message names the place."""


@dataclass(frozen=True)
class Facts:
    """What is so, as far as a report says it; of all other places it says nothing.

    Args:
        schema: whose observations are meant.
        states: by place, the whole report included.
        severities: by place, the id of the step of the observation's scale.
        millimetres: by place, how much.
    """

    schema: LabelSchema
    states: Mapping[Place, State]
    severities: Mapping[Place, str] = field(default_factory=dict)
    millimetres: Mapping[Place, float] = field(default_factory=dict)

    def allow(self, statement: Statement) -> bool:
        """Tell whether a sentence says what is so and no more, grades and sizes included."""
        claims = statement.claims
        return all(self.states.get((c.observation, c.site)) is c.state for c in claims) and (
            all(self._measured(statement.text, each) for each in claims)
            and self._graded(statement.text, claims)
        )

    def allow_sentence(self, sentence: Sentence, sites: Sequence[str]) -> bool:
        """Tell whether a sentence of a wording file is so at the sites; no sites: in the whole."""
        said = {State.PRESENT: sentence.present, State.UNCERTAIN: sentence.uncertain}
        said[State.ABSENT] = sentence.absent
        return all(
            self.states.get((name, site)) is state
            for state, names in said.items()
            for name in names
            for site in self._sites(name, sites)
        )

    def step(self, observation: Observation, sites: Sequence[str]) -> str:
        """Return the step of the scale at the sites; "" where it is not known, or not one."""
        steps = {
            self.severities.get((observation.id, site), "")
            for site in self._sites(observation.id, sites)
        }
        return steps.pop() if len(steps) == 1 else ""

    def size(self, observation: Observation, sites: Sequence[str]) -> int | None:
        """Return the whole millimetres at the one site; None where they are not known."""
        (first, *others) = self._sites(observation.id, sites)
        found = self.millimetres.get((observation.id, first))
        return None if others or found is None else round(found)

    def _sites(self, name: str, sites: Sequence[str]) -> Sequence[str]:
        own = self.schema.observation(name).sites
        return [each for each in sites if each in own] or (WHOLE,)

    def _measured(self, text: str, claim: Claim) -> bool:
        """Tell whether the sizes in the words of a claim are those that are known."""
        if claim.state not in _DESCRIBED:
            return True
        known = self.millimetres.get((claim.observation, claim.site))
        named = {int(each) for each in _MILLIMETRES.findall(claim.words or text)}
        return named <= ({round(known)} if known is not None else set())

    def _graded(self, text: str, claims: Sequence[Claim]) -> bool:
        """Tell whether the grades that a sentence names are known of what it finds."""
        found = [each for each in claims if each.state in _DESCRIBED]
        apart = all(each.words for each in found)
        known = {self.severities.get((each.observation, each.site), "") for each in found}
        for each in found:
            here = {self.severities.get((each.observation, each.site), "")} if apart else known
            named = severities_in(each.words or text, self.schema.observation(each.observation))
            if not here.issuperset(named):
                return False
        return True


def facts_of(
    schema: LabelSchema,
    findings: Mapping[Place, State],
    severities: Mapping[Place, str],
    millimetres: Mapping[Place, float],
) -> Facts:
    """Return findings with what they mean for the whole, and for the sites, spelt out.

    Without a state of the whole, it is the strongest of the sites; absent (or unchanged) only where
    that is given of every site. A whole that is absent, or unchanged, holds at sites without a
    state of their own.

    Raises:
        InvalidFindings: a place is not of the schema, or two states contradict each other.
    """
    given = {place: each for place, each in findings.items() if each is not State.NOT_MENTIONED}
    known = {(o.id, site) for o in schema.observations for site in (WHOLE, *o.sites)}
    for place, state in given.items():
        if place not in known or state not in _SAYABLE:
            raise InvalidFindings(f"{place[0]} at {place[1]}: no report can say {state}")
    states: dict[Place, State] = {}
    for observation in schema.observations:
        states |= _spelt_out(observation, given)
    for child, parent in _families(schema):
        for site in (WHOLE, *child.sites):
            found = states.get((child.id, site)) in _DESCRIBED
            if found and states.get((parent, site)) in _GENERAL:
                raise InvalidFindings(f"{parent} at {site} is not there, but {child.id} is")
    return Facts(schema, states, severities, millimetres)


def _spelt_out(observation: Observation, given: Mapping[Place, State]) -> dict[Place, State]:
    places = [(observation.id, site) for site in observation.sites]
    states = {place: given[place] for place in places if place in given}
    whole = given.get((observation.id, WHOLE)) or _whole(states, len(places))
    if whole is None:
        return states
    if whole in _GENERAL:
        states = dict.fromkeys(places, whole) | states
        if any(each is not whole for each in states.values()):
            raise InvalidFindings(f"{observation.id} is {whole} in the whole, but not at each site")
    return {(observation.id, WHOLE): whole, **states}


def _whole(states: Mapping[Place, State], sites: int) -> State | None:
    for state in (State.PRESENT, State.UNCERTAIN):
        if state in states.values():
            return state
    alike = set(states.values())
    return alike.pop() if len(states) == sites and len(alike) == 1 else None


def _families(schema: LabelSchema) -> Iterator[tuple[Observation, str]]:
    """Yield each observation with each of those above it."""
    for child in schema.observations:
        yield from ((child, parent) for parent in sorted(schema.above(child.id)))

"""What sentences claim, and what a report of such sentences says at each place: the truth.

The reading is that of the labeler by rules (``labeling.rules.labeler``) and of the decision
(``labeling.decision``):

* a claim at a site counts for the site and for the report as a whole; one without a site for the
  whole;
* a denial without a site holds at every site of which nothing else is said;
* present beats uncertain, uncertain beats absent, absent beats stable-unknown, wherever they stand:
  a finding that the findings state and the impression denies, or the other way round, is present;
* what an addendum says of an observation replaces what was said of it at the same sites, or, where
  the addendum names no site, everywhere;
* a child that is present makes its parents present at the same place, a doubted one makes them
  uncertain where nothing says that they are present; a child's absence says nothing of them;
* silence is not mentioned, and sections of history, technique, comparison and recommendation are
  silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from labeling.places import locations_of, names_place, without_contradictions
from labeling.synthesis.generated import Place, Span
from labeling.vocabulary import WHOLE, LabelSchema, Observation, State

_PRECEDENCE = (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.STABLE_UNKNOWN)
_DESCRIBED = frozenset({State.PRESENT, State.UNCERTAIN})


@dataclass(frozen=True)
class Claim:
    """That a sentence says something of an observation at a site, or of the whole.

    ``words`` are those that describe it (severity, words of place); empty: it cannot be told which
    of the sentence's words do.
    """

    observation: str
    site: str
    state: State
    words: str = ""


@dataclass(frozen=True)
class Statement:
    """A sentence and what it claims."""

    text: str
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Written:
    """A claim on paper: where the sentence stands, and whether in an addendum."""

    claim: Claim
    span: Span
    addendum: bool = False


@dataclass
class Truth:
    """What a text says; see ``GeneratedReport``."""

    states: dict[Place, State] = field(default_factory=dict)
    severities: dict[Place, str] = field(default_factory=dict)
    locations: dict[Place, tuple[str, ...]] = field(default_factory=dict)
    evidence: dict[Place, tuple[Span, ...]] = field(default_factory=dict)
    own: dict[Place, State] = field(default_factory=dict)


def truth_of(schema: LabelSchema, written: Sequence[Written]) -> Truth:
    """Return what the sentences on paper say at each place of the schema."""
    truth = Truth()
    for observation in schema.observations:
        own = [each for each in written if each.claim.observation == observation.id]
        own = _amended(own, observation)
        for site in (WHOLE, *observation.sites):
            _note(truth, schema, observation, site, _decisive(own, site))
    for observation in _children_first(schema):
        for site in (WHOLE, *observation.sites):
            _raise_parents(truth, schema, observation, site)
    return truth


def _amended(written: Sequence[Written], observation: Observation) -> list[Written]:
    """Let an addendum replace what the report said before of the same sites."""
    added = [each for each in written if each.addendum]
    if not added:
        return list(written)
    sites = set(observation.sites)
    named = {each.claim.site for each in added}
    covered = sites if WHOLE in named else named
    kept = list(added)
    for each in written:
        if each.addendum:
            continue
        if each.claim.site != WHOLE:
            kept += [each] if each.claim.site not in covered else []
        elif WHOLE not in named:
            kept.append(each)
    return sorted(kept, key=lambda each: each.span)


def _decisive(written: Iterable[Written], site: str) -> list[Written]:
    everything = list(written)
    here = [each for each in everything if site in (WHOLE, each.claim.site)]
    if not here:
        general = _strongest([each for each in everything if each.claim.site == WHOLE])
        here = general if general and general[0].claim.state in _SPREADING else []
    return _strongest(here)


_SPREADING = frozenset({State.ABSENT, State.STABLE_UNKNOWN})
"""What is said without a site and holds at each of them."""


def _strongest(written: Sequence[Written]) -> list[Written]:
    for state in _PRECEDENCE:
        if found := [each for each in written if each.claim.state is state]:
            return found
    return []


def _note(
    truth: Truth,
    schema: LabelSchema,
    observation: Observation,
    site: str,
    decisive: Sequence[Written],
) -> None:
    place = (observation.id, site)
    truth.states[place] = decisive[0].claim.state if decisive else State.NOT_MENTIONED
    if not decisive:
        return
    truth.evidence[place] = tuple(dict.fromkeys(each.span for each in decisive))
    if truth.states[place] not in _DESCRIBED:
        return
    words = [each.claim.words for each in decisive]
    steps = [step for each in words for step in severities_in(each, observation)]
    if steps:
        order = [each.id for each in observation.severities]
        truth.severities[place] = max(steps, key=order.index)
    places = [each for text in words for each in locations_in(text, schema, observation)]
    if places:
        quoted = " ".join(words)
        truth.locations[place] = without_contradictions(schema, places, quoted)


def _children_first(schema: LabelSchema) -> Iterator[Observation]:
    """Yield observations so that each comes before its parents."""
    left = {each.id: each for each in schema.observations}
    while left:
        parents = {parent for each in left.values() for parent in each.parents}
        ready = [each for name, each in left.items() if name not in parents]
        yield from ready
        for each in ready:
            del left[each.id]


def _raise_parents(truth: Truth, schema: LabelSchema, child: Observation, site: str) -> None:
    state = truth.states[child.id, site]
    if state not in _DESCRIBED:
        return
    for parent in child.parents:
        above = (parent, site)
        if above not in truth.states or not _outranks(state, truth.states[above]):
            continue
        truth.own.setdefault(above, truth.states[above])
        truth.states[above] = state
        truth.evidence[above] = truth.evidence[child.id, site]
        truth.severities.pop(above, None)
        truth.locations.pop(above, None)


def _outranks(state: State, other: State) -> bool:
    return other not in _PRECEDENCE or _PRECEDENCE.index(state) < _PRECEDENCE.index(other)


def severities_in(text: str, observation: Observation) -> list[str]:
    """Return the steps of the observation's scale that the words name; the longest name wins."""
    named = [
        (name, each.id) for each in observation.severities for name in (each.name, *each.synonyms)
    ]
    found: list[str] = []
    rest = f" {text.casefold()} "
    for name, step in sorted(named, key=lambda pair: -len(pair[0])):
        shorter = _without(rest, name.casefold())
        if shorter != rest:
            rest = shorter
            found.append(step)
    return found


def _without(text: str, name: str) -> str:
    """Return the text without the whole words of ``name``."""
    at = text.find(name)
    while at >= 0:
        end = at + len(name)
        if not text[at - 1].isalnum() and not text[end : end + 1].isalnum():
            return text[:at] + " " * len(name) + text[end:]
        at = text.find(name, at + 1)
    return text


def locations_in(text: str, schema: LabelSchema, observation: Observation) -> list[str]:
    """Return ids of the schema's locations that the words name and the observation can have.

    What a location means counts with it (bilateral: left and right).
    """
    known = {each.id: each for each in locations_of(schema, observation)}
    found: list[str] = []
    for each in known.values():
        if names_place(text, each):
            found += [each.id, *(meant for meant in each.means if meant in known)]
    return list(dict.fromkeys(found))


def at_sites(
    observation: Observation, sites: Sequence[str], state: State, words: str = ""
) -> tuple[Claim, ...]:
    """Return the claims of a sentence about an observation; no sites: of the whole."""
    own = [each for each in sites if each in observation.sites]
    return tuple(Claim(observation.id, site, state, words) for site in own or (WHOLE,))

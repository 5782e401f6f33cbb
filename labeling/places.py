"""Words of place in a report: which locations of a schema it names, and which contradict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from labeling.vocabulary import LabelSchema, Location, Observation


def locations_of(schema: LabelSchema, observation: Observation) -> tuple[Location, ...]:
    """Return the locations that can be said of an observation."""
    own = observation.locations
    return tuple(each for each in schema.locations if not own or each.id in own)


def names_place(text: str, location: Location) -> bool:
    """Tell whether a text names a location by its name or a synonym."""
    return _pattern((location.name, *location.synonyms)).search(text) is not None


def without_contradictions(
    schema: LabelSchema, ranked: Sequence[str], quoted: str
) -> tuple[str, ...]:
    """Return the locations that stand together.

    Left contradicts right; the one that comes later goes, unless the words that carry the finding
    name both, or a location is said that means both.

    Args:
        schema: of the locations.
        ranked: their ids, the surest first.
        quoted: the words of the report that carry the finding.
    """
    known = {each.id: each for each in schema.locations}
    both = {meant for each in ranked if each in known for meant in known[each].means}
    kept: list[str] = []
    for identifier in dict.fromkeys(each for each in ranked if each in known):
        against = [each for each in kept if _contradict(known[each], known[identifier])]
        allowed = all(
            {identifier, each} <= both
            or (names_place(quoted, known[identifier]) and names_place(quoted, known[each]))
            for each in against
        )
        if allowed:
            kept.append(identifier)
    return tuple(kept)


def _contradict(first: Location, second: Location) -> bool:
    return second.id in first.excludes or first.id in second.excludes


@lru_cache(maxsize=1024)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    words = (r"\s+".join(map(re.escape, name.split())) for name in names)
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)

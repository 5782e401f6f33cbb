"""The closed vocabulary of labeling: states, sites, observations, and the schema files.

A schema is a YAML file; codes live there and not in code. "not mentioned" is a state of its own:
a blank is never "absent".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

WHOLE = "whole"
"""The site of a label that speaks of the whole report, study or image."""


class State(StrEnum):
    """What a report says about an observation."""

    PRESENT = "present"
    UNCERTAIN = "uncertain"
    ABSENT = "absent"
    NOT_MENTIONED = "not_mentioned"
    STABLE_UNKNOWN = "stable_unknown"
    FAILED = "failed"


@dataclass(frozen=True)
class Code:
    """A coded concept (PS3.3 8.8): value, coding scheme designator, meaning.

    ``unconfirmed`` says that no dictionary at hand (PS3.16) holds the code.
    """

    value: str
    scheme: str
    meaning: str
    unconfirmed: bool = False


@dataclass(frozen=True)
class Site:
    """A place at which an observation can be made, for example a disc level."""

    id: str
    name: str
    code: Code
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Observation:
    """A condition that is labelled, trained and predicted."""

    id: str
    name: str
    definition: str
    synonyms: tuple[str, ...]
    code: Code
    sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSchema:
    """A set of observations for one kind of examination; ``digest`` is SHA-256 of the file."""

    name: str
    title: str
    modality: str
    body_parts: tuple[str, ...]
    procedure: Code
    sites: tuple[Site, ...]
    observations: tuple[Observation, ...]
    digest: str

    def observation(self, identifier: str) -> Observation:
        """Return the observation with this id; KeyError where the schema has none."""
        return {o.id: o for o in self.observations}[identifier]

    def site(self, identifier: str) -> Site:
        """Return the site with this id; KeyError where the schema has none."""
        return {s.id: s for s in self.sites}[identifier]

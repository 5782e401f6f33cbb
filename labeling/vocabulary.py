"""The closed vocabulary of labeling: states, sites, observations, and the schema files.

A schema is a YAML file; codes live there and not in code. "not mentioned" is a state of its own:
a blank is never "absent".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

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
class Severity:
    """A step of a severity scale, the least first; a grade is a severity ("Pfirrmann IV")."""

    id: str
    name: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Location:
    """A word of place that a report may say of an observation ("left", "upper lobe").

    ``excludes`` are locations that it contradicts, ``means`` those it stands for (bilateral: left
    and right). A site is asked about; a location is only taken from what is said.
    """

    id: str
    name: str
    synonyms: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    means: tuple[str, ...] = ()


UncertainPolicy = Literal["mask", "inclusive", "exclusive", "soft"]
"""What "uncertain" becomes when a cohort is frozen: left out, present, absent, or its calibrated
probability."""


@dataclass(frozen=True)
class Observation:
    """A condition that is labelled, trained and predicted.

    Args:
        id, name, definition, synonyms: what it is and what it is called.
        code: of the finding.
        sites: where it can be labelled, ids of the schema's sites.
        severities: its scale, the least first; empty: it has none.
        parents: observations that are present where this one is.
        modalities: defined terms of Modality (0008,0060) that show it; empty: as the schema.
        body_parts: Body Part Examined (0018,0015); empty: as the schema.
        uncertain_policy: for cohorts; None: as the settings say.
        locations: ids of the schema's locations that can be said of it; empty: all of them.
        alone: a language model is asked about it alone; what its children say of it is decided.
    """

    id: str
    name: str
    definition: str
    synonyms: tuple[str, ...]
    code: Code
    sites: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = ()
    parents: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    uncertain_policy: UncertainPolicy | None = None
    locations: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class LabelSchema:
    """A set of observations for one kind of examination; ``digest`` is SHA-256 of the file.

    A schema that was narrowed to some observations has a digest of its own.
    """

    name: str
    title: str
    modality: str
    body_parts: tuple[str, ...]
    procedure: Code
    sites: tuple[Site, ...]
    observations: tuple[Observation, ...]
    digest: str
    locations: tuple[Location, ...] = ()

    def observation(self, identifier: str) -> Observation:
        """Return the observation with this id; KeyError where the schema has none."""
        return {o.id: o for o in self.observations}[identifier]

    def above(self, identifier: str) -> frozenset[str]:
        """Return the ids of all that is present where this observation is, itself left out."""
        found: set[str] = set()
        waiting = [*self.observation(identifier).parents]
        while waiting:
            if (each := waiting.pop()) not in found:
                found.add(each)
                waiting += self.observation(each).parents
        return frozenset(found)

    def site(self, identifier: str) -> Site:
        """Return the site with this id; KeyError where the schema has none."""
        return {s.id: s for s in self.sites}[identifier]

"""Severities and places of findings as targets, beside their presence.

After MAPLEZ (Bigolin Lanfredi, Mukherjee and Summers; arXiv 2403.04024): a place that the report
names is 1, one that this contradicts is 0 (right where it says left alone), and one of which
nothing is said is left out. Only what is present has a place or a severity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labeling.vocabulary import WHOLE, LabelSchema, Observation, State
from training.targets import Place

Details = dict[str, dict[str, dict[str, Any]]]
"""{observation: {site: {"locations": {id: 1.0 or 0.0}, "severity": step, "presence": target}}}, as
cohorts freeze it; what was not said is missing. Presence stands at "whole" alone, of observations
that have sites: a finding of which no site is said."""


@dataclass(frozen=True)
class Said:
    """What a label says beside its state: a step of the scale, words of place; ids or empty."""

    severity: str = ""
    locations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Typed:
    """Severity (step) by observation, and places (1.0 or 0.0) by observation, of one example."""

    severities: Mapping[str, int] = field(default_factory=dict)
    locations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def details_of(
    states: Mapping[Place, State | None],
    said: Mapping[Place, Said],
    schema: LabelSchema,
    presence: Mapping[str, float | None] | None = None,
) -> Details:
    """Return what may be learned of a report beside what it says of sites.

    Args:
        states: of its labels.
        said: severities and words of place.
        schema: scales and places.
        presence: target of the whole study, by observation that has sites.
    """
    found: Details = {
        name: {WHOLE: {"presence": value}}
        for name, value in (presence or {}).items()
        if value is not None
    }
    for observation in schema.observations:
        for site in (WHOLE, *observation.sites):
            place = observation.id, site
            if states.get(place) is State.PRESENT and place in said:
                told = _told(observation, said[place], schema)
                if told:
                    by_site = found.setdefault(observation.id, {})
                    by_site[site] = {**by_site.get(site, {}), **told}
    return found


def whole_details(details: Details) -> Typed:
    """Return what is known of whole studies: of the whole, else the worst of the sites."""
    severities: dict[str, int] = {}
    locations: dict[str, Mapping[str, float]] = {}
    for name, by_site in details.items():
        own = by_site.get(WHOLE, {})
        steps = [each["severity"] for each in by_site.values() if "severity" in each]
        if steps:
            severities[name] = own.get("severity", max(steps))
        if own.get("locations"):
            locations[name] = own["locations"]
    return Typed(severities, locations)


def whole_presence(details: Details, observation: str) -> float | None:
    """Return the target of the whole study, where the report says one of no site."""
    found: float | None = details.get(observation, {}).get(WHOLE, {}).get("presence")
    return found


def site_details(details: Details, site: str) -> Typed:
    """Return what is known of one site."""
    here = {name: by_site[site] for name, by_site in details.items() if site in by_site}
    return Typed(
        {name: each["severity"] for name, each in here.items() if "severity" in each},
        {name: each["locations"] for name, each in here.items() if each.get("locations")},
    )


def _told(observation: Observation, said: Said, schema: LabelSchema) -> dict[str, Any]:
    steps = [each.id for each in observation.severities]
    told: dict[str, Any] = {}
    if said.severity in steps:
        told["severity"] = steps.index(said.severity)
    places = _places(observation, said.locations, schema)
    if places:
        told["locations"] = places
    return told


def _places(
    observation: Observation, named: tuple[str, ...], schema: LabelSchema
) -> dict[str, float]:
    known = {each.id: each for each in schema.locations}
    own = set(observation.locations or known)
    meant = {other for each in named if each in known for other in (known[each].means or (each,))}
    against = {
        other.id
        for each in meant
        for other in schema.locations
        if other.id in known[each].excludes or each in other.excludes
    }
    return {each: float(each in meant) for each in sorted((meant | against) & own)}

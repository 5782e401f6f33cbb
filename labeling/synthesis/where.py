"""Says where a finding lies: at sites of the schema, or at a place in words."""

from __future__ import annotations

from collections.abc import Sequence

from labeling.places import locations_of, names_place
from labeling.synthesis.site_names import SiteNames, is_level
from labeling.synthesis.writer import Writer
from labeling.vocabulary import Observation

_PLACED, _EVERYWHERE = 0.4, 0.5


class Where:
    """One writer's words of place."""

    def __init__(self, writer: Writer, names: SiteNames) -> None:
        self._writer, self._names = writer, names
        self._schema, self._chance = writer.schema, writer.chance

    def at(
        self,
        observation: Observation,
        sites: Sequence[str],
        *,
        headed: bool,
        noun: str = "",
        placed: bool = True,
    ) -> tuple[str, str]:
        """Return " at L4-L5" or the like, and what of it tells where the finding lies.

        A noun that names a place gets no other.
        """
        if headed:
            return "", ""
        if sites:
            return f" {self._at_sites(sites)}", ""
        if not placed or observation.sites or self._chance.random() >= _PLACED:
            return "", ""
        if any(names_place(noun, each) for each in self._schema.locations):
            return "", ""
        own = self._writer.of(self._writer.own(observation).places)
        places = own or self._fitting(observation)
        if not places:
            return "", ""
        place = self._chance.choice(places)
        return f" {place}", place

    def _at_sites(self, sites: Sequence[str]) -> str:
        words = self._writer.wording.common.vocabulary
        levels = all(map(is_level, sites))
        if levels and len(sites) == len(self._schema.sites) and self._chance.random() < _EVERYWHERE:
            return self._chance.choice(words["every_site"])
        frame = self._chance.choice(words["at_level" if levels else "at_site"])
        if len(sites) > 1 and levels:
            frame = "at {site}"
        return frame.format(site=self._names.names(sites))

    def _fitting(self, observation: Observation) -> list[str]:
        """Return the places of the schema's file that the observation can have."""
        allowed = {each.id for each in locations_of(self._schema, observation)}
        return [
            place
            for place in self._writer.of(self._writer.wording.own.places)
            if {each.id for each in self._schema.locations if names_place(place, each)} <= allowed
        ]

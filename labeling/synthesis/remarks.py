"""Sentences about all findings at once, and sentences that claim nothing of any."""

from __future__ import annotations

from collections.abc import Sequence

from labeling.synthesis.claims import Claim, Statement, at_sites
from labeling.synthesis.frames import Frames, filled
from labeling.synthesis.nouns import Nouns, capitalised
from labeling.synthesis.site_names import SiteNames
from labeling.synthesis.writer import Writer
from labeling.vocabulary import Observation, State


class Remarks:
    """One writer's remarks on sites, on the study and on what is beside the point."""

    def __init__(self, writer: Writer, frames: Frames, nouns: Nouns, names: SiteNames) -> None:
        self._writer, self._frames, self._nouns, self._names = writer, frames, nouns, names

    def sites_say(self, kind: str, sites: Sequence[str], *, state: State) -> Statement:
        """Say of sites that they are normal ("sites_normal") or unchanged ("sites_stable")."""
        text = self._frames.one(kind).format(sites=self._names.names(sites))
        return Statement(capitalised(text), self._of_all(sites, state))

    def rest_normal(self, sites: Sequence[str]) -> Statement | None:
        """Say that the sites not named before are normal; None where there are no words for it."""
        frames = self._frames.of("rest_normal")
        if not frames:
            return None
        text = self._writer.chance.choice(frames)
        return Statement(text, self._of_all(sites, State.ABSENT))

    def study(self, state: State, observations: Sequence[Observation], name: str) -> Statement:
        """Say of the whole study that it is normal or unchanged."""
        kind = "study_normal" if state is State.ABSENT else "study_stable"
        text = self._frames.one(kind).format(study=name)
        claims = [claim for each in observations for claim in at_sites(each, (), state)]
        return Statement(capitalised(text), tuple(claims))

    def mentioned(self, observation: Observation) -> Statement:
        """Name a finding without saying anything of it: what was feared, treated or asked."""
        noun = self._nouns.bare(observation)
        return Statement(capitalised(filled(self._frames.one("mentioned"), noun, "")))

    def elsewhere(self, observation: Observation) -> Statement | None:
        """State a finding at a place outside the schema, which claims nothing."""
        places = self._writer.of(self._writer.wording.own.other_places)
        if not places or not observation.sites:
            return None
        noun = self._nouns.present(observation, places)
        frame = self._frames.one("found")
        text = filled(frame, noun, f" {self._writer.chance.choice(places)}")
        return Statement(capitalised(text))

    def _of_all(self, sites: Sequence[str], state: State) -> tuple[Claim, ...]:
        return tuple(
            Claim(each.id, site, state)
            for each in self._writer.schema.observations
            for site in sites
            if site in each.sites
        )

"""What a report has said so far, so that it does not contradict itself by accident."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labeling.synthesis.claims import Claim, Statement
from labeling.vocabulary import WHOLE, LabelSchema, State

_FOUND = frozenset({State.PRESENT, State.UNCERTAIN})
_GENERAL = frozenset({State.ABSENT, State.STABLE_UNKNOWN})


class Ledger:
    """The claims of a report as it is written."""

    def __init__(self, schema: LabelSchema) -> None:
        self._said: dict[str, dict[str, State]] = {each.id: {} for each in schema.observations}
        self._above = {each.id: schema.above(each.id) for each in schema.observations}
        self._below = {
            each: {other for other, above in self._above.items() if each in above}
            for each in self._above
        }

    def fits(self, claims: Iterable[Claim]) -> bool:
        """Return whether claims contradict nothing that was said."""
        return all(self._agrees(each) for each in claims)

    def add(self, statement: Statement) -> None:
        """Note what a statement claims."""
        for each in statement.claims:
            self._said[each.observation].setdefault(each.site, each.state)

    def sites_of(self, observation: str) -> set[str]:
        """Return the sites of which something was said of an observation."""
        return set(self._said[observation]) - {WHOLE}

    def named(self) -> set[str]:
        """Return the sites of which anything was said."""
        return {site for said in self._said.values() for site in said} - {WHOLE}

    def state(self, observation: str, site: str) -> State | None:
        """Return what was said of an observation at a site, or in general and so there, too."""
        said = self._said[observation]
        general = said.get(WHOLE)
        return said.get(site, general if general in _GENERAL else None)

    def says_whole(self, observation: str) -> State | None:
        """Return what was said of an observation without a site."""
        return self._said[observation].get(WHOLE)

    def has(self, observation: str, states: Sequence[State]) -> bool:
        """Return whether an observation was said to be in one of these states anywhere."""
        return any(state in states for state in self._said[observation].values())

    def _agrees(self, claim: Claim) -> bool:
        said = self._said[claim.observation]
        if claim.state in _FOUND and any(
            self._clashes(parent, claim.site) for parent in self._above[claim.observation]
        ):
            return False
        if claim.state in _GENERAL and any(
            self._found(child, claim.site) for child in self._below[claim.observation]
        ):
            return False
        if said.get(claim.site, claim.state) is not claim.state:
            return False
        if claim.site != WHOLE:
            general = said.get(WHOLE)
            return general not in _GENERAL or general is claim.state
        return claim.state in _FOUND or all(each is claim.state for each in said.values())

    def _clashes(self, observation: str, site: str) -> bool:
        """Tell whether an observation was denied, or left open, where a child of it is found."""
        said = self._said[observation]
        return said.get(site) in _GENERAL or said.get(WHOLE) in _GENERAL

    def _found(self, observation: str, site: str) -> bool:
        said = self._said[observation]
        return any(s in _FOUND for at, s in said.items() if site in (WHOLE, at))

"""From states to training targets: the uncertain policy is applied here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

from labeling.vocabulary import WHOLE, LabelSchema, Observation, State, UncertainPolicy

__all__ = ["Place", "Targets", "UncertainPolicy", "target", "targets_of", "usable"]

Place = tuple[str, str]
"""Observation and site."""
Targets = dict[str, dict[str, float | None]]
"""{observation: {site: 1.0 present, 0.0 absent, None unknown}}."""

# "uncertain" is left out, counts as present, or counts as absent (Kreutzer et al., Eur Radiol
# 2025, compare the latter two). Silence, an unknown stable finding and a failed reading are
# never "absent".
_UNCERTAIN: dict[UncertainPolicy, float | None] = {
    "mask": None,
    "inclusive": 1.0,
    "exclusive": 0.0,
}
_CERTAIN: dict[State | None, float | None] = {State.PRESENT: 1.0, State.ABSENT: 0.0}


def target(state: State | None, policy: UncertainPolicy) -> float | None:
    """Return 1.0 for present, 0.0 for absent, None for unknown; "uncertain" goes by the policy."""
    return _UNCERTAIN[policy] if state is State.UNCERTAIN else _CERTAIN.get(state)


def targets_of(
    states: Mapping[Place, State | None], schema: LabelSchema, policy: UncertainPolicy
) -> Targets:
    """Return the target of every observation of the schema at every one of its sites.

    What is said of a site wins over what is said of the whole. An observation that is absent on
    the whole is absent at each site that nothing is said of; one that is present somewhere leaves
    such sites unknown. An observation without sites has the one site "whole".

    Args:
        states: state by observation and site; None where readers disagree.
        schema: the observations and their sites.
        policy: what "uncertain" becomes where the observation has no policy of its own.
    """
    return {
        each.id: _by_site(each, states, each.uncertain_policy or policy)
        for each in schema.observations
    }


def _by_site(
    observation: Observation, states: Mapping[Place, State | None], policy: UncertainPolicy
) -> dict[str, float | None]:
    whole = target(states.get((observation.id, WHOLE)), policy)
    implied = 0.0 if whole == 0.0 else None
    sites = [site for site in observation.sites if site != WHOLE]
    if not sites:
        return {WHOLE: whole}
    return {
        site: implied
        if _silent(states, (observation.id, site))
        else target(states[observation.id, site], policy)
        for site in sites
    }


def _silent(states: Mapping[Place, State | None], place: Place) -> bool:
    return place not in states or states[place] is State.NOT_MENTIONED


def usable(targets: Targets) -> bool:
    """Tell whether at least one target is known."""
    return any(value is not None for sites in targets.values() for value in sites.values())

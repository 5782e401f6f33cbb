"""From states to training targets: the uncertain policy is applied here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

from labeling.vocabulary import WHOLE, LabelSchema, Observation, State, UncertainPolicy

__all__ = ["Place", "Targets", "UncertainPolicy", "target", "targets_of", "usable"]

Place = tuple[str, str]
"""Observation and site."""
Targets = dict[str, dict[str, float | None]]
"""{observation: {site: 1.0 present, 0.0 absent, between them soft, None unknown}}."""

Probabilities = Mapping[Place, float]
"""Calibrated probabilities of "present"; a place is missing where none was fitted."""

# "uncertain" is left out, counts as present, or counts as absent (Kreutzer et al., Eur Radiol
# 2025, compare the latter two), or as its probability (Bigolin Lanfredi et al., MAPLEZ, 2024).
# Silence, an unknown stable finding and a failed reading are never "absent".
_UNCERTAIN: dict[UncertainPolicy, float | None] = {
    "mask": None,
    "inclusive": 1.0,
    "exclusive": 0.0,
    "soft": None,  # where the label has no probability
}
_CERTAIN: dict[State | None, float | None] = {State.PRESENT: 1.0, State.ABSENT: 0.0}


def target(
    state: State | None, policy: UncertainPolicy, probability: float | None = None
) -> float | None:
    """Return 1.0 for present, 0.0 for absent, None for unknown; "uncertain" goes by the policy.

    Args:
        state: what was said; None: readers disagree.
        policy: what "uncertain" becomes.
        probability: calibrated, of present; used by the policy "soft" alone.
    """
    if state is State.UNCERTAIN and policy == "soft":
        return probability
    return _UNCERTAIN[policy] if state is State.UNCERTAIN else _CERTAIN.get(state)


def targets_of(
    states: Mapping[Place, State | None],
    schema: LabelSchema,
    policy: UncertainPolicy,
    probabilities: Probabilities | None = None,
    *,
    own_policies: bool = True,
) -> Targets:
    """Return the target of every observation of the schema at every one of its sites.

    What is said of a site wins over what is said of the whole. An observation that is absent on
    the whole is absent at each site that nothing is said of; one that is present somewhere leaves
    such sites unknown. An observation without sites has the one site "whole".

    Args:
        states: state by observation and site; None where readers disagree.
        schema: the observations and their sites.
        policy: what "uncertain" becomes where the observation has no policy of its own.
        probabilities: of the labels, for the policy "soft".
        own_policies: whether the observations' own policies count.
    """
    return {
        each.id: _by_site(
            each,
            states,
            (own_policies and each.uncertain_policy) or policy,
            probabilities or {},
        )
        for each in schema.observations
    }


def soft_observations(schema: LabelSchema, policy: UncertainPolicy) -> tuple[str, ...]:
    """Return the observations whose uncertain labels become probabilities, in order."""
    return tuple(
        each.id for each in schema.observations if (each.uncertain_policy or policy) == "soft"
    )


def _by_site(
    observation: Observation,
    states: Mapping[Place, State | None],
    policy: UncertainPolicy,
    probabilities: Probabilities,
) -> dict[str, float | None]:
    def at(site: str) -> float | None:
        place = observation.id, site
        return target(states.get(place), policy, probabilities.get(place))

    whole = at(WHOLE)
    implied = 0.0 if whole == 0.0 else None
    sites = [site for site in observation.sites if site != WHOLE]
    if not sites:
        return {WHOLE: whole}
    return {
        site: implied if _silent(states, (observation.id, site)) else at(site) for site in sites
    }


def _silent(states: Mapping[Place, State | None], place: Place) -> bool:
    return place not in states or states[place] is State.NOT_MENTIONED


def usable(targets: Targets) -> bool:
    """Tell whether at least one target is known."""
    return any(value is not None for sites in targets.values() for value in sites.values())

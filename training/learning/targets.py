"""Targets of examples as matrices, and the heads that they call for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.architectures.protocol import Heads
from training.learning.example import Example
from training.learning.losses import bounded_weights
from training.samples import hard

Floats = NDArray[np.float64]


def presence_matrix(examples: Sequence[Example], observations: Sequence[str]) -> Floats:
    """Return the probabilities of presence (examples, observations), NaN for unknown."""
    rows = [[each.presence.get(name, np.nan) for name in observations] for each in examples]
    return np.asarray(rows, dtype=np.float64).reshape(len(examples), len(observations))


def heads_for(
    examples: Sequence[Example],
    observations: Sequence[str],
    *,
    most_weight: float = 8.0,
    locations: Mapping[str, tuple[str, ...]] | None = None,
    severities: Mapping[str, int] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Heads:
    """Return heads for the observations, their positives weighted by the training fold.

    Args:
        examples: of all folds; weights come from "train" alone.
        observations: ids, in the order of the outputs.
        most_weight: bound of the positive weights.
        locations, severities, weights: as in ``Heads``.
    """
    learned = [each for each in examples if each.fold == "train"]
    targets = presence_matrix(learned, observations)
    balanced = bounded_weights(
        list(np.nansum(targets, axis=0)), list(np.nansum(1.0 - targets, axis=0)), most_weight
    )
    return Heads(
        observations=tuple(observations),
        locations=dict(locations or {}),
        severities=dict(severities or {}),
        weights=dict(weights or {}),
        positive_weights=dict(zip(observations, balanced, strict=True)),
    )


def locations_learned(
    examples: Sequence[Example], observations: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return by observation the places that training examples both say and contradict."""
    found: dict[str, dict[str, set[float]]] = {name: {} for name in observations}
    for each in (e for e in examples if e.fold == "train"):
        for name, places in each.locations.items():
            for place, value in places.items():
                if name in found:
                    found[name].setdefault(place, set()).add(value)
    kept = {
        name: tuple(sorted(place for place, values in places.items() if len(values) > 1))
        for name, places in found.items()
    }
    return {name: places for name, places in kept.items() if places}


def steps_learned(examples: Sequence[Example], observations: Sequence[str]) -> dict[str, int]:
    """Return by observation how many steps its scale has, up to the greatest that was learned.

    One of which the training examples hold a single step has none to tell apart. What validation
    holds beyond them still has a place on the scale.
    """
    known = [e for e in examples if e.fold != "test"]
    found = {}
    for name in observations:
        steps = {(e.fold, e.severities[name]) for e in known if name in e.severities}
        if len({step for fold, step in steps if fold == "train"}) > 1:
            found[name] = max(step for _, step in steps) + 1
    return found


def counts(
    examples: Sequence[Example], observations: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    """Return by observation and fold how many "positives" and "negatives" are known."""
    found: dict[str, dict[str, dict[str, int]]] = {name: {} for name in observations}
    for fold in ("train", "validation", "test"):
        chosen = [each for each in examples if each.fold == fold]
        targets = hard(presence_matrix(chosen, observations))
        for name, column in zip(observations, targets.T, strict=True):
            found[name][fold] = {
                "positives": int((column == 1.0).sum()),
                "negatives": int((column == 0.0).sum()),
            }
    return found

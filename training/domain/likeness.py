"""How far an overview lies from those that a model learned from.

Each group of numbers has a mean and a covariance, shrunk as Ledoit and Wolf do ("A well-conditioned
estimator for large-dimensional covariance matrices", Journal of Multivariate Analysis 2004), and an
overview its Mahalanobis distance to them. The logarithms of the distances are brought to one scale
by inputs that the description had not seen, and the greatest counts. Only means, axes and variances
are kept, no input.

A picture that is turned round differs less from upright ones than people do from each other. So its
layout is compared with that of the same picture upside down and mirrored: upright ones are nearest
as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage

from training.domain.overview import GROUPS, Overview

Floats = NDArray[np.float64]

LEAST = 24
"""Inputs below which no description of pixels is made."""

SHARE = 0.01
"""Share of inputs as they were learned from that lies beyond the threshold of distances."""

SHARE_TURNED = 0.004
"""The same for layouts that are nearer when they are turned round."""

_MOST_INPUTS = 2000  # that a description is made of
_MOST_AXES = 128  # beyond them every direction has the same variance
_FLOOR = 0.1  # of the usual spread of a number: one that never changed has some, too
_PARTS = 5  # of the inputs, each judged by what the others are like
_TAIL = 0.2  # share of the greatest distances that the tail is fitted to


@dataclass(frozen=True)
class GroupShape:
    """One group of numbers: ``mean`` and ``scale`` (n), ``axes`` (axes, n), ``variances`` (axes).

    ``rest`` is the variance in every direction beside the axes.
    """

    mean: Floats
    scale: Floats
    axes: Floats
    variances: Floats
    rest: float

    def distances(self, given: Floats) -> Floats:
        """Return the logarithm of the squared distance of numbers (inputs, n), for each input."""
        standard = (given - self.mean) / self.scale
        along = standard @ self.axes.T
        left = standard - along @ self.axes
        squares = (along**2 / self.variances).sum(axis=1) + (left**2).sum(axis=1) / self.rest
        return np.asarray(np.log(squares / len(self.mean) + 1e-9))


@dataclass(frozen=True)
class Likeness:
    """What overviews were like.

    Attributes:
        shapes: by group.
        centres, spreads: of the distances, by group in the order of ``GROUPS``.
        threshold: beyond which an overview is unlike them.
        turned: how much farther a layout may be as it is than turned round, as logarithm.
    """

    shapes: Mapping[str, GroupShape]
    centres: Floats
    spreads: Floats
    threshold: float
    turned: float

    def standard(self, overviews: Sequence[Overview]) -> Floats:
        """Return the standardised distances (overviews, groups)."""
        return np.asarray((_distances(self.shapes, overviews) - self.centres) / self.spreads)

    def leaning(self, overviews: Sequence[Overview]) -> Floats:
        """Return how much farther each layout is as it is than turned round, as logarithm."""
        return _leaning(self.shapes, overviews)


def likeness_of(overviews: Sequence[Overview], patients: Sequence[str], held: int) -> Likeness:
    """Describe overviews, and set the threshold by those that a description had not seen.

    Args:
        overviews: at least ``LEAST``; those to learn from first.
        patients: of each; a patient's overviews are left out together.
        held: how many at the end are only judged, by the description of all others.
    """
    learned = len(overviews) - held
    shapes = _shapes(overviews[:learned])
    part_of = {key: number % _PARTS for number, key in enumerate(dict.fromkeys(patients[:learned]))}
    parts = np.asarray([part_of[key] for key in patients[:learned]])
    unseen = [_judged(shapes, overviews[learned:])] if held else []
    for part in sorted(set(part_of.values())):
        others = [overviews[i] for i in range(learned) if parts[i] != part]
        left_out = [overviews[i] for i in range(learned) if parts[i] == part]
        if others:
            unseen.append(_judged(_shapes(others), left_out))
    judged = np.concatenate(unseen)
    distances, leaning = judged[:, :-1], judged[:, -1]
    centres, spreads = distances.mean(axis=0), distances.std(axis=0) + 1e-6
    greatest = ((distances - centres) / spreads).max(axis=1)
    # A picture that is turned round is a grave error, and a wrong alarm about it is rare: here the
    # nearer threshold is the safer one.
    turned = threshold_of(leaning, SHARE_TURNED, doubted=False)
    return Likeness(shapes, centres, spreads, threshold_of(greatest, SHARE), turned)


def threshold_of(distances: Floats, share: float, *, doubted: bool = True) -> float:
    """Return the distance beyond which a share of inputs like these is expected to lie.

    Beyond a high quantile distances are taken to fall off exponentially (peaks over a threshold;
    Coles, "An introduction to statistical modeling of extreme values", 2001), as a few dozen
    inputs hold no quantile of 99 %. How fast, the few that lie there tell badly: the quantile of
    the next input averages over that doubt and lies farther out the fewer they are.

    Args:
        distances: of inputs that a description had not seen.
        share: that shall lie beyond.
        doubted: take the quantile of the next input; else that of the likeliest fall.
    """
    start = float(np.quantile(distances, 1 - _TAIL))
    beyond = distances[distances > start] - start
    if not len(beyond):
        return start
    if not doubted:
        return start + float(beyond.mean()) * float(np.log(_TAIL / share))
    return start + float(beyond.sum()) * float((_TAIL / share) ** (1 / len(beyond)) - 1)


def _shapes(overviews: Sequence[Overview]) -> dict[str, GroupShape]:
    return {name: _shape(np.stack([each.groups[name] for each in overviews])) for name in GROUPS}


def _shape(given: Floats) -> GroupShape:
    given = given[:: -(-len(given) // _MOST_INPUTS)]
    mean, scale = given.mean(axis=0), given.std(axis=0)
    scale = np.maximum(scale, max(_FLOOR * float(np.median(scale)), 1e-6))
    standard = (given - mean) / scale
    _, lengths, axes = np.linalg.svd(standard, full_matrices=False)
    variances = lengths**2 / len(given)
    usual = float(variances.sum()) / given.shape[1]
    share = float(ledoit_wolf_shrinkage(standard, assume_centered=True))
    count = min(_MOST_AXES, len(variances), given.shape[1] - 1)
    others = float(variances[count:].sum()) / (given.shape[1] - count)
    return GroupShape(
        mean,
        scale,
        axes[:count],
        (1 - share) * variances[:count] + share * usual + 1e-6,
        (1 - share) * others + share * usual + 1e-6,
    )


def _distances(shapes: Mapping[str, GroupShape], overviews: Sequence[Overview]) -> Floats:
    return np.stack(
        [shapes[name].distances(np.stack([o.groups[name] for o in overviews])) for name in GROUPS],
        axis=1,
    )


def _leaning(shapes: Mapping[str, GroupShape], overviews: Sequence[Overview]) -> Floats:
    shape = shapes["layout"]
    as_it_is = shape.distances(np.stack([each.groups["layout"] for each in overviews]))
    turned = [
        shape.distances(np.stack(each)) for each in zip(*(o.turned for o in overviews), strict=True)
    ]
    return np.asarray(as_it_is - np.min(turned, axis=0))


def _judged(shapes: Mapping[str, GroupShape], overviews: Sequence[Overview]) -> Floats:
    """Return the distances (overviews, groups) and, last, which way round layouts lean."""
    return np.column_stack([_distances(shapes, overviews), _leaning(shapes, overviews)])

"""Logistic recalibration by maximum likelihood, for many rows of weights at once.

Newton's method with steps that are halved until the likelihood rises: the likelihood is concave,
so this finds its maximum from any start, where whole steps overshoot on probabilities that are far
too extreme or far off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logit

from labeling.evaluation.resampling import Floats, ratio

NEAREST = 1e-6
"""Probabilities are taken no nearer to 0 and 1 than this, where they become log odds."""

ALIKE = "all probabilities are alike"
SEPARATED = "the finding separates by the probability"
NOT_CONVERGED = "the fit did not converge"

_STEPS = 60
_HALVINGS = 40
_SMALL = 1e-8
_SURE = 0.5
"""A step of Newton that moves no log odds by more leads up (Bach, Electron J Stat 2010;4:384)."""

Rows = NDArray[np.bool_]


def recalibration(target: Floats, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return slope, and intercept at slope 1, of the target on the log odds of the score.

    NaN where there is no maximum: a class is missing or, for the slope, the classes do not overlap
    (:func:`why_no_slope`; Albert and Anderson, Biometrika 1984;71:1).

    Args:
        target, score: shape (n,); scores are probabilities.
        weights: shape (draws, n).

    Returns:
        Two arrays of shape (draws,).
    """
    odds = logit(np.clip(score, NEAREST, 1 - NEAREST))
    slope, shift = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    both = (weights @ target > 0) & (weights @ (1 - target) > 0)
    if both.any():
        shift[both] = _fitted(target, odds, weights[both], with_slope=False)[:, 1]
    overlap = both & _overlap(target, odds, weights)
    if overlap.any():
        slope[overlap] = _fitted(target, odds, weights[overlap], with_slope=True)[:, 0]
    return slope, shift


def why_no_slope(target: Floats, score: Floats) -> str:
    """Return why cases of both classes, each counting once, have no slope."""
    odds = logit(np.clip(score, NEAREST, 1 - NEAREST))
    if odds.size and np.ptp(odds) == 0:
        return ALIKE
    if not _overlap(target, odds, np.ones((1, target.size)))[0]:
        return SEPARATED
    return NOT_CONVERGED


def _overlap(target: Floats, odds: Floats, weights: Floats) -> Rows:
    """Tell for which rows each class has odds beyond the least, or greatest, of the other."""
    ends = []
    for side in (target > 0, target == 0):
        there = (weights > 0) & side
        ends.append(
            (
                np.where(there, odds, np.inf).min(axis=1, initial=np.inf),
                np.where(there, odds, -np.inf).max(axis=1, initial=-np.inf),
            )
        )
    (least, most), (least_without, most_without) = ends
    overlap: Rows = (least < most_without) & (least_without < most)
    return overlap


def _fitted(target: Floats, odds: Floats, weights: Floats, *, with_slope: bool) -> Floats:
    """Return slope and intercept of each row, shape (rows, 2); NaN where it did not converge."""
    middle = float(odds.mean())
    if with_slope:
        odds = odds - middle  # the slope stays, and the numbers are told apart better
    share = ratio(weights @ target, weights.sum(axis=1))
    left, now = np.arange(len(weights)), np.zeros((len(weights), 2))
    now[:, 0], now[:, 1] = (0.0, logit(share)) if with_slope else (1.0, logit(share) - middle)
    if len(weights) > 1:  # draws of one sample lie near each other, and begin where all lie
        together = _fitted(target, odds, weights.sum(axis=0)[None, :], with_slope=with_slope)[0]
        now = np.tile(together, (len(weights), 1)) if np.isfinite(together).all() else now
    found = np.full(now.shape, np.nan)
    for _ in range(_STEPS):
        own = weights[left]
        step = _step(target, odds, own, now, with_slope=with_slope)
        step = _climbing(target, odds, own, now, step)
        now = now + step
        done = (np.abs(step) < _SMALL * (1 + np.abs(now))).all(axis=1)
        found[left[done]] = now[done]
        left, now = left[~done], now[~done]
        if not left.size:
            break
    return found


def _climbing(target: Floats, odds: Floats, weights: Floats, now: Floats, step: Floats) -> Floats:
    """Return steps that are halved until they lead up, or are so small that they surely do."""
    step, reach = step.copy(), float(np.abs(odds).max())
    for _ in range(_HALVINGS):
        far = np.flatnonzero(np.abs(step) @ np.array([reach, 1.0]) > _SURE)
        if far.size:
            own, start = weights[far], now[far]
            height = _likelihood(target, odds, own, start)
            far = far[~(_likelihood(target, odds, own, start + step[far]) >= height)]
        if not far.size:
            break
        step[far] /= 2
    return step


def _likelihood(target: Floats, odds: Floats, weights: Floats, at: Floats) -> Floats:
    """Return the log likelihood of each row."""
    linear = at[:, :1] * odds + at[:, 1:]
    found: Floats = np.einsum("ij,ij->i", weights, log_expit(np.where(target > 0, linear, -linear)))
    return found


def _step(target: Floats, odds: Floats, weights: Floats, at: Floats, *, with_slope: bool) -> Floats:
    """Return Newton's step; where the curvature is lost, one up the gradient."""
    said = expit(at[:, :1] * odds + at[:, 1:])
    missing, spread = weights * (target - said), weights * said * (1 - said)
    gradient, flat = missing.sum(axis=1), spread.sum(axis=1)
    step = np.zeros(at.shape)
    with np.errstate(all="ignore"):
        if not with_slope:
            step[:, 1] = np.where(flat > 0, gradient / flat, np.sign(gradient))
            return step
        by_odds, cross, steep = missing @ odds, spread @ odds, spread @ (odds * odds)
        volume = flat * steep - cross * cross
        step[:, 0] = (flat * by_odds - cross * gradient) / volume
        step[:, 1] = (steep * gradient - cross * by_odds) / volume
    lost = ~np.isfinite(step).all(axis=1) | (volume <= 0)
    climb = np.column_stack([by_odds, gradient])
    step[lost] = climb[lost] / (1 + np.abs(climb[lost]).max(axis=1, keepdims=True))
    return step

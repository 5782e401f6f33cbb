"""Choose, among bars that may be discs, the chain that is a lumbar spine, and number its discs.

The numbering rests on how a lumbar spine bends: the discs turn step by step and the last one above
the sacrum is tilted most. Means and spreads were set by hand from typical supine adults; they are
wide on purpose. Where a chain numbered one disc higher or lower fits nearly as well, the margin is
small and the caller must not trust the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.disc_response import Candidates
from training.geometry import Floats

# From L1-L2 to L5-S1: tilt in degrees and its spread; positive where the front end is lower.
_TILT = (-9.0, -5.0, 1.0, 12.0, 34.0)
_TILT_SPREAD = (8.0, 7.0, 7.0, 7.0, 10.0)


@dataclass(frozen=True)
class _Step:
    """What is expected from one disc to the next; angles in degrees, lengths in mm."""

    turn: float
    turn_spread: float
    spacing: float
    depth_ratio: float  # natural logarithm of the lower by the upper depth
    depth_spread: float


_STEPS = (
    _Step(4.0, 5.5, 34.5, 0.05, 0.10),
    _Step(6.0, 5.5, 35.5, 0.04, 0.10),
    _Step(11.0, 5.5, 36.5, 0.02, 0.10),
    _Step(22.0, 9.0, 36.5, -0.04, 0.10),
)
_ABOVE = _Step(1.0, 6.0, 33.0, 0.05, 0.10)  # T12-L1 to L1-L2
_BELOW = _Step(16.0, 8.0, 32.0, -0.33, 0.15)  # L5-S1 to S1-S2: the sacrum tapers
# A disc as deep as the last one below it: then the last one was not L5-S1.
_FURTHER = _Step(16.0, 12.0, 35.0, -0.03, 0.10)
_SPACING_SPREAD = 3.5
# People differ in size: each is tried, as a factor on all spacings, with its prior log score.
_SIZES = {0.8: -1.5, 0.9: -0.3, 1.0: 0.0, 1.1: -0.3, 1.2: -1.5}
_SIDESTEP_SPREAD = 4.0  # mm across the line that two discs' tilt predicts; a slip is aside
_CONTRAST_WEIGHT = 12.0
_CONTRAST_ENOUGH = 0.40  # more contrast is no more evidence
_ABOVE_WEIGHT = 0.5  # how much the contrast of the discs beyond the lumbar ones counts
_BELOW_WEIGHT = 1.0
_SAME = 15.0  # mm: a chain whose last disc lies closer than this has the same numbering


@dataclass(frozen=True)
class Chain:
    """Indices of the candidates from L1-L2 to L5-S1, their score, and the lead over the next best.

    ``margin`` compares with the best chain whose L5-S1 lies elsewhere; both are log scores.
    """

    indices: tuple[int, ...]
    score: float
    margin: float


def find_chain(candidates: Candidates) -> Chain | None:
    """Return the best chain of five discs, or None where the candidates form none."""
    if len(candidates.row) < len(_TILT):
        return None
    by_size = [_last_scores(candidates, size, prior) for size, prior in _SIZES.items()]
    scores = max(by_size, key=lambda each: float(each.totals.max()))
    indices = _trace(scores)
    last = indices[-1]
    distance = np.hypot(
        candidates.row - candidates.row[last], candidates.column - candidates.column[last]
    )
    rivals = np.max([each.totals for each in by_size], axis=0)
    score = float(scores.totals[last])
    return Chain(indices, score, score - float(np.where(distance < _SAME, -np.inf, rivals).max()))


def unseen_lead(candidates: Candidates, chain: Chain) -> float:
    """Return the log score by which a chain's bend speaks against one more disc below it.

    For pictures that end below the last disc, where no bar can be a rival: the discs may as well
    be those from T12-L1 to L4-L5.
    """
    tilt = candidates.tilt[list(chain.indices)]
    usual = _bend(tilt, (*zip(_TILT, _TILT_SPREAD, strict=True),), _STEPS)
    shifted = ((_TILT[0] - _ABOVE.turn, _TILT_SPREAD[0]), *zip(_TILT, _TILT_SPREAD, strict=True))
    return usual - _bend(tilt, shifted[: len(_TILT)], (_ABOVE, *_STEPS[:-1]))


def _bend(tilt: Floats, expected: Sequence[tuple[float, float]], steps: Sequence[_Step]) -> float:
    tilts = sum(
        ((t - mean) / spread) ** 2 for t, (mean, spread) in zip(tilt, expected, strict=True)
    )
    turns = sum(
        ((turn - step.turn) / step.turn_spread) ** 2
        for turn, step in zip(np.diff(tilt), steps, strict=True)
    )
    return float(-0.5 * (tilts + turns))


@dataclass(frozen=True)
class _Scores:
    totals: Floats  # best score of a chain that ends at each candidate
    parents: tuple[Floats, ...]  # per level after the first: the best candidate above


def _last_scores(candidates: Candidates, size: float, prior: float) -> _Scores:
    """Run dynamic programming from the top disc to the bottom one, for a person of one size."""
    evidence = _CONTRAST_WEIGHT * np.minimum(candidates.contrast, _CONTRAST_ENOUGH)
    above = _pair_scores(candidates, _ABOVE, size) + _ABOVE_WEIGHT * evidence[:, None]
    totals = prior + evidence + _tilt_score(candidates, 0) + np.maximum(above.max(axis=0), 0)
    parents = []
    for level, step in enumerate(_STEPS, start=1):
        pair = totals[:, None] + _pair_scores(candidates, step, size)
        parents.append(pair.argmax(axis=0))
        totals = pair.max(axis=0) + evidence + _tilt_score(candidates, level)
    return _Scores(totals + _ending(candidates, evidence, size), tuple(parents))


def _ending(candidates: Candidates, evidence: Floats, size: float) -> Floats:
    """Score each candidate as the last disc: S1-S2 below speaks for it, another lumbar against."""
    beneath = _BELOW_WEIGHT * evidence[None, :]
    sacral = (_pair_scores(candidates, _BELOW, size) + beneath).max(axis=1)
    lumbar = (_pair_scores(candidates, _FURTHER, size) + beneath).max(axis=1)
    return np.asarray(np.maximum(sacral, 0) - np.maximum(lumbar, 0))


def _trace(scores: _Scores) -> tuple[int, ...]:
    indices = [int(scores.totals.argmax())]
    for parents in reversed(scores.parents):
        indices.append(int(parents[indices[-1]]))
    return tuple(reversed(indices))


def _tilt_score(candidates: Candidates, level: int) -> Floats:
    return np.asarray(-0.5 * ((candidates.tilt - _TILT[level]) / _TILT_SPREAD[level]) ** 2)


def _pair_scores(candidates: Candidates, step: _Step, size: float) -> Floats:
    """Return the score of every ordered pair (upper, lower) as neighbours."""
    rows = candidates.row[None, :] - candidates.row[:, None]
    columns = candidates.column[None, :] - candidates.column[:, None]
    turned = candidates.tilt[None, :] - candidates.tilt[:, None]
    ratio = np.log(candidates.depth)[None, :] - np.log(candidates.depth)[:, None]
    middle = np.radians((candidates.tilt[None, :] + candidates.tilt[:, None]) / 2)
    down = rows * np.cos(middle) + columns * np.sin(middle)
    aside = columns * np.cos(middle) - rows * np.sin(middle)
    deviations = (
        (down - step.spacing * size) / _SPACING_SPREAD,
        aside / _SIDESTEP_SPREAD,
        (turned - step.turn) / step.turn_spread,
        (ratio - step.depth_ratio) / step.depth_spread,
    )
    return np.asarray(-0.5 * sum(d**2 for d in deviations))

"""A whole series or picture in few numbers: how bright it is, how rough, and what lies where.

The numbers are of the images as they are read, before anything is cut out of them: what a network
is shown may look right, with discs cut from the wrong part of a spine. Brightness is brought into
one range by percentiles, as scanners have no common scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import Permanent
from training.learning.classical import picture_features

Floats = NDArray[np.float64]

FORM = "overview-1"
"""Names how overviews are made; one that is made otherwise gets another name."""

SIDE = 64
"""Rows and columns of each slice in an overview, whatever field the images cover."""

GROUPS = ("tone", "regions", "layout")
"""What is described, each with a distance of its own."""

_PLACES = (0.25, 0.5, 0.75)  # of the slices that are looked at
_DARKEST, _BRIGHTEST = 1.0, 99.5  # percentiles that become 0 and 1
_STEPS = 16  # of the histogram
_RINGS = 10  # of the power spectrum
_LAGS = (1, 2, 4)  # pixels between which differences are taken
_FINE = 512  # pixels a side at most, in which differences are taken
_LARGEST = 1024  # pixels a side about; of larger pictures only some pixels are looked at
_SMALL = 1e-6
_REGIONS = 4  # a side
_TURNS = ((1,), (2,), (1, 2))  # axes that are turned round: upside down, mirrored, both
_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of brightness in a region


@dataclass(frozen=True)
class Overview:
    """Numbers of one series, float64, by group; ``blank``: one value fills it.

    ``turned`` (3, n) is the group "layout" as it would be upside down, mirrored, and both.
    """

    groups: Mapping[str, Floats]
    turned: Floats
    blank: bool = False

    def vector(self) -> NDArray[np.float32]:
        """Return all numbers in one row, for the cache."""
        parts = [self.groups[name] for name in GROUPS]
        lengths = [len(each) for each in parts]
        return np.concatenate([[self.blank], lengths, *parts, self.turned.ravel()]).astype(
            np.float32
        )

    @classmethod
    def of_vector(cls, vector: NDArray[np.float32]) -> Overview:
        """Return what ``vector`` was made of."""
        head = 1 + len(GROUPS)
        lengths = vector[1:head].astype(int)
        *parts, turned = np.split(vector[head:].astype(np.float64), np.cumsum(lengths))
        groups = dict(zip(GROUPS, parts, strict=True))
        return cls(groups, turned.reshape(len(_TURNS), -1), bool(vector[0]))


def overview_of(array: NDArray[np.floating]) -> Overview:
    """Describe a stack (slices, rows, columns), or one picture as a stack of one.

    Raises:
        Permanent: it holds no pixels, or pixels that are no finite numbers.
    """
    if array.ndim != 3 or min(array.shape) < 1:
        raise Permanent("the images hold no pixels")
    at = [round(each * (len(array) - 1)) for each in _PLACES]
    slices = {place: _thinned(array[place]) for place in set(at)}
    reduced = {place: _small(each) for place, each in slices.items()}
    small = np.stack([reduced[place] for place in at])
    if not np.isfinite(small).all():
        raise Permanent("a pixel of the images is no finite number")
    low, high = np.percentile(small, (_DARKEST, _BRIGHTEST))
    spread = float(high - low)
    blank = not spread > _SMALL * max(abs(float(high)), abs(float(low)), 1.0)
    unit = 1.0 if blank else spread
    scaled = np.clip((small - low) / unit, -0.5, 1.5)
    middle = slices[at[1]]
    groups = {
        "tone": np.concatenate([_brightness(scaled, middle), _texture(scaled[1], middle, unit)]),
        "regions": _regions(scaled[1]),
        "layout": _layout(scaled),
    }
    turned = np.stack([_layout(np.flip(scaled, axes)) for axes in _TURNS])
    groups = {name: each.astype(np.float64) for name, each in groups.items()}
    return Overview(groups, turned.astype(np.float64), blank)


def _thinned(picture: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return every n-th pixel of a large picture: a radiograph has ten million."""
    down, right = (max(side // _LARGEST, 1) for side in picture.shape)
    return picture[::down, ::right]


def _small(picture: NDArray[np.floating]) -> Floats:
    """Return a picture as SIDE x SIDE pixels, each the mean of what it covers.

    One with fewer pixels is repeated: that is cheap, and its texture says so.
    """
    down, right = (_edges(side) for side in picture.shape)
    whole = picture.astype(np.float64)
    repeats = [max(-(-SIDE // side), 1) for side in picture.shape]
    if max(repeats) > 1:
        whole = np.repeat(np.repeat(whole, repeats[0], axis=0), repeats[1], axis=1)
        down, right = (_edges(side) for side in whole.shape)
    sums = np.add.reduceat(np.add.reduceat(whole, down[:-1], axis=0), right[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(down), np.diff(right)))


def _edges(side: int) -> NDArray[np.intp]:
    return np.linspace(0, side, SIDE + 1).round().astype(np.intp)


def _brightness(scaled: Floats, picture: NDArray[np.floating]) -> Floats:
    """Return the histogram, as roots of shares, and shares of the darkest and brightest value."""
    counts, _ = np.histogram(scaled, bins=_STEPS, range=(0.0, 1.0))
    extremes = [float((picture == end).mean()) for end in (picture.min(), picture.max())]
    moments = [float(each.mean()) for each in scaled] + [float(each.std()) for each in scaled]
    return np.asarray([*np.sqrt(counts / scaled.size), *np.sqrt(extremes), *moments])


def _regions(middle: Floats) -> Floats:
    """Return quantiles of brightness in each of 16 regions: a dark sac where a bright one was."""
    side = SIDE // _REGIONS
    parts = middle.reshape(_REGIONS, side, _REGIONS, side).transpose(0, 2, 1, 3)
    found = np.quantile(parts.reshape(_REGIONS * _REGIONS, -1), _LEVELS, axis=1)
    return np.asarray(found.T.ravel())


def _texture(small: Floats, picture: NDArray[np.floating], spread: float) -> Floats:
    """Return the logarithm of power by frequency, and of differences between near pixels."""
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    power = np.abs(np.fft.fft2((small - small.mean()) * window)) ** 2
    at = np.fft.fftfreq(SIDE) * SIDE
    ring = np.hypot(at[:, None], at[None, :]) / (SIDE / 2) * _RINGS
    inside = np.clip(ring.astype(int), 0, _RINGS).ravel()
    sums = np.bincount(inside, power.ravel(), _RINGS + 1)[:_RINGS]
    rings = np.log(sums / np.bincount(inside, minlength=_RINGS + 1)[:_RINGS] + _SMALL)
    fine = _middle(picture).astype(np.float64) / spread
    differences = [
        np.log(np.abs(np.diff(fine[::step, ::step], axis=axis)).mean() + 1e-4)
        if min(fine.shape) > step
        else 0.0
        for step in _LAGS
        for axis in (0, 1)
    ]
    return np.concatenate([rings, differences])


def _middle(picture: NDArray[np.floating]) -> NDArray[np.floating]:
    starts = [max((side - _FINE) // 2, 0) for side in picture.shape]
    return picture[starts[0] : starts[0] + _FINE, starts[1] : starts[1] + _FINE]


def _layout(scaled: Floats) -> Floats:
    """Return features of the middle slice, and the outer ones in 16 x 16 pixels."""
    cell = SIDE // 16
    outer = [each.reshape(16, cell, 16, cell).mean(axis=(1, 3)).ravel() for each in scaled[::2]]
    return np.concatenate([picture_features(scaled[1]), *outer])

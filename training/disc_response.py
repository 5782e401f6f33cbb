"""Where an image could show a disc: dark bars with marrow above and below, in any lumbar tilt.

Works on sagittal planes resampled to 1 mm; rows run to the feet and columns to the back. A tilt is
in degrees, positive where the disc's front end is lower.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from training.disc_shape import measure
from training.geometry import Floats

# All lengths below are for a person of usual size; these factors are tried on them.
_SIZES = (0.82, 1.0, 1.22)
# Bright structures thinner than this vanish, so that a nucleus as bright as marrow between two
# dark endplates is one dark bar.
_OPENING = 14  # mm
_COARSE = 2  # mm per pixel at which bars are sought
_HALF_LENGTH = 12.0  # mm, half of a bar and half of the marrow beside it
_BODY_OFFSET = 12.0  # mm from the disc's middle to the marrow that is compared
_BODY_THICKNESS = 9.0  # mm
_BAR_THICKNESS = 3.0  # mm
_TILTS = np.arange(-60.0, 66.0, 6.0)  # as steep both ways: a picture may be upside down
_LEAST_TILT = -36.0  # of a lumbar disc the right way up
_LEAST = 0.10  # contrast below which a bar is not considered
_NEIGHBOURHOOD = 9.0  # mm within which only the strongest bar counts
_DUPLICATE = 5.0  # mm between bars of two sizes that are one
_LIKE_TILT = 9.0  # degrees


@dataclass(frozen=True)
class Candidates:
    """Bars that may be discs.

    ``row`` and ``column`` of the middle in mm, ``tilt`` in degrees, ``contrast`` from 0 to about
    1, ``depth`` in mm from front to back wall of the bodies beside it.
    """

    row: Floats
    column: Floats
    tilt: Floats
    contrast: Floats
    depth: Floats


def flatten(image: Floats) -> Floats:
    """Divide out the slow change of brightness across an image of 1 mm pixels."""
    slow = ndimage.gaussian_filter(image, 22.0)
    return np.asarray(np.clip(image / (slow + 0.08 * image.mean() + 1e-6), 0, 2.5))


def find_candidates(image: Floats, most: int = 110) -> Candidates:
    """Find the strongest bars of a 1 mm image; at most ``most`` of them."""
    flat = flatten(image)
    bars = np.concatenate([_bars(flat, size) for size in _SIZES])
    bars = _strongest(bars[np.argsort(-bars[:, 3])], most)
    shapes = [measure(flat, row, column, tilt) for row, column, tilt, _ in bars]
    return Candidates(
        row=np.asarray([s.row for s in shapes]),
        column=np.asarray([s.column for s in shapes]),
        tilt=bars[:, 2],
        contrast=bars[:, 3],
        depth=np.asarray([s.depth for s in shapes]),
    )


def turned_like_discs(candidates: Candidates) -> Candidates:
    """Return the bars whose tilt a disc of an upright lumbar spine can have."""
    kept = candidates.tilt > _LEAST_TILT
    return Candidates(*(getattr(candidates, field.name)[kept] for field in fields(candidates)))


def _bars(flat: Floats, size: float) -> Floats:
    """Return (bars, 4): row and column in mm, tilt, contrast; for discs of one size."""
    pixel = _COARSE * size
    opening = round(_OPENING * size)
    opened = ndimage.grey_opening(flat, size=(opening, opening))
    coarse = ndimage.zoom(opened, 1 / pixel, order=1, grid_mode=True, mode="nearest")
    responses = np.stack([_bar_contrast(coarse, tilt) for tilt in _TILTS])
    best = responses.max(axis=0)
    width = int(_NEIGHBOURHOOD / _COARSE) // 2 * 2 + 1
    peaks = (best == ndimage.maximum_filter(best, size=width)) & (best > _LEAST)
    rows, columns = np.nonzero(peaks)
    found = responses[:, rows, columns]
    tilts = _peak_tilt(found, found.argmax(axis=0))
    places = [(i + 0.5) * pixel - 0.5 for i in (rows, columns)]
    return np.stack([*places, tilts, best[rows, columns]], axis=1)


def _strongest(bars: Floats, most: int) -> Floats:
    """Keep, of bars sorted by contrast, those that no stronger one of like tilt lies close to."""
    kept: list[Floats] = []
    for bar in bars:
        near = (
            np.hypot(bar[0] - k[0], bar[1] - k[1]) < _DUPLICATE and abs(bar[2] - k[2]) < _LIKE_TILT
            for k in kept
        )
        if not any(near):
            kept.append(bar)
        if len(kept) == most:
            break
    return np.asarray(kept).reshape(-1, 4)


def _bar_contrast(image: Floats, tilt: float) -> Floats:
    """Return how much darker a bar of this tilt is than the marrow around, at every pixel.

    It counts against the least of four pieces of marrow: front and back, above and below.
    """
    turned = ndimage.rotate(image, -tilt, reshape=True, order=1, mode="constant", cval=0.0)
    length = round(_HALF_LENGTH / _COARSE)
    body = ndimage.uniform_filter(turned, (round(_BODY_THICKNESS / _COARSE), length))
    bar = ndimage.uniform_filter1d(turned, length, axis=1)
    bar = ndimage.gaussian_filter1d(bar, _BAR_THICKNESS / 2 / _COARSE, axis=0)
    away, along = round(_BODY_OFFSET / _COARSE), round(_HALF_LENGTH / 2 / _COARSE)
    marrow = np.minimum.reduce([_moved(body, v, u) for v in (-away, away) for u in (-along, along)])
    darkest = np.maximum(_moved(bar, 0, -along), _moved(bar, 0, along))
    contrast = (marrow - darkest) / (marrow + 0.25)
    back = ndimage.rotate(contrast, tilt, reshape=True, order=1, mode="constant", cval=-1.0)
    top = [(b - n) // 2 for b, n in zip(back.shape, image.shape, strict=True)]
    return np.asarray(back[top[0] : top[0] + image.shape[0], top[1] : top[1] + image.shape[1]])


def _moved(image: Floats, rows: int, columns: int) -> Floats:
    """Return the image as seen from so many pixels down and back; its edge goes on."""
    padded = np.pad(image, ((abs(rows),) * 2, (abs(columns),) * 2), mode="edge")
    first, left = abs(rows) + rows, abs(columns) + columns
    return padded[first : first + image.shape[0], left : left + image.shape[1]]


def _peak_tilt(responses: Floats, index: Floats) -> Floats:
    """Refine each tilt by a parabola through the best response and its neighbours."""
    inner = np.clip(index, 1, len(_TILTS) - 2).astype(int)
    at = np.arange(responses.shape[1])
    low, mid, high = (responses[inner + k, at] for k in (-1, 0, 1))
    bend = low - 2 * mid + high
    shift = np.where(bend < -1e-6, (low - high) / (2 * np.minimum(bend, -1e-6)), 0.0)
    step = _TILTS[1] - _TILTS[0]
    return np.asarray(_TILTS[inner] + np.clip(shift, -1, 1) * step)

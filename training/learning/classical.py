"""Classical features of pictures and volumes: fixed formulas, nothing was learned.

A network that nobody trained, however frozen, sees little more than noise; a baseline that is to be
beaten needs features that are known to say something: coarse pixels, histograms of oriented
gradients (Dalal and Triggs, CVPR 2005), and low frequencies of the cosine transform.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Array = NDArray[np.float32]

_COARSE = 12  # pixels a side
_CELLS = 6  # a side
_DIRECTIONS = 8
_FREQUENCIES = 8  # a side
_LAYERS = 4  # of a volume, each described as a picture


def picture_features(picture: NDArray[np.floating]) -> Array:
    """Return 496 features of a picture (rows, columns), float32."""
    given = np.asarray(picture, dtype=np.float32)
    return np.concatenate([_coarse(given).ravel(), _gradients(given).ravel(), _cosines(given)])


def volume_features(volume: NDArray[np.floating]) -> Array:
    """Return features of a volume (slices, rows, columns): of four layers, and cosines of all.

    A layer is the mean of a quarter of the slices; a thin volume has as many as it has slices.
    """
    given = np.asarray(volume, dtype=np.float32)
    parts = np.array_split(given, min(_LAYERS, len(given)))
    layers = [picture_features(part.mean(axis=0)) for part in parts]
    return np.concatenate([*layers, _cosines(given)])


def _coarse(picture: Array) -> Array:
    """Return the picture in few pixels, each the mean of what it covers."""
    rows, columns = (min(_COARSE, side) for side in picture.shape)
    bands = np.stack([band.mean(axis=0) for band in np.array_split(picture, rows, axis=0)])
    cells = [band.mean(axis=1) for band in np.array_split(bands, columns, axis=1)]
    return np.stack(cells, axis=1)


def _gradients(picture: Array) -> Array:
    """Return how strong edges are by cell and direction, each cell normalised."""
    down, right = (ndimage.sobel(picture, axis=axis) for axis in (0, 1))
    strength = np.hypot(down, right)
    # Edges have no sign: light on dark is as dark on light.
    turned = np.mod(np.arctan2(down, right), np.pi) / np.pi * _DIRECTIONS
    direction = np.minimum(turned.astype(int), _DIRECTIONS - 1)
    row = np.arange(picture.shape[0])[:, None] * _CELLS // picture.shape[0]
    column = np.arange(picture.shape[1])[None, :] * _CELLS // picture.shape[1]
    place = (row * _CELLS + column) * _DIRECTIONS + direction
    size = _CELLS * _CELLS * _DIRECTIONS
    sums = np.bincount(place.ravel(), strength.ravel(), size).reshape(-1, _DIRECTIONS)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(norms, 1e-6), dtype=np.float32)


def _cosines(values: Array) -> Array:
    """Return the lowest frequencies of the cosine transform along every axis."""
    kept = tuple(slice(0, _FREQUENCIES) for _ in values.shape)
    found = fft.dctn(values, norm="ortho")[kept]
    wanted = [(0, _FREQUENCIES - side) for side in found.shape]
    return np.asarray(np.pad(found, wanted).ravel(), dtype=np.float32)

"""Perceptual hashes of pictures: pictures that look alike have hashes that differ in few bits.

A hash is taken from the lowest frequencies of a picture's cosine transform, as Zauner describes it
(Implementation and benchmarking of perceptual image hash functions, 2010), here with 256 bits: 64
bits do not tell apart the sagittal slices of different people's spines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

BITS = 256
"""Of one hash; a fingerprint holds two: of the whole picture, and of it without its border."""

MOST_DIFFERENT_BITS = 32
"""Up to so many different bits two pictures count as one; see deploy/cohorts.md for why."""

METHOD = "dct256-1"
"""Written beside stored fingerprints: another way of making them has another name."""

_FREQUENCIES = 16
_SIDE = 64
_ROWS_AT_ONCE = 1024


def fingerprint(picture: NDArray[np.floating]) -> bytes | None:
    """Return the fingerprint of a picture, 64 bytes, or None where it shows nothing.

    Scale, size, brightness, contrast, noise, compression and a border of one value change it
    little; a turn of more than two degrees, a mirror or a cut of more than a twentieth change it
    altogether.

    Args:
        picture: (rows, columns), finite.
    """
    whole = np.asarray(picture, dtype=np.float64)
    trimmed = _trimmed(whole)
    if min(trimmed.shape) < 2 or np.ptp(trimmed) == 0:
        return None
    return _hash(whole) + _hash(trimmed)


def _hash(picture: NDArray[np.float64]) -> bytes:
    """Return which of the lowest frequencies are above their median; the mean is left out."""
    small = _averaged(_averaged(picture, _SIDE).T, _SIDE).T
    coefficients = dctn(small, norm="ortho")[:_FREQUENCIES, :_FREQUENCIES].ravel()
    bits = coefficients > np.median(coefficients[1:])
    bits[0] = False
    return np.packbits(bits).tobytes()


def near_pairs(
    fingerprints: Sequence[bytes], most_different_bits: int = MOST_DIFFERENT_BITS
) -> Iterator[tuple[int, int, int]]:
    """Yield each pair of near fingerprints: the two indices, the lesser first, and the distance.

    The distance is the smaller one of the two hashes'. All pairs are compared at once, as products
    of matrices of -1 and 1: (bits - product) / 2.
    """
    if not fingerprints:
        return
    packed = np.frombuffer(b"".join(fingerprints), dtype=np.uint8).reshape(-1, 2, BITS // 8)
    signs = np.unpackbits(packed, axis=2).astype(np.float32) * 2 - 1
    for start in range(0, len(signs), _ROWS_AT_ONCE):
        rows = signs[start : start + _ROWS_AT_ONCE]
        products = np.maximum(*(rows[:, each] @ signs[start:, each].T for each in (0, 1)))
        distances = ((BITS - products) / 2).round().astype(int)
        for row, column in zip(*np.nonzero(distances <= most_different_bits), strict=True):
            if column > row:
                yield start + int(row), start + int(column), int(distances[row, column])


def _trimmed(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut off borders of one value, and a border within the border."""
    while picture.size:
        shows = picture != picture[0, 0]
        rows, columns = np.flatnonzero(shows.any(axis=1)), np.flatnonzero(shows.any(axis=0))
        if not rows.size:
            return picture[:0]
        inner = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if inner.shape == picture.shape:
            break
        picture = inner
    return picture


def _averaged(picture: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the picture with ``size`` rows, each the mean of what it covers of the old ones."""
    sums = np.concatenate([np.zeros((1, picture.shape[1])), np.cumsum(picture, axis=0)])
    at = np.linspace(0, len(picture), size + 1)
    below = np.minimum(at.astype(int), len(picture) - 1)
    part = (at - below)[:, None]
    covered = sums[below] + part * picture[below]
    return np.asarray(np.diff(covered, axis=0) * (size / len(picture)))

"""From the files of one series to the input that an architecture takes.

The seam between reading images and learning: one function for each ``InputKind``, from paths and a
shape to one array. ``FORMS`` names what each does; a form that changes gets another name, so that
no cached input of the old one is taken for the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import ndimage

from training.discs import DISC_CHAIN
from training.domain.overview import Overview, overview_of
from training.domain.series import Series
from training.errors import Permanent
from training.images.reading import read_picture, read_stack
from training.images.series_rule import Reading
from training.learning.example import Array, InputKind
from training.localiser import DiscLocaliser
from training.samples import read_discs

FORMS: Mapping[InputKind, str] = {
    InputKind.IMAGE: "middle-slice-2",
    InputKind.VOLUME: "whole-stack-2",
    InputKind.DISC: "disc-crops-1",
    InputKind.BAG: "disc-bag-1",
}

_DARKEST, _BRIGHTEST = 1.0, 99.5  # percentiles that become 0 and 1
_AS_STORED = Reading(spacing_needed=False)  # brightness is brought into one range below
_ABOVE = 2.0  # brighter voxels are cut off here

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Discs:
    """Which discs are cut out, and what finds them."""

    sites: tuple[str, ...]
    localiser: DiscLocaliser


@dataclass(frozen=True)
class Prepared:
    """The ``input`` of one series, see ``prepare``; ``seen`` is (slices, rows, columns)."""

    input: Array
    seen: Array

    @cached_property
    def overview(self) -> Overview:
        """What was seen, in few numbers; raises Permanent where that holds no finite pixels."""
        return overview_of(self.seen)


def prepare(
    kind: InputKind,
    paths: Sequence[Path],
    shape: Shape,
    sites: Sequence[str],
    localiser: DiscLocaliser = DISC_CHAIN,
) -> Array:
    """Return the input of one series as float32.

    Args:
        kind: what the architecture looks at.
        paths: DICOM files of one series, in any order.
        shape: of one input, or of one instance of a bag.
        sites: of the schema; a DISC has a crop for each.
        localiser: what finds the discs.

    Returns:
        IMAGE and VOLUME: an array of the shape. DISC: (sites, *shape), NaN where a site has no
        usable disc. BAG: (instances, *shape).

    Raises:
        Permanent: the files cannot be prepared so; the sentence says why.
        Transient: a file could not be read from disk.
    """
    return prepare_series(kind, Series(paths), shape, sites, localiser).input


def prepare_series(
    kind: InputKind,
    series: Series,
    shape: Shape,
    sites: Sequence[str],
    localiser: DiscLocaliser = DISC_CHAIN,
) -> Prepared:
    """Return the input of one series beside what was seen of it; else as ``prepare``."""
    found = _PREPARED_BY[kind](series, shape, Discs(tuple(sites), localiser))
    return Prepared(np.ascontiguousarray(found.input, dtype=np.float32), found.seen)


def form_of(
    kind: InputKind,
    shape: Shape,
    sites: Sequence[str],
    localiser: DiscLocaliser = DISC_CHAIN,
) -> str:
    """Return what tells one preparation from another: form, shape, sites, what finds discs."""
    told = "x".join(str(each) for each in shape)
    named = ""
    if kind in (InputKind.DISC, InputKind.BAG):
        named = f"/{','.join(sites)}/{localiser.name}-{localiser.digest[:16]}"
    return f"{FORMS[kind]}/{told}{named}"


def _image(series: Series, shape: Shape, _discs: Discs) -> Prepared:
    """Return the single picture, or the slice in the middle of a stack, with square pixels."""
    if len(series.images) == 1:
        found = read_picture(series.images[0], _AS_STORED)
        picture, spacing = found.values, found.spacing or (1.0, 1.0)
        seen = picture[None]
    else:
        stack = read_stack(series.images)
        picture, spacing = stack.array[len(stack.array) // 2], stack.spacing[1:]
        seen = stack.array
    finest = min(spacing)
    height, width = (n * s / finest for n, s in zip(picture.shape, spacing, strict=True))
    scale = min(shape[1] / height, shape[2] / width)
    inside = (max(round(height * scale), 1), max(round(width * scale), 1))
    fitted = resampled(picture, (min(inside[0], shape[1]), min(inside[1], shape[2])))
    return Prepared(_centred(_normal(fitted), shape[1:])[None], seen)


def _volume(series: Series, shape: Shape, _discs: Discs) -> Prepared:
    seen = read_stack(series.images).array
    return Prepared(_normal(resampled(seen, shape[1:]))[None], seen)


def _discs(series: Series, shape: Shape, wanted: Discs) -> Prepared:
    discs = read_discs(series.paths, wanted.sites, wanted.localiser)
    if not discs.crops:
        raise Permanent("; ".join(sorted(set(discs.reasons.values()))) or "no disc was found")
    found = {tuple(crop.shape) for crop in discs.crops.values()}
    if found != {tuple(shape)}:
        raise Permanent(f"discs are cut as {found.pop()}, and the network takes {tuple(shape)}")
    missing = np.full(shape, np.nan, dtype=np.float32)
    crops = np.stack([discs.crops.get(site, missing) for site in wanted.sites])
    return Prepared(crops, discs.volume.array)


def _bag(series: Series, shape: Shape, wanted: Discs) -> Prepared:
    found = _discs(series, shape, wanted)
    return Prepared(found.input[~np.isnan(found.input).any(axis=(1, 2, 3))], found.seen)


_PREPARED_BY: Mapping[InputKind, Callable[[Series, Shape, Discs], Prepared]] = {
    InputKind.IMAGE: _image,
    InputKind.VOLUME: _volume,
    InputKind.DISC: _discs,
    InputKind.BAG: _bag,
}


def resampled(array: Array, shape: Sequence[int]) -> Array:
    """Return an array in another number of voxels over the same extent, linearly interpolated.

    Where there will be fewer, it is smoothed first, so that no fine pattern comes out as a coarse
    one.
    """
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    widths = [max(0.5 * (1 / each - 1), 0.0) for each in factors]
    smooth = ndimage.gaussian_filter(array, widths) if any(widths) else array
    found = ndimage.zoom(smooth, factors, order=1, grid_mode=True, mode="nearest")
    if found.shape != tuple(shape):
        raise Permanent("an image could not be brought into the shape of the input")
    return np.asarray(found, dtype=np.float32)


def _normal(array: Array) -> Array:
    """Return brightness from 0 to about 1, by percentiles: scanners have no common scale."""
    low, high = np.percentile(array, (_DARKEST, _BRIGHTEST))
    scaled = (array - low) / max(float(high - low), 1e-6)
    return np.asarray(np.clip(scaled, 0.0, _ABOVE), dtype=np.float32)


def _centred(picture: Array, shape: Sequence[int]) -> Array:
    """Return the picture in the middle of a black one."""
    around = [(new - old) for new, old in zip(shape, picture.shape, strict=True)]
    return np.pad(picture, [(each // 2, each - each // 2) for each in around])

"""Find the lumbar discs of a sagittal volume from its pixels alone, by classical means.

Method: a plane through the middle of the stack is searched for dark bars between bright bodies
(``disc_response``), the chain that bends like a lumbar spine is chosen and numbered
(``disc_chain``), and each disc's ends are then measured. Nothing is known beforehand about where
the spine lies, and nothing is learned: T1 and T2 are searched alike. A numbering that another one
rivals is refused rather than guessed, and so is a picture that fits as well when it is turned
(``disc_orientation``). For research only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.special import expit

from training.disc_chain import Chain, find_chain, unseen_lead
from training.disc_orientation import turned_score
from training.disc_response import Candidates, find_candidates, turned_like_discs
from training.geometry import Floats, Volume
from training.localiser import LEVELS, DiscLocaliser, DiscLocation, DiscSearch, slice_volume
from training.midline import find_midline

__all__ = [
    "DISC_CHAIN",
    "LEVELS",
    "ChainLocaliser",
    "DiscLocation",
    "DiscSearch",
    "discs_of_slice",
    "locate_discs",
    "search_discs",
]

_SLAB = 14.0  # mm of the stack's middle that are averaged into one plane
_SMOOTHING = 0.9  # mm
_LEAST_EXTENT = 150.0  # mm from top to bottom that five discs need
_LEAST_SCORE = -2.0  # log score below which a chain is no spine
_LEAST_BELOW = 30.0  # mm below the last disc within which one more would be seen
_LEAST_UPRIGHT = 1.0  # log score by which a chain must lead those of the turned picture
# Log odds that the numbers are right, by the chain's lead over another numbering: a logistic
# regression on one half of the patients of a set of real slices (deploy/discs.md).
_NUMBERING_OFFSET, _NUMBERING_SLOPE = -1.2, 0.75
# Contrast at which a bar within a chain is as likely no disc, and how fast that changes, by hand.
_FAINT, _FAINT_SPREAD = 0.05, 0.08
_SOURCES = ("discs", "disc_chain", "disc_orientation", "disc_response", "disc_shape", "midline")


@dataclass(frozen=True)
class ChainLocaliser:
    """The classical localiser; ``least_numbering`` is the confidence below which it abstains."""

    least_numbering: float = 0.75
    name: str = "disc_chain"

    @property
    def digest(self) -> str:
        """SHA-256 over the source of the method and its threshold."""
        return hashlib.sha256(f"{_source_digest()} {self.least_numbering!r}".encode()).hexdigest()

    def search(self, volume: Volume) -> DiscSearch:
        """Find all five lumbar discs, or none with a reason."""
        found = self._search(volume)
        return replace(found, localiser=self.name, digest=self.digest)

    def _search(self, volume: Volume) -> DiscSearch:
        if volume.array.shape[1] * volume.spacing[1] < _LEAST_EXTENT:
            return DiscSearch((), "the field of view is too short for a lumbar spine")
        image = _plane(volume, (len(volume.array) - 1) / 2)
        bars = find_candidates(image)
        candidates = turned_like_discs(bars)
        chain = find_chain(candidates)
        if chain is None or chain.score < _LEAST_SCORE:
            return DiscSearch((), "no row of five discs was found")
        if chain.score - turned_score(bars, image.shape) < _LEAST_UPRIGHT:
            return DiscSearch((), "the image may be upside down or back to front")
        numbering = _numbering(chain, candidates, image.shape[0])
        if numbering < self.least_numbering:
            return DiscSearch((), "the discs could not be numbered with certainty")
        return DiscSearch(_locations(volume, candidates, chain), numbering=numbering)


DISC_CHAIN: DiscLocaliser = ChainLocaliser()
"""The localiser that comes along; entry point ``disc_chain``."""


def search_discs(volume: Volume, localiser: DiscLocaliser = DISC_CHAIN) -> DiscSearch:
    """Find all five lumbar discs, or none with a reason."""
    return localiser.search(volume)


def locate_discs(volume: Volume) -> tuple[DiscLocation, ...]:
    """Return the five lumbar discs from top to bottom; empty where they cannot be trusted."""
    return search_discs(volume).locations


def discs_of_slice(
    array: ArrayLike, spacing: tuple[float, float], localiser: DiscLocaliser = DISC_CHAIN
) -> DiscSearch:
    """Find the discs of a single mid-sagittal slice; arguments as of ``slice_volume``.

    ``voxel`` of each location is (0, row, column) in the array's pixels; ``centre`` is relative to
    the first pixel.

    Raises:
        Permanent: the array is no image, or a spacing is no length.
    """
    return localiser.search(slice_volume(array, spacing))


@cache
def _source_digest() -> str:
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((files("training") / f"{name}.py").read_bytes())
    return digest.hexdigest()


def _numbering(chain: Chain, candidates: Candidates, height: int) -> float:
    """Return the confidence in a chain's numbers from its lead over another numbering.

    Where the image of ``height`` mm ends just below the last disc, the next one may be unseen.
    """
    lead = chain.margin
    if height - candidates.row[chain.indices[-1]] < _LEAST_BELOW:
        lead = min(lead, unseen_lead(candidates, chain))
    return float(expit(_NUMBERING_OFFSET + _NUMBERING_SLOPE * lead))


def _locations(volume: Volume, candidates: Candidates, chain: Chain) -> tuple[DiscLocation, ...]:
    chosen = list(chain.indices)
    places = np.stack([getattr(candidates, n)[chosen] for n in ("row", "column", "tilt")], axis=1)
    slices = find_midline(volume, places)
    locations = []
    for i, level in enumerate(LEVELS):
        voxel = (slices[i], places[i, 0] / volume.spacing[1], places[i, 1] / volume.spacing[2])
        x, y, z = volume.to_patient(np.asarray(voxel))
        locations.append(
            DiscLocation(
                level=level,
                centre=(float(x), float(y), float(z)),
                voxel=(float(voxel[0]), float(voxel[1]), float(voxel[2])),
                tilt=float(places[i, 2]),
                confidence=_presence(float(candidates.contrast[chosen[i]])),
            )
        )
    return tuple(locations)


def _presence(contrast: float) -> float:
    """Return the confidence that a bar of this contrast within a chain is a disc."""
    return float(expit((contrast - _FAINT) / _FAINT_SPREAD))


def _plane(volume: Volume, middle: float) -> Floats:
    """Return the mean of the slices around the middle with pixels of 1 mm."""
    reach = _SLAB / 2 / volume.spacing[0]
    first = max(int(np.ceil(middle - reach)), 0)
    last = min(int(np.floor(middle + reach)), len(volume.array) - 1)
    image = volume.array[first : last + 1].mean(axis=0)
    _, between_rows, between_columns = volume.spacing
    image = ndimage.gaussian_filter(
        image, (_SMOOTHING / between_rows, _SMOOTHING / between_columns)
    )
    rows = np.arange(0, (image.shape[0] - 1) * between_rows, 1.0) / between_rows
    columns = np.arange(0, (image.shape[1] - 1) * between_columns, 1.0) / between_columns
    grid = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(ndimage.map_coordinates(image, grid, order=1, mode="nearest"))

"""From the files of a series to the discs that a classifier sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.disc_crops import cut_crops
from training.discs import DISC_CHAIN
from training.geometry import Volume
from training.localiser import DiscLocaliser, DiscLocation
from training.pixels import read_volume


@dataclass(frozen=True)
class DiscSample:
    """One disc of one study: its crop, and what its report says of each observation.

    ``crop`` is float32 of the family's input shape. ``targets`` maps an observation to 1.0, 0.0,
    a probability between them, or NaN where there is no target. ``fold`` is "train", "validation"
    or "test".
    """

    study_instance_uid: str
    patient_key: str
    site: str
    crop: NDArray[np.float32]
    targets: Mapping[str, float]
    fold: str


@dataclass(frozen=True)
class StudyDiscs:
    """The volume of a study, its discs, their crops by site, and why sites are missing.

    ``localiser`` and ``localiser_digest`` tell what found the discs.
    """

    volume: Volume
    locations: tuple[DiscLocation, ...]
    crops: dict[str, NDArray[np.float32]]
    reasons: dict[str, str]
    localiser: str = ""
    localiser_digest: str = ""


def read_discs(
    paths: Sequence[Path], sites: Sequence[str], localiser: DiscLocaliser = DISC_CHAIN
) -> StudyDiscs:
    """Read a series, find its discs and cut out those at the sites.

    Every site is in ``crops`` or, with a reason, in ``reasons``.

    Raises:
        Permanent: the series cannot be read as a sagittal stack.
        Transient: a file could not be read from disk.
    """
    volume = read_volume(paths)
    search = localiser.search(volume)
    arrays, valid = cut_crops(volume, search.locations, sites)
    found = {location.level for location in search.locations}
    crops, reasons = {}, {}
    for site, array, usable in zip(sites, arrays, valid, strict=True):
        if usable:
            crops[site] = array
        elif site in found:
            reasons[site] = "the disc lies too close to the edge of the image"
        else:
            reasons[site] = search.reason or "the site is no lumbar disc"
    return StudyDiscs(volume, search.locations, crops, reasons, search.localiser, search.digest)


def study_samples(
    discs: StudyDiscs,
    study_instance_uid: str,
    patient_key: str,
    targets: Mapping[str, Mapping[str, float | None]],
    fold: str,
) -> list[DiscSample]:
    """Return a sample for every disc with a crop.

    Args:
        discs: what ``read_discs`` found.
        study_instance_uid: the study.
        patient_key: the surrogate of the patient, by which folds were drawn.
        targets: observation, then site, to a number from 0.0 to 1.0 or None (no target); missing
            ones are None.
        fold: "train", "validation" or "test".
    """
    samples = []
    for site, crop in discs.crops.items():
        known = {
            observation: float("nan") if (value := by_site.get(site)) is None else float(value)
            for observation, by_site in targets.items()
        }
        samples.append(DiscSample(study_instance_uid, patient_key, site, crop, known, fold))
    return samples


def target_matrix(
    samples: Sequence[DiscSample], observations: Sequence[str]
) -> NDArray[np.float64]:
    """Return targets (samples, observations): 0.0 to 1.0, or NaN."""
    rows = [[s.targets.get(o, float("nan")) for o in observations] for s in samples]
    return np.asarray(rows, dtype=float).reshape(len(samples), len(observations))


def hard(targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return targets with NaN in place of probabilities: those of which figures can be made."""
    found = np.where((targets == 0) | (targets == 1), targets, np.nan)
    return np.asarray(found, dtype=np.float64)

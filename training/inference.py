"""Apply a trained classifier to one study: a probability for each disc, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from training.classifier import DISC_NETWORK, ClassifierFamily
from training.discs import DISC_CHAIN
from training.domain.overview import overview_of
from training.domain.series import Series
from training.errors import Permanent
from training.localiser import DiscLocaliser
from training.samples import StudyDiscs, read_discs
from training.trainer import predict_logits
from training.weights import Weights, load_weights


class Predicted(NamedTuple):
    """A probability for an observation at a site; None, with the reason, where not evaluated."""

    observation: str
    site: str
    probability: float | None
    reason: str


def predict(
    weights_path: Path,
    digest: str,
    paths: Sequence[Path],
    observations: Sequence[str],
    sites: Sequence[str],
    *,
    family: ClassifierFamily = DISC_NETWORK,
    localiser: DiscLocaliser = DISC_CHAIN,
    threads: int = 2,
) -> list[Predicted]:
    """Predict every observation at every site of one series.

    A series that cannot be evaluated gives rows without probability and with the reason: not
    evaluated differs from absent. So does one that the classifier was not made for
    (``training.domain``); weights of an earlier version know nothing of that.

    Args:
        weights_path: the safetensors file.
        digest: its expected SHA-256.
        paths: the DICOM files of the series.
        observations: what to predict; those that the weights do not know get a reason.
        sites: disc levels; others get a reason.
        family: the network that the weights belong to.
        localiser: what finds the discs; the one that the training used.
        threads: how many threads the computation may use.

    Raises:
        Permanent: the weights are not the expected ones or belong to another family.
        Transient: a file could not be read from disk.
    """
    weights = load_weights(weights_path, digest)
    try:
        if weights.domain is not None:
            unlike = weights.domain.unlike_headers(Series(paths).facts(whole=False))
            if unlike:
                return _not_evaluated(unlike, observations, sites)
        discs = read_discs(paths, sites, localiser)
    except Permanent as error:
        return _not_evaluated(str(error), observations, sites)
    return predict_discs(weights, discs, observations, sites, family=family, threads=threads)


def predict_discs(
    weights: Weights,
    discs: StudyDiscs,
    observations: Sequence[str],
    sites: Sequence[str],
    *,
    family: ClassifierFamily = DISC_NETWORK,
    threads: int = 2,
) -> list[Predicted]:
    """Predict from discs that were read already; arguments and result as of ``predict``.

    Of what the classifier was made for, only pixels are asked: there are no headers here.
    """
    if unlike := _unlike_pixels(weights, discs):
        return _not_evaluated(unlike, observations, sites)
    evaluated = [site for site in sites if site in discs.crops]
    probabilities = _probabilities(weights, [discs.crops[s] for s in evaluated], family, threads)
    rows = []
    for observation in observations:
        for site in sites:
            if observation not in weights.observations:
                rows.append(Predicted(observation, site, None, "the model does not predict this"))
            elif site not in evaluated:
                rows.append(Predicted(observation, site, None, discs.reasons[site]))
            else:
                column = weights.observations.index(observation)
                value = float(probabilities[evaluated.index(site), column])
                rows.append(Predicted(observation, site, value, ""))
    return rows


def _unlike_pixels(weights: Weights, discs: StudyDiscs) -> str:
    if weights.domain is None:
        return ""
    try:
        return weights.domain.unlike_pixels(overview_of(discs.volume.array))
    except Permanent as error:
        return str(error)


def _not_evaluated(
    reason: str, observations: Sequence[str], sites: Sequence[str]
) -> list[Predicted]:
    return [Predicted(o, s, None, reason) for o in observations for s in sites]


def _probabilities(
    weights: Weights, crops: list[NDArray[np.float32]], family: ClassifierFamily, threads: int
) -> NDArray[np.float64]:
    """Return probabilities (crops, observations of the weights)."""
    if weights.family != family.name:
        raise Permanent("the weights belong to another family of classifiers")
    if not crops:
        return np.empty((0, len(weights.observations)))
    torch.set_num_threads(min(threads, family.useful_threads))
    network = family.build(len(weights.observations))
    try:
        network.load_state_dict(weights.state)
    except RuntimeError as error:
        raise Permanent("the weights do not fit the network") from error
    logits = predict_logits(network, torch.from_numpy(np.stack(crops)), family)
    adjusted = (logits - torch.tensor(weights.offsets)) / weights.temperature
    return np.asarray(torch.sigmoid(adjusted).double().numpy())

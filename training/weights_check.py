"""Whether the weights of a model can do what its row in the registry says: they are loaded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from training.classifier import ClassifierFamily
from training.domain.domain import Domain
from training.errors import Permanent
from training.learning.inference import loaded
from training.learning.preparing import form_of
from training.localiser import DiscLocaliser
from training.weights import load_weights

NO_DOMAIN = (
    "the model does not know what its inputs were like, and predicts on whatever it is shown"
)


def check_classifier(
    path: Path,
    digest: str,
    observations: Collection[str],
    family: ClassifierFamily,
    localiser: DiscLocaliser,
) -> str:
    """Load a classifier of discs as prediction does; return what it lacks of a domain, or "".

    Args:
        path: the file of the weights.
        digest: its expected SHA-256.
        observations: those that have an operating point in the registry.
        family: the installed one.
        localiser: the one that finds the discs now.

    Raises:
        Permanent: the file is another one, or of another family, observations or localiser.
        Transient: the file could not be read.
    """
    weights = load_weights(path, digest)
    if weights.family != family.name:
        raise Permanent("the weights belong to another family of classifiers")
    try:
        family.build(len(weights.observations)).load_state_dict(weights.state)
    except RuntimeError as error:
        raise Permanent("the weights do not fit the network") from error
    _same_observations(weights.observations, observations)
    found_by = weights.provenance.get("disc_localiser")
    if found_by and found_by != {"name": localiser.name, "digest": localiser.digest}:
        raise Permanent("discs are found otherwise now than when this model learned")
    return _lacks(weights.domain)


def check_network(
    path: Path,
    digest: str,
    observations: Collection[str],
    sites: Sequence[str],
    localiser: DiscLocaliser,
    threads: int,
) -> str:
    """Load a network of an architecture; arguments, result and errors as above.

    Raises:
        Permanent: besides, the architecture is not installed, or prepares its inputs otherwise now.
        Transient: the file could not be read.
    """
    found = loaded(path, digest, threads)
    network, architecture = found.network, found.architecture
    _same_observations(network.heads.observations, observations)
    form = form_of(architecture.kind, architecture.input_shape, sites, localiser)
    if form != network.preparation:
        raise Permanent("inputs are prepared otherwise now than when this network learned")
    return _lacks(network.domain)


def _same_observations(known: Collection[str], registered: Collection[str]) -> None:
    if set(known) != set(registered):
        raise Permanent("the weights predict other observations than those that are registered")


def _lacks(domain: Domain | None) -> str:
    if domain is None:
        return NO_DOMAIN
    if domain.likeness is None:
        return "the model judges what it is shown by headers alone: it learned from too few inputs"
    return ""

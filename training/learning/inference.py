"""Apply a trained network to one study: a probability for each observation, or why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from labeling.vocabulary import WHOLE
from training.architectures import registry
from training.architectures.protocol import Architecture
from training.discs import DISC_CHAIN
from training.domain.series import Series
from training.errors import Permanent
from training.inference import Predicted
from training.learning.example import Array, Example, InputKind
from training.learning.members import examples_of_study
from training.learning.predicting import Floats, logits_of, probabilities_of
from training.learning.preparing import form_of, prepare_series
from training.learning.weights import Network, load_network
from training.localiser import DiscLocaliser


class Loaded:
    """A network that is ready to predict.

    Args:
        network: as read from its file.
        architecture: of the same name, for inputs of the same shape.
    """

    def __init__(self, network: Network, architecture: Architecture) -> None:
        if architecture.name != network.architecture:
            raise Permanent("the weights belong to another architecture")
        self.network, self.architecture = network, architecture
        self._module: nn.Module = architecture.build(network.heads)
        try:
            self._module.load_state_dict(network.state)
        except RuntimeError as error:
            raise Permanent("the weights do not fit the network") from error

    def probabilities(self, examples: Sequence[Example]) -> Floats:
        """Return probabilities (examples, observations of the network)."""
        logits = logits_of(self.architecture, self._module, examples, self.network.heads)
        return probabilities_of(logits, self.network.offsets, self.network.temperature)

    def predict(
        self,
        paths: Sequence[Path],
        observations: Sequence[str],
        sites: Sequence[str],
        localiser: DiscLocaliser = DISC_CHAIN,
    ) -> list[Predicted]:
        """Predict one series: at the whole study, or disc by disc.

        A series that cannot be evaluated gives rows without probability and with the reason, and
        so does one that the network was not made for (``training.domain``). A network of an earlier
        version knows nothing of that: ``network.domain`` is None.

        Raises:
            Permanent: inputs are prepared otherwise now than when the network learned.
            Transient: a file could not be read from disk.
        """
        kind, shape = self.architecture.kind, self.architecture.input_shape
        if form_of(kind, shape, sites, localiser) != self.network.preparation:
            raise Permanent("inputs are prepared otherwise now than when this network learned")
        places = list(sites) if kind is InputKind.DISC else [WHOLE]
        try:
            given = self._given(Series(paths), sites, localiser)
        except Permanent as error:
            return [Predicted(o, s, None, str(error)) for o in observations for s in places]
        unlabelled = {"study_instance_uid": "", "patient_key": "", "fold": "", "targets": {}}
        examples = examples_of_study(unlabelled, kind, given, sites)
        found = self.probabilities(examples)
        rows = {each.site: row for row, each in enumerate(examples)}
        return [
            self._predicted(observation, site, rows, found)
            for observation in observations
            for site in places
        ]

    def _given(self, series: Series, sites: Sequence[str], localiser: DiscLocaliser) -> Array:
        """Return the input of a series; Permanent where the network was not made for it."""
        kind, domain = self.architecture.kind, self.network.domain
        if domain is not None:
            whole = kind in (InputKind.IMAGE, InputKind.VOLUME)
            _refuse(domain.unlike_headers(series.facts(whole=whole)))
        prepared = prepare_series(kind, series, self.architecture.input_shape, sites, localiser)
        if domain is not None:
            _refuse(domain.unlike_pixels(prepared.overview))
        return prepared.input

    def _predicted(
        self, observation: str, site: str, rows: dict[str, int], found: Floats
    ) -> Predicted:
        known = self.network.heads.observations
        if observation not in known:
            return Predicted(observation, site, None, "the model does not predict this")
        if site not in rows:
            return Predicted(observation, site, None, "no usable disc was found at this site")
        return Predicted(observation, site, float(found[rows[site], known.index(observation)]), "")


def _refuse(unlike: str) -> None:
    if unlike:
        raise Permanent(unlike)


@lru_cache(maxsize=1)
def loaded(path: Path, digest: str, threads: int) -> Loaded:
    """Read a network and keep it for the next study.

    Raises:
        Permanent: the file is not the expected one, or its architecture is not installed.
        Transient: the file could not be read.
    """
    torch.set_num_threads(threads)
    network = load_network(path, digest)
    return Loaded(network, registry.load_for(network.architecture, network.input_shape))

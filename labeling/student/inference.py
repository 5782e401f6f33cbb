"""Runs a student: encoder and network together, many reports at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from labeling.processor import Dtype
from labeling.sections import ReadableReport
from labeling.student.buckets import Buckets
from labeling.student.encoder import Encoder
from labeling.student.labeler import Answer
from labeling.student.network import STATES, AttentionReader, Sizes, margins
from labeling.student.reading import Batch, Span, TokenizedReport, Tokenizer, side_by_side
from labeling.student.weights_file import InvalidStudent, StudentConfig, StudentFiles, tensors_of
from labeling.vocabulary import WHOLE, LabelSchema

ENCODER_PREFIX = "encoder."
"""Weights of the encoder that were trained, too, stand under their own names behind this."""

_BUCKETS = Buckets(step=64, most=16_384)


@dataclass(frozen=True)
class Answers:
    """The network's answers on one report; ``tokens`` is 0 where there was nothing to read.

    Args:
        spans: of the sentences in the stored text.
        margin, mention_margin: shape (observations, places).
        state: shape (observations, places), indices of ``network.STATES``.
        attention: shape (observations, places, sentences).
    """

    tokens: int
    places: Mapping[str, int]
    spans: tuple[Span, ...]
    margin: npt.NDArray[np.float64]
    mention_margin: npt.NDArray[np.float64]
    state: npt.NDArray[np.int64]
    attention: npt.NDArray[np.float64]

    def of(self, observation: int, site: str) -> Answer:
        """Return the answer on an observation (by index) at a site or ``WHOLE``."""
        at = observation, self.places[site]
        return Answer(
            STATES[int(self.state[at])],
            float(self.margin[at]),
            float(self.mention_margin[at]),
            self.attention[at],
        )


class Reader:
    """A student that is loaded."""

    def __init__(
        self, config: StudentConfig, encoder: Encoder, network: AttentionReader, schema: LabelSchema
    ) -> None:
        self.config = config
        self._encoder = encoder
        self._network = network.eval()
        self._tokenizer = Tokenizer(schema, encoder)
        self._places = {WHOLE: 0} | {site.id: i for i, site in enumerate(schema.sites, 1)}

    @classmethod
    def load(
        cls,
        files: StudentFiles,
        encoder: Path,
        schema: LabelSchema,
        *,
        threads: int = 2,
        dtype: Dtype = "auto",
    ) -> Reader:
        """Load a student and the encoder that it reads.

        Raises:
            InvalidStudent: the weights do not fit the configuration or the encoder.
            UnusableEncoder: the encoder cannot be loaded.
        """
        loaded = Encoder.load(encoder, threads=threads, dtype=dtype)
        weights = tensors_of(files)
        tuned = {
            name.removeprefix(ENCODER_PREFIX): each
            for name, each in weights.items()
            if name.startswith(ENCODER_PREFIX)
        }
        own = {name: each for name, each in weights.items() if not name.startswith(ENCODER_PREFIX)}
        try:
            network = AttentionReader(Sizes(**files.config.sizes))
            network.load_state_dict(own)
            loaded.replace_weights(tuned)
        except (TypeError, RuntimeError, KeyError) as error:
            raise InvalidStudent("the student's weights do not fit its configuration") from error
        return cls(files.config, loaded, network, schema)

    def answer(self, reports: Sequence[ReadableReport]) -> Iterator[Answers]:
        """Yield the answers on each report, in order."""
        tokenized, tokens = self._tokenizer.read(reports)
        weighed = self._encoder.encode(
            list(tokens.values()), self.config.layers, self._network.weigh
        )
        vectors = dict(zip(tokens, weighed, strict=True))
        found: dict[int, Answers] = {}
        for chunk in _BUCKETS.fill([len(each.owner) for each in tokenized]):
            some = [tokenized[i] for i in chunk]
            found.update(zip(chunk, self._answer(some, vectors), strict=True))
        return (found[i] for i in range(len(tokenized)))

    def _answer(
        self, reports: Sequence[TokenizedReport], vectors: Mapping[str, torch.Tensor]
    ) -> Iterator[Answers]:
        batch = padded_further(side_by_side(reports, vectors))
        with torch.inference_mode():
            logits, attention = self._network.pool(batch.vectors, batch.mask, batch.cases)
            present, mentioned = (each.double().numpy() for each in margins(logits))
            states, weights = logits.argmax(-1).numpy(), attention.double().numpy()
        for i, report in enumerate(reports):
            count = len(report.owner)
            yield Answers(
                count,
                self._places,
                report.spans,
                present[i],
                mentioned[i],
                states[i],
                _by_sentence(weights[i, ..., :count], report.owner, len(report.spans)),
            )


def padded_further(batch: Batch) -> Batch:
    """Pad to a round length, so that a report's sums do not depend on the reports beside it."""
    length = batch.mask.shape[1]
    missing = _BUCKETS.padded(length) - length
    pad = torch.nn.functional.pad
    return Batch(
        pad(batch.vectors, (0, 0, 0, missing)),
        pad(batch.mask, (0, missing)),
        pad(batch.cases, (0, 0, 0, missing)),
    )


def _by_sentence(
    weights: npt.NDArray[np.float64], owner: npt.NDArray[np.int64], sentences: int
) -> npt.NDArray[np.float64]:
    """Sum attention over the tokens of each sentence; shape (..., sentences)."""
    belongs = np.zeros((len(owner), sentences))
    belongs[np.arange(len(owner)), owner] = 1.0
    return weights @ belongs

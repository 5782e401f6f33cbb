"""Trains a student on labelled reports: the network alone, or with the encoder's last layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from labeling.errors import Permanent
from labeling.language import Languages
from labeling.sections import ReadableReport, UnreadableReport, read_report
from labeling.settings import LabelingSettings
from labeling.student.encoder import Encoder, Tokens
from labeling.student.examples import Example
from labeling.student.inference import ENCODER_PREFIX
from labeling.student.network import STATES, AttentionReader, Sizes, margins
from labeling.student.reading import TokenizedReport, Tokenizer, side_by_side
from labeling.vocabulary import WHOLE, LabelSchema

Progress = Callable[[str], None]


class CannotTrain(Permanent):
    """There is nothing to learn from."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a student is trained.

    Args:
        seed: of weights, order and dropout.
        epochs: at most; the weights of the best validation loss are kept.
        batch: reports a step.
        learning_rate: of the network; of the encoder's layers a twentieth.
        tuned_layers: last layers of the encoder that learn, too; 0: none.
        layers: of the encoder whose outputs are read, side by side; empty: the middle and the last.
        evidence_weight: of the loss that draws attention to given evidence.
        weight_decay: of AdamW.
    """

    seed: int = 1
    epochs: int = 12
    batch: int = 32
    learning_rate: float = 2e-3
    tuned_layers: int = 0
    layers: tuple[int, ...] = (-1,)
    evidence_weight: float = 0.3
    weight_decay: float = 0.02
    sizes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A report ready to learn from.

    Args:
        report: in tokens.
        allowed: bool (observations, places, states); all true where nothing is known.
        evidence: bool (observations, places, tokens), or None where none is known.
    """

    report: TokenizedReport
    allowed: torch.Tensor
    evidence: torch.Tensor | None


@dataclass(frozen=True)
class Trained:
    """The weights of the best epoch, in float32 by name, and the validation losses by epoch."""

    weights: Mapping[str, torch.Tensor]
    sizes: Sizes
    losses: tuple[float, ...]
    best_epoch: int


class Corpus:
    """Examples in tokens, and the tokens of their different sentences."""

    def __init__(self, schema: LabelSchema, encoder: Encoder) -> None:
        self.schema = schema
        self._tokenizer = Tokenizer(schema, encoder)
        self.tokens: dict[str, Tokens] = {}

    def prepare(
        self, examples: Sequence[Example], languages: Languages, settings: LabelingSettings
    ) -> list[Prepared]:
        """Return the examples that can be read, ready to learn from."""
        kept: list[tuple[Example, ReadableReport]] = []
        for each in examples:
            try:
                kept.append((each, read_report(each.text, languages, settings)))
            except UnreadableReport:
                continue
        reports, tokens = self._tokenizer.read([report for _, report in kept])
        self.tokens.update(tokens)
        return [
            Prepared(report, self._allowed(example), self._evidence(example, report))
            for (example, _), report in zip(kept, reports, strict=True)
            if len(report.owner)
        ]

    def _places(self) -> dict[str, int]:
        return {WHOLE: 0} | {site.id: i for i, site in enumerate(self.schema.sites, 1)}

    def _allowed(self, example: Example) -> torch.Tensor:
        places = self._places()
        allowed = torch.ones(
            len(self.schema.observations), len(places), len(STATES), dtype=torch.bool
        )
        for row, observation in enumerate(self.schema.observations):
            for site in (WHOLE, *observation.sites):
                if (observation.id, site) in example.allowed:
                    states = example.allowed[observation.id, site]
                    known = [state in states for state in STATES]
                    allowed[row, places[site]] = torch.tensor(known)
        return allowed

    def _evidence(self, example: Example, report: TokenizedReport) -> torch.Tensor | None:
        if not example.evidence:
            return None
        places = self._places()
        marked = torch.zeros(
            len(self.schema.observations), len(places), len(report.owner), dtype=torch.bool
        )
        for row, observation in enumerate(self.schema.observations):
            for site in (WHOLE, *observation.sites):
                spans = example.evidence.get((observation.id, site), ())
                inside = [
                    any(a < end and start < b for a, b in spans) for start, end in report.spans
                ]
                marked[row, places[site]] = torch.tensor(inside)[torch.from_numpy(report.owner)]
        return marked


def train(
    corpus: Corpus,
    learn: Sequence[Prepared],
    validate: Sequence[Prepared],
    encoder: Encoder,
    options: TrainingOptions,
    progress: Progress = lambda _: None,
) -> Trained:
    """Train a network; where ``options`` say so, with the encoder's last layers.

    Raises:
        CannotTrain: no report to learn from, or none to validate with.
    """
    if not learn or not validate:
        raise CannotTrain("training needs readable reports of at least a few patients")
    torch.manual_seed(options.seed)
    source = _source(corpus.tokens, encoder, options)
    count = len(corpus.schema.observations)
    sizes = Sizes(inputs=len(options.layers) * encoder.width, observations=count, **options.sizes)
    network = AttentionReader(sizes)
    optimiser = _optimiser(network, source.learning, options)
    steps = options.epochs * math.ceil(len(learn) / options.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        [group["lr"] for group in optimiser.param_groups],
        total_steps=steps,
        pct_start=0.1,
    )
    rng = np.random.default_rng(options.seed)
    losses: list[float] = []
    best: dict[str, torch.Tensor] = {}
    for epoch in range(options.epochs):
        network.train()
        for batch in _batches(learn, rng.permutation(len(learn)), options.batch):
            optimiser.zero_grad()
            loss = _loss(network, source, batch, options.evidence_weight)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        losses.append(_validation_loss(network, source, validate, options))
        progress(f"epoch {epoch + 1} of {options.epochs}: validation loss {losses[-1]:.4f}")
        if losses[-1] == min(losses):
            best = _weights(network, source.learning)
    return Trained(best, sizes, tuple(losses), losses.index(min(losses)) + 1)


def predict(
    trained: Trained,
    corpus: Corpus,
    reports: Sequence[Prepared],
    encoder: Encoder,
    options: TrainingOptions,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return margins of present, shape (reports, observations, places)."""
    network = AttentionReader(trained.sizes)
    network.load_state_dict(
        {k: v for k, v in trained.weights.items() if not k.startswith(ENCODER_PREFIX)}
    )
    encoder.replace_weights(
        {
            k.removeprefix(ENCODER_PREFIX): v
            for k, v in trained.weights.items()
            if k.startswith(ENCODER_PREFIX)
        }
    )
    read = {sentence for each in reports for sentence in each.report.sentences}
    tokens = {sentence: each for sentence, each in corpus.tokens.items() if sentence in read}
    source = _source(tokens, encoder, TrainingOptions(layers=options.layers))
    network.eval()
    found = []
    with torch.inference_mode():
        for batch in _batches(reports, np.arange(len(reports)), options.batch):
            inputs = side_by_side([each.report for each in batch], source.vectors(batch))
            logits, _ = network(inputs.vectors, inputs.mask, inputs.cases)
            found.append(margins(logits)[0].double().numpy())
    return np.concatenate(found)


@dataclass(frozen=True)
class _Source:
    """Gives the vectors of sentences: kept from one reading, or read anew by layers that learn."""

    vectors: Callable[[Sequence[Prepared]], Mapping[str, torch.Tensor]]
    learning: Mapping[str, torch.Tensor]


def _source(tokens: Mapping[str, Tokens], encoder: Encoder, options: TrainingOptions) -> _Source:
    if options.tuned_layers:
        learning = encoder.train_last(options.tuned_layers)

        def anew(batch: Sequence[Prepared]) -> Mapping[str, torch.Tensor]:
            different = list(dict.fromkeys(s for each in batch for s in each.report.sentences))
            read = encoder.encode_for_training([tokens[s] for s in different], options.layers)
            return dict(zip(different, read, strict=True))

        return _Source(anew, learning)
    encoded = encoder.encode(list(tokens.values()), options.layers)
    # Half the memory; the shipped weights are read in bfloat16, too.
    kept = dict(zip(tokens, (each.to(torch.bfloat16) for each in encoded), strict=True))
    return _Source(lambda _: kept, {})


def _optimiser(
    network: AttentionReader, learning: Mapping[str, torch.Tensor], options: TrainingOptions
) -> torch.optim.Optimizer:
    groups = [{"params": list(network.parameters()), "lr": options.learning_rate}]
    if learning:
        groups.append({"params": list(learning.values()), "lr": options.learning_rate / 20})
    return torch.optim.AdamW(groups, weight_decay=options.weight_decay)


def _batches(
    reports: Sequence[Prepared], order: np.ndarray[Any, Any], size: int
) -> Iterator[list[Prepared]]:
    for start in range(0, len(order), size):
        yield [reports[i] for i in order[start : start + size]]


def _loss(
    network: AttentionReader, source: _Source, batch: Sequence[Prepared], evidence_weight: float
) -> torch.Tensor:
    """Return the loss of a batch: log-loss of the allowed states, and attention off evidence."""
    inputs = side_by_side([each.report for each in batch], source.vectors(batch))
    logits, attention = network(inputs.vectors, inputs.mask, inputs.cases)
    allowed = torch.stack([each.allowed for each in batch])
    likely = logits.log_softmax(-1).masked_fill(~allowed, float("-inf")).logsumexp(-1)
    known = ~allowed.all(-1)
    losses = [-likely[:, :, part][known[:, :, part]] for part in (slice(0, 1), slice(1, None))]
    # The whole report counts as much as all of its sites together.
    loss = sum((each.mean() for each in losses if len(each)), start=torch.zeros(()))
    marked = _marked(batch, attention.shape[-1])
    if evidence_weight and marked.any():
        given = marked.any(-1)
        mass = (attention * marked).sum(-1)[given]
        loss = loss - evidence_weight * mass.clamp_min(1e-6).log().mean()
    return loss


def _marked(batch: Sequence[Prepared], length: int) -> torch.Tensor:
    observations, places, _ = batch[0].allowed.shape
    marked = torch.zeros(len(batch), observations, places, length, dtype=torch.bool)
    for row, each in enumerate(batch):
        if each.evidence is not None:
            marked[row, ..., : each.evidence.shape[-1]] = each.evidence
    return marked


def _validation_loss(
    network: AttentionReader,
    source: _Source,
    validate: Sequence[Prepared],
    options: TrainingOptions,
) -> float:
    network.eval()
    with torch.no_grad():
        parts = [
            (len(batch), float(_loss(network, source, batch, 0.0)))
            for batch in _batches(validate, np.arange(len(validate)), options.batch)
        ]
    return sum(count * loss for count, loss in parts) / len(validate)


def _weights(
    network: AttentionReader, learning: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    own = {name: weight.detach().clone() for name, weight in network.state_dict().items()}
    tuned = {ENCODER_PREFIX + name: weight.detach().clone() for name, weight in learning.items()}
    return own | tuned

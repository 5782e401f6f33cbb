"""Learns from labels of whole reports which disc or slice they are about: gated attention.

Ilse, Tomczak and Welling, "Attention-based deep multiple instance learning" (ICML 2018). Every
observation attends for itself: a slip and a herniation may lie at different discs. An instance is
described by a small residual network and, since some hundred bags teach one little, by a linear map
of fixed features beside it. The plain mean of the instances' probabilities is there for comparison
(``pooling="mean"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.architectures.disc_grading import disc_transform, small_residual_network
from training.architectures.fixed_features import FixedFeatures
from training.architectures.heads import (
    loss_of_heads,
    observation_of_columns,
    split_columns,
    target_columns,
)
from training.architectures.protocol import Batch, Heads, Outputs, Transform
from training.disc_crops import CROP_SHAPE
from training.errors import Permanent
from training.learning.example import Example, InputKind

_USUAL_WEIGHTS = {"presence": 1.0, "location": 0.1, "severity": 0.5}
_LEARNED = 64  # features of an instance from the residual network
_MAPPED = 32  # and from the fixed features
_FEATURES = _LEARNED + _MAPPED
_DROPOUT = 0.5  # share of the fixed features that are missing at each step
_HIDDEN = 32  # units of the attention
_SURE = 1e-6  # distance of a mean probability from 0 and 1, so that its logit is finite


@dataclass(frozen=True)
class BagMil:
    """The architecture; see ``training.architectures.protocol.Architecture``.

    Args:
        input_shape: channels, rows, columns of one instance.
        pooling: "attention", or "mean" of the instances' probabilities.
    """

    input_shape: tuple[int, ...] = CROP_SHAPE
    pooling: Literal["attention", "mean"] = "attention"

    name = "bag_mil"
    kind = InputKind.BAG

    def with_input_shape(self, shape: Sequence[int]) -> BagMil:
        """Return the architecture for instances of (channels, rows, columns).

        Raises:
            Permanent: an instance has not three sides.
        """
        if len(shape) != 3 or min(shape) < 1:
            raise Permanent(f"{self.name} takes instances of channels, rows and columns")
        return replace(self, input_shape=tuple(int(each) for each in shape))

    def build(self, heads: Heads) -> nn.Module:
        """Return the network; see the protocol."""
        return _Network(self, heads)

    def collate(self, examples: Sequence[Example], heads: Heads) -> Batch:
        """Return bags side by side, padded with zeros, and which instances are real.

        Returns:
            "input" (batch, most instances, channels, rows, columns), "mask" (batch, most
            instances), true where an instance is real, and the targets of each head.

        Raises:
            Permanent: a bag is empty, or an instance has another shape.
        """
        self._check(examples)
        most = max(len(each.input) for each in examples)
        bags = torch.zeros(len(examples), most, *self.input_shape)
        mask = torch.zeros(len(examples), most, dtype=torch.bool)
        for row, each in enumerate(examples):
            bags[row, : len(each.input)] = torch.from_numpy(each.input)
            mask[row, : len(each.input)] = True
        return {"input": bags, "mask": mask, **target_columns(examples, heads)}

    def loss(self, outputs: Outputs, batch: Batch, heads: Heads) -> torch.Tensor:
        """Return the masked loss of the bags."""
        return loss_of_heads(outputs, batch, heads, _USUAL_WEIGHTS)

    def training_transform(self, seed: int) -> Transform:
        """Return the random changes of a crop, drawn for each instance of a bag."""
        each = disc_transform(self.input_shape, seed)

        def of_bag(bag: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.as_tensor(each(instance)) for instance in bag])

        return of_bag

    def evaluation_transform(self) -> Transform:
        """Return the identity: crops come with comparable brightness."""
        return torch.as_tensor

    def features(self, examples: Sequence[Example]) -> torch.Tensor:
        """Return mean and greatest value over the instances of fixed features (examples, 2 n)."""
        self._check(examples)
        fixed = FixedFeatures(self.input_shape)
        rows = []
        with torch.no_grad():
            for each in examples:
                found = fixed(torch.from_numpy(each.input).float())
                rows.append(torch.cat([found.mean(dim=0), found.amax(dim=0)]))
        return torch.stack(rows)

    def attention(self, network: nn.Module, example: Example, heads: Heads) -> NDArray[np.float32]:
        """Return how much each instance of a bag counts (observations, instances), to be shown.

        The weights of an observation sum to 1. They say where a network looked, not why.
        """
        was_training = network.training
        network.eval()
        with torch.inference_mode():
            weights = network(self.collate([example], heads))["attention"][0]
        network.train(was_training)
        return np.asarray(weights.numpy())

    def _check(self, examples: Sequence[Example]) -> None:
        for each in examples:
            if len(each.input) == 0:
                raise Permanent("a bag holds no instance")
            if tuple(each.input.shape[1:]) != tuple(self.input_shape):
                raise Permanent(f"an instance does not have the shape that {self.name} takes")


class _Network(nn.Module):
    """Instances to features, features to one bag; "attention" (batch, observations, instances)."""

    def __init__(self, architecture: BagMil, heads: Heads) -> None:
        super().__init__()
        self._heads, self._mean = heads, architecture.pooling == "mean"
        of = observation_of_columns(heads)
        self.encoder = _Encoder(architecture.input_shape)
        self.content = nn.Linear(_FEATURES, _HIDDEN)
        self.gate = nn.Linear(_FEATURES, _HIDDEN)
        self.score = nn.Linear(_HIDDEN, len(heads.observations))
        self.classify = nn.Linear(_FEATURES, len(of))
        self.register_buffer("observation", torch.tensor(of), persistent=False)

    def forward(self, batch: Batch) -> Outputs:
        bags, mask = batch["input"], batch["mask"]
        # Padding never enters the encoder: it would move the statistics of its normalisations.
        encoded = self.encoder(bags[mask])
        found = encoded.new_zeros(*mask.shape, encoded.shape[1])
        found[mask] = encoded
        attention = self._attend(found, mask)
        if self._mean:
            logits = self._mean_logits(found, attention[:, 0])
        else:
            logits = self._pooled_logits(found, attention)
        return {**split_columns(logits, self._heads), "attention": attention}

    def _attend(self, found: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return weights (batch, observations, instances), 0 for padding."""
        if self._mean:
            even = mask[:, None] / mask.sum(dim=1)[:, None, None]
            return even.expand(-1, len(self._heads.observations), -1)
        scores = self.score(torch.tanh(self.content(found)) * torch.sigmoid(self.gate(found)))
        scores = scores.transpose(1, 2).masked_fill(~mask[:, None], float("-inf"))
        return torch.softmax(scores, dim=2)

    def _pooled_logits(self, found: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        pooled = attention @ found  # (batch, observations, features)
        of_column = pooled[:, cast(torch.Tensor, self.observation)]
        return (of_column * self.classify.weight).sum(dim=2) + self.classify.bias

    def _mean_logits(self, found: torch.Tensor, even: torch.Tensor) -> torch.Tensor:
        probabilities = torch.sigmoid(self.classify(found))  # (batch, instances, columns)
        mean = (probabilities * even[:, :, None]).sum(dim=1)
        return torch.logit(mean.clamp(_SURE, 1 - _SURE))


class _Encoder(nn.Module):
    """Instances (n, channels, rows, columns) to features (n, _FEATURES)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network = small_residual_network(shape[0], None)
        self.fixed = FixedFeatures(shape)
        self.mapped = nn.Sequential(
            nn.BatchNorm1d(self.fixed.count, affine=False),
            nn.Dropout(_DROPOUT),
            nn.Linear(self.fixed.count, _MAPPED),
        )

    def forward(self, instances: torch.Tensor) -> torch.Tensor:
        learned = self.network(instances).flatten(1)
        return torch.cat([learned, self.mapped(self.fixed(instances))], dim=1)


ARCHITECTURE = BagMil()
"""Gated attention over disc crops; entry point ``bag_mil``."""

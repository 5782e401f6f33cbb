"""A plain loop for acceptance: an architecture learns from the training fold, a fixed time.

There is no early stop: with few patients a validation fold would cost more than it tells. Weights
are averaged over about the last 30 steps, and random changes of the inputs are drawn a few times
and used in turn. ``training.learning.loop`` is what the product trains with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.swa_utils import AveragedModel

from training.architectures.protocol import Architecture, Heads, Transform
from training.learning.computing import Precision, loss_of
from training.learning.example import Example

_AVERAGING = 0.97


@dataclass(frozen=True)
class Plan:
    """How long and how fast an architecture learns."""

    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 2e-2
    variants: int = 8
    precision: Precision = "float32"


def learn(
    architecture: Architecture, examples: Sequence[Example], heads: Heads, plan: Plan, seed: int
) -> nn.Module:
    """Return the network that learned from the examples of fold "train"."""
    torch.set_num_threads(1)
    learned = [each for each in examples if each.fold == "train"]
    transform = architecture.training_transform(seed)
    variants = [
        [_changed(each, transform) for each in learned]
        for _ in range(min(plan.variants, plan.epochs))
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architecture.build(heads)
        average = AveragedModel(network, avg_fn=_averaged, use_buffers=True)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        batches = max(1, len(learned) // plan.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, plan.learning_rate, total_steps=batches * plan.epochs, pct_start=0.2
        )
        for epoch in range(plan.epochs):
            given = variants[epoch % len(variants)]
            network.train()
            # As equal as can be: batch normalisation needs more than one example.
            for rows in torch.tensor_split(torch.randperm(len(given)), batches):
                batch = architecture.collate([given[int(row)] for row in rows], heads)
                loss = loss_of(architecture, network, batch, heads, plan.precision)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                average.update_parameters(network)
    return average.module.eval()


def _averaged(kept: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    share = min(_AVERAGING, (1 + int(count)) / (10 + int(count)))  # the first steps soon forgotten
    return kept * share + new * (1 - share)


def outputs_of(
    architecture: Architecture,
    network: nn.Module,
    examples: Sequence[Example],
    heads: Heads,
    name: str = "presence",
) -> NDArray[np.float64]:
    """Return the probabilities of a head (examples, columns)."""
    fixed = architecture.evaluation_transform()
    found = []
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(examples), 64):
            part = [_changed(each, fixed) for each in examples[start : start + 64]]
            found.append(torch.sigmoid(network(architecture.collate(part, heads))[name]))
    return np.asarray(torch.cat(found).double().numpy())


def _changed(example: Example, transform: Transform) -> Example:
    given = torch.from_numpy(np.array(example.input, dtype=np.float32))
    return replace(example, input=torch.as_tensor(transform(given)).numpy())

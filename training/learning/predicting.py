"""Logits of examples, how they are judged, and how they become probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.architectures.protocol import Architecture, Batch, Heads
from training.learning.batches import evaluation_batches
from training.learning.distributed import ALONE, Group, known_in
from training.learning.example import Example
from training.learning.losses import masked_bce, positive_weights
from training.learning.targets import presence_matrix
from training.samples import hard
from training.trainer import mean_auroc

_TEMPERATURES = np.geomspace(0.5, 4.0, 43)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Loss, mean AUROC (None where no observation has both classes), and presence logits."""

    loss: float
    auroc: float | None
    logits: torch.Tensor


def judge(
    architecture: Architecture,
    network: nn.Module,
    examples: Sequence[Example],
    heads: Heads,
    batch_size: int = 32,
    *,
    group: Group = ALONE,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> Judged:
    """Return what a network makes of examples with targets, in evaluation mode.

    The loss is the architecture's own, over the known targets of all batches together.
    """
    network.eval()
    logits = torch.zeros(len(examples), len(heads.observations), dtype=torch.float64)
    # Filled by the process that looked, then summed: batch by batch, so that the order of the
    # sum does not hang on how many processes there are.
    losses = torch.zeros(-(-len(examples) // batch_size), 2, dtype=torch.float64)
    with torch.no_grad():
        for rows, batch in evaluation_batches(
            architecture, examples, heads, batch_size, part=group.part, workers=workers
        ):
            outputs = network(moved(batch, device))
            loss = architecture.loss(outputs, moved(batch, device), heads)
            logits[rows] = outputs["presence"].double().cpu()
            known = known_in(batch)
            losses[rows[0] // batch_size] = torch.tensor([float(loss) * known, known])
    group.add_up(logits)
    group.add_up(losses)
    targets = hard(presence_matrix(examples, heads.observations))
    total = losses.sum(dim=0)
    ranked = bool(torch.isfinite(logits).all())
    return Judged(
        loss=float(total[0] / total[1].clamp(min=1)),
        auroc=mean_auroc(targets, logits.numpy()) if ranked else None,
        logits=logits.float(),
    )


def logits_of(
    architecture: Architecture,
    network: nn.Module,
    examples: Sequence[Example],
    heads: Heads,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Return presence logits (examples, observations), float32; targets are not looked at."""
    network.eval()
    found = [torch.zeros(0, len(heads.observations))]
    with torch.inference_mode():
        for _, batch in evaluation_batches(architecture, examples, heads, batch_size):
            found.append(network(moved(batch, device))["presence"].float().cpu())
    return torch.cat(found)


def probabilities_of(logits: torch.Tensor, offsets: Sequence[float], temperature: float) -> Floats:
    """Return probabilities (examples, observations) of logits."""
    adjusted = (logits.double() - torch.tensor(offsets, dtype=torch.float64)) / temperature
    return np.asarray(torch.sigmoid(adjusted).numpy())


def calibrated(
    logits: torch.Tensor, targets: Floats, heads: Heads
) -> tuple[tuple[float, ...], float]:
    """Return the offset of each observation, and the temperature with the least validation loss.

    An offset is the logarithm of the positives' weight, which the loss added to the logit; the
    temperature is that of Guo et al. (ICML 2017).
    """
    offsets = torch.log(positive_weights(heads)).double()
    known = torch.from_numpy(targets)
    losses = [float(masked_bce((logits - offsets) / t, known)) for t in _TEMPERATURES]
    return tuple(offsets.tolist()), float(_TEMPERATURES[int(np.argmin(losses))])


def moved(batch: Batch, device: torch.device | str) -> Batch:
    """Return the batch on a device."""
    return {name: value.to(device) for name, value in batch.items()}

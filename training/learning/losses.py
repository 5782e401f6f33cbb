"""Losses over what is known: a target that is NaN teaches nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from training.architectures.masked import masked_bce
from training.architectures.protocol import Heads

__all__ = ["bounded_weights", "masked_bce", "positive_weights", "presence_loss"]


def presence_loss(logits: torch.Tensor, presence: torch.Tensor, heads: Heads) -> torch.Tensor:
    """Return ``masked_bce`` of the presence head with the positive weights of ``heads``."""
    return masked_bce(logits, presence, positive_weights(heads, logits.device))


def positive_weights(heads: Heads, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the weight of positives of each observation, 1.0 where ``heads`` says none."""
    values = [float(heads.positive_weights.get(name, 1.0)) for name in heads.observations]
    return torch.tensor(values, device=device)


def bounded_weights(
    positives: Sequence[float], negatives: Sequence[float], most: float
) -> list[float]:
    """Return negatives by positives, from 1 to ``most``: what balances rare findings.

    Args:
        positives, negatives: how much of each the training fold holds, by observation; of soft
            targets the sums of the probabilities and of what they lack to 1.
        most: bound; without one, a finding that occurs once would govern the loss.
    """
    pairs = zip(positives, negatives, strict=True)
    return [min(max(no / max(yes, 1e-9), 1.0), most) for yes, no in pairs]

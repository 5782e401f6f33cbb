"""Losses over what is known: a target that is NaN teaches nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from training.architectures.protocol import Heads


def masked_bce(
    logits: torch.Tensor, targets: torch.Tensor, positive_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean binary cross-entropy over the known targets, a scalar; 0 where none is.

    A target between 0 and 1 is a probability, and the loss is the cross-entropy with it (soft
    targets, as Bigolin Lanfredi et al., MAPLEZ, arXiv 2403.04024, learn from).

    Args:
        logits: (batch, observations).
        targets: the same shape, 0.0 to 1.0, NaN for unknown.
        positive_weights: (observations,), the weight of the positive part of each term.
    """
    known = ~torch.isnan(targets)
    # Chosen before the loss and not multiplied after it: 0 times an infinite logit is NaN.
    given = torch.where(known, logits, torch.zeros_like(logits))
    loss = nn.functional.binary_cross_entropy_with_logits(
        given, torch.nan_to_num(targets), pos_weight=positive_weights, reduction="none"
    )
    return (loss * known).sum() / known.sum().clamp(min=1)


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

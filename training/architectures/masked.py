"""Cross-entropy over what is known: a target that is NaN teaches nothing."""

from __future__ import annotations

import torch
from torch import nn


def masked_bce(
    logits: torch.Tensor, targets: torch.Tensor, positive_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean binary cross-entropy over the known targets, a scalar; 0 where none is.

    A target between 0 and 1 is a probability, and the loss is the cross-entropy with it (soft
    targets, as in Bigolin Lanfredi et al., "MAPLEZ", arXiv 2403.04024).

    Args:
        logits: (batch, columns).
        targets: the same shape, 0.0 to 1.0, NaN for unknown.
        positive_weights: (columns,), weights of the positive part of each term.
    """
    known = ~torch.isnan(targets)
    # Chosen before the loss: an infinite logit times 0 would be NaN.
    given = torch.where(known, logits, torch.zeros_like(logits))
    terms = nn.functional.binary_cross_entropy_with_logits(
        given, torch.nan_to_num(targets), pos_weight=positive_weights, reduction="none"
    )
    return (terms * known).sum() / known.sum().clamp(min=1)

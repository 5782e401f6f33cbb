"""Attention in plain matrix products, for learning on a processor.

There the fused kernel of torch takes half as long again as this, most of it backward. Heads that
share keys and values are read side by side, so nothing is copied for each of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

NAME = "radloop_plain"

_KNOWN = frozenset({"sdpa"})


def plain_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention as transformers asks for it.

    Args:
        module: the layer; not used.
        query: [rows, heads, n, width].
        key, value: [rows, shared heads, m, width].
        attention_mask: added to the scores: [rows, 1, n, m].
        scaling: of the scores; None: by the width.

    Returns:
        [rows, n, heads, width], and no weights.
    """
    rows, heads, count, width = query.shape
    shared = rows * key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    side_by_side = (query * scale).reshape(shared, -1, width)
    keys = key.reshape(shared, -1, key.shape[-1])
    scores = torch.bmm(side_by_side, keys.transpose(1, 2)).view(rows, heads, count, -1)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1).view(shared, -1, keys.shape[1])
    found = torch.bmm(weights, value.reshape(shared, -1, value.shape[-1]))
    return found.view(rows, heads, count, -1).transpose(1, 2).contiguous(), None


def attend_plainly(model: Any) -> None:
    """Let a model on a processor attend so, where it would use the kernel of torch."""
    if model.device.type == "cpu" and model.config._attn_implementation in _KNOWN:
        AttentionInterface.register(NAME, plain_attention)
        model.set_attn_implementation(NAME)

"""Attention in plain matrix products, for learning and reading on a processor.

There the fused kernel of torch takes half as long again as this, most of it backward; in bfloat16
and under a mask twice as long forward. Heads that share keys and values are read side by side, so
nothing is copied for each of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "radloop_plain"

_KNOWN = frozenset({"sdpa"})


def plain_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    softcap: float | None = None,
    position_bias: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention as transformers asks for it.

    Args:
        module: the layer; not used.
        query: [rows, heads, n, width].
        key, value: [rows, shared heads, m, width].
        attention_mask: added to the scores: [rows, 1, n, m]; None: nothing is hidden, which only a
            single token that follows all the others asks for.
        scaling: of the scores; None: by the width.
        softcap, position_bias: of models that this cannot read.

    Returns:
        [rows, n, heads, width], and no weights.

    Raises:
        ValueError: the model attends in another way.
    """
    rows, heads, count, width = query.shape
    if softcap is not None or position_bias is not None or (attention_mask is None and count > 1):
        raise ValueError("the model attends in a way that plain products do not know")
    shared = rows * key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    side_by_side = (query * scale).reshape(shared, -1, width)
    keys = key.reshape(shared, -1, key.shape[-1])
    scores = torch.bmm(side_by_side, keys.transpose(1, 2)).view(rows, heads, count, -1)
    if attention_mask is not None:
        scores += attention_mask
    weights = torch.softmax(scores, dim=-1).view(shared, -1, keys.shape[1])
    found = torch.bmm(weights, value.reshape(shared, -1, value.shape[-1]))
    return found.view(rows, heads, count, -1).transpose(1, 2).contiguous(), None


def attend_plainly(model: Any) -> None:
    """Let a model on a processor attend so, where it would use the kernel of torch."""
    if model.device.type == "cpu" and model.config._attn_implementation in _KNOWN:
        AttentionInterface.register(NAME, plain_attention)
        AttentionMaskInterface.register(NAME, eager_mask)
        model.set_attn_implementation(NAME)

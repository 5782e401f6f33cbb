"""Reads sentences through a BERT laid end to end: no padding, and weights packed once.

All that works on single tokens is computed on rows of one fixed number, so its rounding depends on
nothing but the token. Attention is computed for sentences of the same length at once; of what is
beside it, it sees nothing. The products are those of oneDNN, whose weights are laid out when they
are loaded, and not anew with each batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import layer_norm

ROWS = 512
"""Tokens that are read at once; no sentence is longer."""

_LANES = (
    16  # softmax runs along whole vector registers; rows of another length take ten times as long
)


def can_read(model: Any) -> bool:
    """Tell whether a model of transformers can be read so, in its number format and here."""
    config = model.config
    known = config.model_type == "bert" and config.hidden_act == "gelu" and not config.is_decoder
    return known and _multiplies(model.dtype)


def _multiplies(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN is at hand and multiplies a number format on this processor."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32


def chunks(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield places in ``lengths``, the shortest first, ``ROWS`` tokens or fewer at a time."""
    chunk: list[int] = []
    tokens = 0
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if tokens + lengths[place] > ROWS:
            yield chunk
            chunk, tokens = [], 0
        chunk.append(place)
        tokens += lengths[place]
    if chunk:
        yield chunk


class PackedBert:
    """The weights of a BERT of transformers, packed; what it learns afterwards is not seen.

    Args:
        model: one that ``can_read``.
        pad: id of the token that fills up the rows.
    """

    def __init__(self, model: Any, pad: int) -> None:
        embeddings = model.embeddings
        self._words = embeddings.word_embeddings.weight.detach()
        kinds = embeddings.token_type_embeddings.weight[0]
        self._places = (embeddings.position_embeddings.weight + kinds).detach()
        self._norm = _Norm.of(embeddings.LayerNorm)
        heads = int(model.config.num_attention_heads)
        self._layers = [_Layer.of(layer, heads) for layer in model.encoder.layer]
        self._pad = pad

    def read(self, sentences: Sequence[Sequence[int]], layers: Sequence[int]) -> torch.Tensor:
        """Return vectors of tokens, shape (``ROWS``, layers * width); the last ones mean nothing.

        Args:
            sentences: ids with special tokens, the shortest sentence first, as ``chunks`` has it.
            layers: whose outputs stand side by side; 0 is the embedding, -1 the last.
        """
        lengths = [len(each) for each in sentences]
        free = ROWS - sum(lengths)
        ids = [word for each in sentences for word in each] + [self._pad] * free
        places = [place for length in lengths for place in range(length)] + [0] * free
        groups = [(length, len(list(some))) for length, some in groupby(lengths)]
        vectors = self._norm(self._words[torch.tensor(ids)] + self._places[torch.tensor(places)])
        states = [vectors]
        for layer in self._layers:
            states.append(layer.read(states[-1], groups))
        return torch.cat([states[layer] for layer in layers], dim=-1)


@dataclass(frozen=True)
class _Norm:
    weight: torch.Tensor
    bias: torch.Tensor
    epsilon: float

    @classmethod
    def of(cls, norm: Any) -> _Norm:
        return cls(norm.weight.detach(), norm.bias.detach(), norm.eps)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return layer_norm(rows, self.weight.shape, self.weight, self.bias, self.epsilon)


class _Linear:
    """Layers of the same input side by side; rows come in the number ``ROWS``."""

    def __init__(self, *layers: Any) -> None:
        weight = torch.cat([each.weight.detach() for each in layers])
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self._bias = torch.cat([each.bias.detach() for each in layers])

    def __call__(self, rows: torch.Tensor, then: str = "none") -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._weight, self._bias, then, [], "none"
        )
        return product

    def onto(self, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return ``other`` plus the product."""
        total: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            rows, other, self._weight, self._bias, "add"
        )
        return total


@dataclass(frozen=True)
class _Layer:
    attended: _Linear
    joined: _Linear
    first_norm: _Norm
    widened: _Linear
    narrowed: _Linear
    second_norm: _Norm
    heads: int

    @classmethod
    def of(cls, layer: Any, heads: int) -> _Layer:
        inner, outer = layer.attention.self, layer.attention.output
        return cls(
            _Linear(inner.query, inner.key, inner.value),
            _Linear(outer.dense),
            _Norm.of(outer.LayerNorm),
            _Linear(layer.intermediate.dense),
            _Linear(layer.output.dense),
            _Norm.of(layer.output.LayerNorm),
            heads,
        )

    def read(self, rows: torch.Tensor, groups: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return the layer's output; ``groups`` are lengths, each with its number of sentences."""
        asked = self.attended(rows)
        seen = torch.empty_like(rows)
        start = 0
        for length, count in groups:
            end = start + length * count
            seen[start:end] = _attention(asked[start:end], length, self.heads)
            start = end
        seen[start:] = 0.0
        rows = self.first_norm(self.joined.onto(seen, rows))
        return self.second_norm(self.narrowed.onto(self.widened(rows, "gelu"), rows))


def _attention(asked: torch.Tensor, length: int, heads: int) -> torch.Tensor:
    """Return what the tokens of sentences of one length take from each other.

    Args:
        asked: (tokens, 3 * width): queries, keys and values side by side.
        length: of each sentence.
        heads: among which the width is shared.
    """
    tokens, columns = asked.shape
    size, padded = columns // (3 * heads), -(-length // _LANES) * _LANES
    apart = asked.new_empty(3, tokens // length, heads, padded, size)
    apart[..., :length, :] = asked.view(-1, length, 3, heads, size).permute(2, 0, 3, 1, 4)
    apart[..., length:, :] = 0.0
    queries, keys, values = apart.view(3, -1, padded, size)
    mask = asked.new_zeros(1, 1, padded)
    mask[..., length:] = float("-inf")
    scores = torch.baddbmm(mask, queries[:, :length], keys.mT, alpha=1 / math.sqrt(size))
    weights = scores.softmax(-1, dtype=torch.float32).to(asked.dtype)
    taken = torch.bmm(weights, values).view(-1, heads, length, size)
    return taken.transpose(1, 2).reshape(tokens, heads * size)

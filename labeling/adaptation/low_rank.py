"""Layers whose weights learn by a product of two small matrices, the rest of the model standing.

After Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685). A layer
computes with the weight ``W + scale * up @ down``, put together once a pass in full precision and
then rounded, so that reading costs what the bare layer costs; the gradient of the large matrix is
never formed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from labeling.llm.adapter_file import DOWN, UP, UnusableAdapter, adaptable


class LowRankLinear(nn.Module):
    """A linear layer [outputs, inputs] with ``down`` [rank, inputs] and ``up`` [outputs, rank].

    The layer's own weight stays in float32, beyond the reach of ``Module.to``: rounded first, it
    would swallow products smaller than its last digit.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        rank: int,
        scale: float,
        compute: torch.dtype,
    ) -> None:
        super().__init__()
        self._standing = (weight, bias)
        self.scale, self.compute = scale, compute
        outputs, inputs = weight.shape
        self.down = nn.Parameter(torch.empty(rank, inputs, device=weight.device))
        self.up = nn.Parameter(torch.zeros(outputs, rank, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self._whole: tuple[tuple[int, int], torch.Tensor] | None = None

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for states [..., inputs]."""
        product: Any = _Product  # torch does not say what ``apply`` takes
        found: torch.Tensor = product.apply(
            states, self.whole(), self._standing[1], self.down, self.up, self.scale
        )
        return found

    def whole(self) -> torch.Tensor:
        """Return ``W + scale * up @ down`` [outputs, inputs], put together once a step."""
        # An optimizer changes values in place, which torch counts.
        version = (self.down._version, self.up._version)
        if self._whole is None or self._whole[0] != version:
            with torch.no_grad():
                product = torch.addmm(self._standing[0], self.up, self.down, alpha=self.scale)
                self._whole = version, product.to(self.compute)
        return self._whole[1]


class _Product(torch.autograd.Function):
    """``states @ whole^T + bias``, the gradient of the whole being that of its two matrices."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        whole: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        given = states.to(whole.dtype)
        ctx.save_for_backward(given, whole, down, up)
        ctx.scale, ctx.outer = scale, states.dtype
        kept = None if bias is None else bias.to(whole.dtype)
        return nn.functional.linear(given, whole, kept).to(states.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        given, whole, down, up = ctx.saved_tensors
        outer = gradient.to(whole.dtype)
        below = (outer @ whole).to(ctx.outer)
        flat, states = outer.reshape(-1, outer.shape[-1]), given.reshape(-1, given.shape[-1])
        low = flat @ up.to(whole.dtype)  # [n, rank]
        down_gradient = (low.T @ states).float() * ctx.scale
        up_gradient = (flat.T @ (states @ down.to(whole.dtype).T)).float() * ctx.scale
        return below, None, None, down_gradient, up_gradient, None


def adapt(model: nn.Module, rank: int, scale: float, compute: torch.dtype) -> None:
    """Put low-rank layers in place of the linear layers of a model's blocks; freeze all else.

    Args:
        model: of transformers; it is changed.
        rank: of the products.
        scale: of the products.
        compute: the number format of the model; the products learn in float32.

    Raises:
        UnusableLanguageModel: no layer of the model can be adapted.
    """
    layers = {
        name: (layer.weight.detach().float(), layer.bias)
        for name, layer in adaptable(model).items()
    }
    for parameter in model.requires_grad_(False).parameters():
        # Not Module.to: it would round the frequencies of positions, too, which are no parameters.
        parameter.data = parameter.data.to(compute)
    for name, (weight, bias) in layers.items():
        parent, _, last = name.rpartition(".")
        low = LowRankLinear(weight, bias, rank, scale, compute)
        setattr(model.get_submodule(parent), last, low)


def parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the small matrices of an adapted model by name, as ``adapter_file`` keeps them."""
    found: dict[str, nn.Parameter] = {}
    for name, layer in _layers(model):
        found[f"{name}.{DOWN}"], found[f"{name}.{UP}"] = layer.down, layer.up
    return found


def begin_from(model: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Set the small matrices of an adapted model to those of an adapter.

    Raises:
        UnusableAdapter: they are of other layers or sizes.
    """
    known = parameters(model)
    if {name: each.shape for name, each in known.items()} != {
        name: each.shape for name, each in values.items()
    }:
        raise UnusableAdapter("the adapter to begin from is of other layers or sizes")
    with torch.no_grad():
        for name, parameter in known.items():
            parameter.copy_(values[name])


def _layers(model: nn.Module) -> Iterator[tuple[str, LowRankLinear]]:
    for name, layer in model.named_modules():
        if isinstance(layer, LowRankLinear):
            yield name, layer

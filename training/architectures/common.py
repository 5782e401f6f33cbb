"""What architectures share that look at one array and tell what is present."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.transforms import Compose
from torch import nn

from training.architectures.protocol import Batch, Heads, Outputs, Transform
from training.errors import Permanent
from training.learning.example import Example
from training.learning.losses import presence_loss
from training.learning.targets import presence_matrix


class PresenceNetwork(nn.Module):
    """A network from "input" to "presence", around one from arrays to logits."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, batch: Batch) -> Outputs:
        """Return {"presence": logits (batch, observations)}."""
        return {"presence": self.trunk(batch["input"])}


def collate_presence(
    examples: Sequence[Example], heads: Heads, input_shape: tuple[int, ...]
) -> Batch:
    """Return {"input": (batch, *input_shape), "presence": (batch, observations)}, float32.

    Raises:
        Permanent: an input has another shape.
    """
    for each in examples:
        if tuple(each.input.shape) != tuple(input_shape):
            raise Permanent(
                f"an input has shape {tuple(each.input.shape)}, and the network takes "
                f"{tuple(input_shape)}"
            )
    return {
        "input": torch.from_numpy(np.stack([each.input for each in examples])).float(),
        "presence": torch.from_numpy(presence_matrix(examples, heads.observations)).float(),
    }


def loss_of_presence(outputs: Outputs, batch: Batch, heads: Heads) -> torch.Tensor:
    """Return the masked cross-entropy of the presence head."""
    return presence_loss(outputs["presence"], batch["presence"], heads)


def seeded(transforms: Sequence[Any], seed: int) -> Transform:
    """Return MONAI transforms one after the other, their chance determined by the seed."""
    compose = Compose(list(transforms))
    compose.set_random_state(seed=seed)
    return cast(Transform, compose)


def unchanged(given: torch.Tensor) -> torch.Tensor:
    """Return what was given: inputs are prepared already."""
    return given

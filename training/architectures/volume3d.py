"""A small residual network on a whole stack of slices: which findings it shows.

The three-dimensional form of He et al. (CVPR 2016) as MONAI builds it, of about a million weights,
with group normalisation (Wu and He, ECCV 2018): volumes come few at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from monai.networks.nets import ResNet
from monai.transforms import RandAffine, RandGaussianNoise, RandScaleIntensity, RandShiftIntensity
from torch import nn

from training.architectures.common import (
    PresenceNetwork,
    collate_presence,
    loss_of_presence,
    seeded,
    unchanged,
)
from training.architectures.protocol import Batch, Heads, Outputs, Transform
from training.errors import Permanent
from training.learning.classical import volume_features
from training.learning.example import Example, InputKind

_SMALLEST = (4, 16, 16)


@dataclass(frozen=True)
class Volume3D:
    """The architecture; see ``training.architectures.protocol.Architecture``.

    Args:
        input_shape: (1, slices, rows, columns) of a volume.
    """

    input_shape: tuple[int, ...] = (1, 16, 96, 96)

    name = "volume3d"
    kind = InputKind.VOLUME

    def with_input_shape(self, shape: Sequence[int]) -> Volume3D:
        """Return the architecture for volumes of (slices, rows, columns).

        Raises:
            Permanent: a volume has three sides, of at least 4, 16, and 16.
        """
        if len(shape) != 3 or any(a < b for a, b in zip(shape, _SMALLEST, strict=True)):
            raise Permanent(f"{self.name} takes slices, rows, and columns, at least {_SMALLEST}")
        return replace(self, input_shape=(1, *(int(each) for each in shape)))

    def build(self, heads: Heads) -> nn.Module:
        """Return the network; see the protocol."""
        trunk = ResNet(
            block="basic",
            layers=[1, 1, 1, 1],
            block_inplanes=[16, 32, 64, 96],
            spatial_dims=3,
            n_input_channels=1,
            # Few slices, far apart: the first step halves rows and columns alone.
            conv1_t_size=(3, 5, 5),
            conv1_t_stride=(1, 2, 2),
            no_max_pool=True,
            bias_downsample=False,
            num_classes=len(heads.observations),
            norm=("group", {"num_groups": 8}),
        )
        return PresenceNetwork(trunk)

    def collate(self, examples: Sequence[Example], heads: Heads) -> Batch:
        """Return volumes and targets side by side."""
        return collate_presence(examples, heads, self.input_shape)

    def loss(self, outputs: Outputs, batch: Batch, heads: Heads) -> torch.Tensor:
        """Return the masked cross-entropy with soft targets."""
        return loss_of_presence(outputs, batch, heads)

    def training_transform(self, seed: int) -> Transform:
        """Return small rotations about the slices' axis, shifts, scalings, brightness, noise."""
        rows, columns = self.input_shape[2:]
        return seeded(
            (
                RandAffine(
                    prob=0.9,
                    rotate_range=(0.1, 0.0, 0.0),
                    translate_range=(0.0, 0.04 * rows, 0.04 * columns),
                    scale_range=(0.0, 0.08, 0.08),
                    padding_mode="border",
                ),
                RandScaleIntensity(factors=0.15, prob=0.7),
                RandShiftIntensity(offsets=0.1, prob=0.7),
                RandGaussianNoise(prob=0.5, std=0.03),
            ),
            seed,
        )

    def evaluation_transform(self) -> Transform:
        """Return the identity: volumes come prepared."""
        return unchanged

    def features(self, examples: Sequence[Example]) -> torch.Tensor:
        """Return classical features (examples, features) of layers and of the whole volume."""
        return torch.from_numpy(np.stack([volume_features(each.input[0]) for each in examples]))


ARCHITECTURE = Volume3D()
"""With volumes of 16 x 96 x 96; entry point ``volume3d``."""

"""Networks that classify disc crops: MONAI networks and transforms behind a small protocol.

A family of classifiers enters through the entry-point group ``radloop.classifiers``; the name in
the settings chooses one. ``DISC_NETWORK`` is the one that comes along: a small residual network
(He et al., "Deep residual learning for image recognition", CVPR 2016) that trains in about a minute
on two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import torch
from monai.networks.nets import ResNet
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandAffine,
    RandGaussianNoise,
    RandomizableTransform,
    RandScaleIntensity,
)
from torch import nn

from training.disc_crops import CROP_SHAPE

Transform = Callable[[torch.Tensor], torch.Tensor]


@runtime_checkable
class ClassifierFamily(Protocol):
    """What a family of classifiers offers to training and inference."""

    @property
    def name(self) -> str:
        """Name under which the family is registered; written beside the weights."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of one crop."""

    @property
    def useful_threads(self) -> int:
        """How many threads a step of this network can keep busy."""

    def build(self, outputs: int) -> nn.Module:
        """Return an untrained network: crops (n, *input_shape) to logits (n, outputs)."""

    def training_transform(self, seed: int) -> Transform:
        """Return the random change of one crop during training, determined by the seed."""

    def evaluation_transform(self) -> Transform:
        """Return the fixed change of one crop at validation and prediction."""


class DiscNetwork:
    """A residual network of about 57,000 weights on three neighbouring slices of one disc."""

    name = "disc_network"
    input_shape = CROP_SHAPE
    # A step takes milliseconds: further threads wait for each other, worse on a busy machine.
    useful_threads = 1

    def build(self, outputs: int) -> nn.Module:
        """Return the network; see ``ClassifierFamily``."""
        network = ResNet(
            block="basic",
            layers=[1, 1, 1, 1],
            block_inplanes=[16, 32, 48, 64],
            spatial_dims=2,
            n_input_channels=self.input_shape[0],
            conv1_t_size=5,
            conv1_t_stride=2,
            no_max_pool=True,
            num_classes=outputs,
        )
        return cast(nn.Module, network)

    def training_transform(self, seed: int) -> Transform:
        """Return small rotations, shifts and scalings, left-right flips, intensity and noise.

        The only flip is between left and right, the order of the channels: a spine upside down
        or back to front does not exist.
        """
        compose = Compose(
            [
                RandAffine(
                    prob=0.9,
                    rotate_range=0.12,
                    translate_range=(2.5, 2.5),
                    scale_range=(0.08, 0.08),
                    padding_mode="border",
                ),
                _SwapSides(prob=0.5),
                RandScaleIntensity(factors=0.15, prob=0.7),
                RandAdjustContrast(prob=0.4, gamma=(0.75, 1.35)),
                RandGaussianNoise(prob=0.5, std=0.04),
            ]
        )
        compose.set_random_state(seed=seed)
        return cast(Transform, compose)

    def evaluation_transform(self) -> Transform:
        """Return the identity: crops come with comparable brightness already."""
        return cast(Transform, Compose([]))


class _SwapSides(RandomizableTransform):  # type: ignore[misc]  # monai has no types
    """Mirror the patient: the order of the channels is turned round."""

    def __call__(self, crop: torch.Tensor) -> torch.Tensor:
        self.randomize(None)
        return crop.flip(0) if self._do_transform else crop


DISC_NETWORK: ClassifierFamily = DiscNetwork()
"""The family that comes along; entry point ``disc_network``."""

"""Several processes that learn together: a GPU each, or a part of a CPU.

``torchrun`` starts them and sets RANK, WORLD_SIZE, and LOCAL_RANK. Every process takes its part of
each batch, with statistics of batch normalisation, gradients, and validation over all of them, so
that the result is that of one process but for the order of sums, and for dropout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from training.architectures.protocol import Batch
from training.errors import Permanent
from training.learning.batches import Part, steps_of


@dataclass(frozen=True)
class Group:
    """The processes that learn together, seen from one of them.

    Args:
        rank: number of this one.
        size: how many there are.
        local: number on this machine, which chooses the GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def part(self) -> Part:
        """This process's part of each batch."""
        return self.rank, self.size

    @property
    def leads(self) -> bool:
        """Whether this process writes files and tells progress."""
        return self.rank == 0

    def device(self, wanted: str) -> torch.device:
        """Return the device to compute on.

        Raises:
            Permanent: CUDA is wanted, and there is none.
        """
        if wanted == "cuda" and not torch.cuda.is_available():
            raise Permanent("the settings want a CUDA device, and there is none")
        if wanted == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", self.local)

    def steps_of(self, examples: int, batch_size: int) -> int:
        """Return how many steps an epoch has."""
        return steps_of(examples, batch_size, self.size)

    def shared_norms(self, network: nn.Module) -> nn.Module:
        """Return the network with batch normalisation over all processes."""
        return network if self.size == 1 else _with_shared_norms(network)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return what computes a training step: gradients become means over the processes."""
        if self.size == 1:
            return network
        # A head that no target of a batch speaks to has no gradient.
        return DistributedDataParallel(network, find_unused_parameters=True)

    def share_of(self, batch: Batch) -> float:
        """Return the weight of this process's mean loss, so that their mean is that of all.

        Parts of a batch may hold different numbers of known targets.
        """
        if self.size == 1:
            return 1.0
        known = torch.tensor(float(known_in(batch)), dtype=torch.float64)
        total = known.clone()
        self.add_up(total)
        return float(known * self.size / total.clamp(min=1))

    def mean(self, value: float) -> float:
        """Return the mean of a number over the processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        self.add_up(total)
        return float(total) / self.size

    def add_up(self, values: torch.Tensor) -> None:
        """Put the sum over the processes in the place of values on the CPU."""
        if self.size == 1:
            return
        moved = values.to(_transport())
        dist.all_reduce(moved)
        values.copy_(moved)

    def wait(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()


ALONE = Group()
"""One process."""


@contextmanager
def joined(environment: Mapping[str, str] | None = None, device: str = "auto") -> Iterator[Group]:
    """Join the processes that ``torchrun`` started; without it, one process learns alone."""
    given = os.environ if environment is None else environment
    size = int(given.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    group = Group(int(given["RANK"]), size, int(given.get("LOCAL_RANK", "0")))
    if _on_gpus(device):
        if group.local >= torch.cuda.device_count():
            raise Permanent("more processes are to learn together than there are GPUs")
        torch.cuda.set_device(group.local)
    dist.init_process_group("nccl" if _on_gpus(device) else "gloo")
    try:
        yield group
    finally:
        dist.destroy_process_group()


def known_in(batch: Batch) -> int:
    """Return how many targets of presence are known in a batch."""
    return int((~torch.isnan(batch["presence"])).sum())


def _on_gpus(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()


def _transport() -> torch.device:
    """Return where values must lie to be sent: NCCL sends from GPUs alone."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


class _SharedBatchNorm(_BatchNorm):
    """Batch normalisation with mean and variance over all processes, on any device.

    ``nn.SyncBatchNorm`` does this on GPUs only.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError("batch normalisation needs a batch of channels")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the normalised input (batch, channels, ...)."""
        if not self.training:
            return super().forward(input)
        given = input
        input = input.float()  # half precision cannot count the values of a large picture
        axes = [0, *range(2, input.dim())]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        count = input.new_full((1,), input.numel() / input.shape[1])
        sums = _summed(torch.cat([input.sum(axes), count]))
        size, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = input - mean.view(shape)
        variance = _summed((centred * centred).sum(axes)) / size
        self._remember(mean.detach(), variance.detach() * size / (size - 1))
        normal = centred / torch.sqrt(variance.view(shape) + self.eps)
        if self.weight is not None:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(given.dtype)

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """Sum over the processes; the gradient of a sum is the sum of the gradients."""

    @staticmethod
    def forward(ctx: object, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _summed(values: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return found


def _with_shared_norms(network: nn.Module) -> nn.Module:
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            shared = _SharedBatchNorm(
                child.num_features,
                child.eps,
                child.momentum,
                child.affine,
                child.track_running_stats,
            )
            shared.load_state_dict(child.state_dict())
            setattr(network, name, shared)
        else:
            _with_shared_norms(child)
    return network

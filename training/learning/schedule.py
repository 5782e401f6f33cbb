"""How the learning rate goes: up in a line, then down as a half cosine."""

from __future__ import annotations

import math

import torch


def rate(
    optimizer: torch.optim.Optimizer, warm_up: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a schedule over so many steps (Loshchilov and Hutter, SGDR, ICLR 2017).

    Args:
        optimizer: its learning rate is the highest.
        warm_up: share of the steps in which the rate rises.
        steps: of the whole training.
    """
    rising = warm_up * steps

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        done = min((step - rising) / max(steps - rising, 1.0), 1.0)
        return 0.5 * (1.0 + math.cos(math.pi * done))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)

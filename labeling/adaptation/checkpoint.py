"""Where a training stands, on disk: after a crash it goes on from there.

One file of safetensors, replaced as a whole: matrices, the optimizer's averages, and the position.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from dicom_node.durable import write_durably
from labeling.errors import Permanent

_PARTS = ("value", "exp_avg", "exp_avg_sq")


class UnusableCheckpoint(Permanent):
    """A checkpoint cannot be read, or belongs to another training."""


@dataclass
class Position:
    """How far a training is.

    Args:
        step: steps done.
        report: number of the next generated report.
        seconds: spent learning.
        digest: SHA-256 chained over the texts that were learned from.
        losses: mean loss of each step.
        judged: by step, figures on phrasings that were kept apart.
    """

    step: int = 0
    report: int = 0
    seconds: float = 0.0
    digest: str = ""
    losses: list[float] = field(default_factory=list)
    judged: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    path: Path,
    job: str,
    position: Position,
    matrices: Mapping[str, nn.Parameter],
    optimizer: torch.optim.AdamW,
) -> None:
    """Write a checkpoint; ``job`` is the digest of all that the training was asked to do."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in matrices.items():
        state = optimizer.state.get(parameter, {})
        empty = torch.zeros_like(parameter)
        values = (parameter.detach(), *(state.get(part, empty) for part in _PARTS[1:]))
        for part, value in zip(_PARTS, values, strict=True):
            tensors[f"{part}/{name}"] = value.cpu().contiguous()
    told = {"job": job, "position": json.dumps(asdict(position))}
    write_durably(path, save(tensors, metadata=told))


def load_checkpoint(
    path: Path,
    job: str,
    matrices: Mapping[str, nn.Parameter],
    optimizer: torch.optim.AdamW,
) -> Position:
    """Set matrices and optimizer as a checkpoint has them; a new position where there is none.

    Raises:
        UnusableCheckpoint: it is damaged, or of a training with other options.
    """
    if not path.exists():
        return Position()
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            if told.get("job") != job:
                raise UnusableCheckpoint(
                    f"{path}: begun with other options; remove it, or name another folder"
                )
            position = Position(**json.loads(told["position"]))
            for name, parameter in matrices.items():
                value, *averages = (file.get_tensor(f"{part}/{name}") for part in _PARTS)
                with torch.no_grad():
                    parameter.copy_(value)
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(position.step)),
                    **{
                        part: each.to(parameter.device)
                        for part, each in zip(_PARTS[1:], averages, strict=True)
                    },
                }
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UnusableCheckpoint(f"{path}: cannot be read") from error
    return position

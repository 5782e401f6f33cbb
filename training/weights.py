"""Weights on disk: a safetensors file that says what it is, named and checked by its SHA-256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from training.domain.domain import Domain
from training.domain.stored import packed, unpacked
from training.errors import Permanent
from training.tensor_file import metadata_of, read_tensor_file, write_tensor_file
from training.trainer import TrainingResult

_FORMAT = "radloop-classifier-1"


@dataclass(frozen=True)
class Weights:
    """A trained classifier as read from its file; ``provenance`` is what the writer gave.

    ``domain`` is what its inputs were like; None in files of earlier versions, which predict on
    whatever can be read.
    """

    family: str
    observations: tuple[str, ...]
    offsets: tuple[float, ...]
    temperature: float
    thresholds: dict[str, float]
    provenance: dict[str, Any]
    state: dict[str, torch.Tensor]
    domain: Domain | None = None


def save_weights(path: Path, result: TrainingResult, provenance: Mapping[str, Any]) -> str:
    """Write the weights with their provenance, durably, and return the file's SHA-256.

    Args:
        path: the file to write; it appears whole or not at all.
        result: what training returned.
        provenance: JSON values: cohort digest, code version, labeler, settings and the like; no
            value may name a patient.

    Raises:
        Permanent: the provenance is not JSON.
        Transient: the disk refused.
    """
    kept, arrays = packed(result.domain)
    about = {
        **kept,
        "family": result.family,
        "observations": list(result.observations),
        "offsets": list(result.offsets),
        "temperature": result.temperature,
        "thresholds": result.thresholds,
        "seed": result.seed,
        "best_epoch": result.best_epoch,
        "provenance": dict(provenance),
    }
    return write_tensor_file(
        path, {**result.state, **arrays}, about, "classifier", _FORMAT, "weights"
    )


def load_weights(path: Path, expected_digest: str) -> Weights:
    """Read weights whose SHA-256 is the expected one.

    Raises:
        Permanent: the digest differs, or the file is no classifier of this program.
        Transient: the file could not be read.
    """
    content = read_tensor_file(path, expected_digest, "weights")
    try:
        about = json.loads(metadata_of(content)["classifier"])
        domain, state = unpacked(about, load_tensors(content))
        return Weights(
            family=str(about["family"]),
            observations=tuple(about["observations"]),
            offsets=tuple(float(o) for o in about["offsets"]),
            temperature=float(about["temperature"]),
            thresholds={str(k): float(v) for k, v in about["thresholds"].items()},
            provenance=about["provenance"],
            state=dict(state),
            domain=domain,
        )
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise Permanent("the weights are no classifier of this program") from error

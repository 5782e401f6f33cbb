"""Networks on disk: a safetensors file that says what it is, named and checked by its SHA-256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from training.architectures.protocol import Heads
from training.domain.domain import Domain
from training.domain.stored import packed, unpacked
from training.errors import Permanent
from training.learning.loop import Learned
from training.learning.state import State
from training.tensor_file import metadata_of, read_tensor_file, write_tensor_file

FORMAT = "radloop-network-1"


@dataclass(frozen=True)
class Network:
    """A trained network as read from its file.

    Args:
        architecture: name of the entry point.
        input_shape: of one input, channels first.
        preparation: form of the input (``training.learning.preparing.form_of``).
        heads: what it tells.
        offsets, temperature: how logits are read (``training.learning.loop.Learned``).
        thresholds: by observation; None where validation gave none.
        provenance: what the writer gave.
        state: weights and buffers.
        domain: what its inputs were like; None in files of earlier versions, which predict on
            whatever can be read.
    """

    architecture: str
    input_shape: tuple[int, ...]
    preparation: str
    heads: Heads
    offsets: tuple[float, ...]
    temperature: float
    thresholds: dict[str, float | None]
    provenance: dict[str, Any]
    state: State
    domain: Domain | None = None


def save_network(
    path: Path,
    learned: Learned,
    *,
    input_shape: tuple[int, ...],
    preparation: str,
    thresholds: Mapping[str, float | None],
    provenance: Mapping[str, Any],
    domain: Domain | None = None,
) -> str:
    """Write a network, durably, and return the file's SHA-256.

    Args:
        path: the file to write; it appears whole or not at all.
        learned: what training returned.
        input_shape, preparation, thresholds: as in ``Network``.
        provenance: JSON values: cohort digest, code version, and the like; none may name a
            patient.
        domain: what the inputs were like, if it was learned.

    Raises:
        Permanent: the provenance is not JSON.
        Transient: the disk refused.
    """
    kept, arrays = packed(domain)
    about = {
        **kept,
        "architecture": learned.architecture,
        "input_shape": list(input_shape),
        "preparation": preparation,
        "heads": asdict(learned.heads),
        "offsets": list(learned.offsets),
        "temperature": learned.temperature,
        "thresholds": dict(thresholds),
        "seed": learned.seed,
        "best_epoch": learned.best_epoch,
        "provenance": dict(provenance),
    }
    return write_tensor_file(path, {**learned.state, **arrays}, about, "network", FORMAT, "network")


def load_network(path: Path, expected_digest: str) -> Network:
    """Read a network whose file has the expected SHA-256.

    Raises:
        Permanent: the digest differs, or the file is no network of this program.
        Transient: the file could not be read.
    """
    content = read_tensor_file(path, expected_digest, "network")
    try:
        metadata = metadata_of(content)
        if metadata["format"] != FORMAT:
            raise Permanent("the file is a network of another form")
        about = json.loads(metadata["network"])
        domain, state = unpacked(about, load_tensors(content))
        return Network(
            architecture=str(about["architecture"]),
            input_shape=tuple(int(each) for each in about["input_shape"]),
            preparation=str(about["preparation"]),
            heads=_heads(about["heads"]),
            offsets=tuple(float(each) for each in about["offsets"]),
            temperature=float(about["temperature"]),
            thresholds={
                str(name): None if value is None else float(value)
                for name, value in about["thresholds"].items()
            },
            provenance=about["provenance"],
            state=dict(state),
            domain=domain,
        )
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise Permanent("the file is no network of this program") from error


def _heads(told: Mapping[str, Any]) -> Heads:
    return Heads(
        observations=tuple(told["observations"]),
        locations={name: tuple(each) for name, each in told["locations"].items()},
        severities={name: int(each) for name, each in told["severities"].items()},
        weights={name: float(each) for name, each in told["weights"].items()},
        positive_weights={name: float(each) for name, each in told["positive_weights"].items()},
    )

"""Weights to begin with: a local safetensors file, checked by its digest; nothing is downloaded."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from training.errors import Permanent

_LAST = "fc."
_FIRST = "conv1.weight"


def file_digest(path: Path) -> str:
    """Return SHA-256 of a file.

    Raises:
        Permanent: it cannot be read.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def take_weights(network: nn.Module, path: Path, digest: str) -> None:
    """Set a residual network's weights but those of its last layer, which begins anew.

    A first convolution of several channels is summed to one: grey is the same in all of them.

    Raises:
        Permanent: the file cannot be read, has another digest, or does not fit the network.
    """
    content = _content(path)
    if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), digest):
        raise Permanent("the weights to begin with changed while they were used")
    try:
        given = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise Permanent("the weights to begin with are no safetensors file") from error
    wanted = network.state_dict()
    state = {name: value for name, value in given.items() if not name.startswith(_LAST)}
    if _FIRST in state and state[_FIRST].shape[1] != wanted[_FIRST].shape[1]:
        state[_FIRST] = state[_FIRST].sum(dim=1, keepdim=True)
    missing = [n for n in wanted if n not in state and not n.startswith(_LAST)]
    foreign = [n for n, v in state.items() if n not in wanted or v.shape != wanted[n].shape]
    # Older files do not count batches.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or foreign:
        raise Permanent(
            f"the weights to begin with do not fit: {len(missing)} are missing and "
            f"{len(foreign)} are of another shape or name"
        )
    with torch.no_grad():
        network.load_state_dict(state, strict=False)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Permanent("the weights to begin with cannot be read") from error

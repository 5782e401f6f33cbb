"""Safetensors files that say what they hold, named and checked by their SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from dicom_node.durable import write_durably
from training.errors import Permanent, Transient


def write_tensor_file(
    path: Path,
    state: Mapping[str, torch.Tensor],
    about: Mapping[str, Any],
    key: str,
    form: str,
    what: str,
) -> str:
    """Write tensors with what they are, durably, and return the file's SHA-256.

    Args:
        path: the file to write; it appears whole or not at all.
        state: the tensors.
        about: JSON values, kept under ``key``.
        key: in the metadata.
        form: name of the form of ``about``.
        what: is written, in the words of errors.

    Raises:
        Permanent: ``about`` is not JSON.
        Transient: the disk refused.
    """
    try:
        metadata = {"format": form, key: json.dumps(about, sort_keys=True)}
    except (TypeError, ValueError) as error:
        raise Permanent(f"the provenance of the {what} cannot be written as JSON") from error
    content = save_tensors({name: each.contiguous() for name, each in state.items()}, metadata)
    try:
        write_durably(path, content)
    except OSError as error:
        raise Transient(f"the {what} could not be written") from error
    return hashlib.sha256(content).hexdigest()


def read_tensor_file(path: Path, expected_digest: str, what: str) -> bytes:
    """Return the content of a file of the expected SHA-256.

    Raises:
        Permanent: the digest differs.
        Transient: the file could not be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Transient(f"the {what} could not be read") from error
    if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), expected_digest.lower()):
        raise Permanent(f"the digest of the {what} is not the expected one")
    return content


def metadata_of(content: bytes) -> Mapping[str, str]:
    """Return the metadata of a safetensors file; ValueError or KeyError where it has none."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    found: Mapping[str, str] = header["__metadata__"]
    return found

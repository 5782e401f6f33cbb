"""An adapter on disk: small matrices that change a language model, and what they were made for.

``NAME.safetensors`` holds for each adapted layer ``down`` [rank, inputs] and ``up`` [outputs,
rank] in bfloat16; ``NAME.json`` says for which model, schema and questions, and how they were
made. Reading the description loads no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.durable import write_durably
from labeling.llm.interface import UnusableLanguageModel

if TYPE_CHECKING:
    import torch
    from torch import nn

DOWN, UP = "down", "up"
FORMAT = 1
MAXIMUM_BYTES = 256 * 1024 * 1024


class UnusableAdapter(UnusableLanguageModel):
    """An adapter is missing, damaged, or made for another model or other questions."""


Questions = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By kind of words, language and observation: SHA-256 of all that is asked about it."""


@dataclass(frozen=True)
class Description:
    """What an adapter is.

    Args:
        name: how the settings call it.
        base, base_sha256: the model that it changes, and the digest of that model's files.
        schema, schema_digest: what it learned to read.
        questions: what it learned to answer; the words it is to be asked in come first.
        rank, scale: the product of a layer is ``scale * up @ down``.
        weights_sha256: of the file of matrices.
        data_digest: SHA-256 over the texts that it learned from.
        figures: measured on generated reports in phrasings that were kept apart.
        training: options, versions and the command.
        band: from which margin to which an answer means uncertain until a threshold is fitted, for
            the whole report (``whole``) and at a site (``sites``).
    """

    name: str
    base: str
    base_sha256: str
    schema: str
    schema_digest: str
    questions: Questions
    rank: int
    scale: float
    weights_sha256: str
    data_digest: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    band: Mapping[str, Sequence[float]] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """SHA-256 of what changes an answer: matrices, scale, band, and the model beneath."""
        told = f"{self.base_sha256} {self.weights_sha256} {self.scale!r}"
        if self.band:
            told += json.dumps(self.band, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True)
class Adapter:
    """A description and where the matrices are."""

    description: Description
    weights: Path


def read_adapter(described: Path) -> Adapter:
    """Return the adapter that a ``NAME.json`` describes; its matrices are checked when they load.

    Raises:
        UnusableAdapter: it is missing or no description of this format.
    """
    try:
        content = json.loads(described.read_text("utf-8"))
        if content["format"] != FORMAT:
            raise UnusableAdapter(f"adapter {described.stem}: format {content['format']!r}")
        description = Description(**content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableAdapter(f"adapter {described.stem}: cannot be read") from error
    return Adapter(description, described.with_suffix(".safetensors"))


def write_adapter(
    folder: Path, description: Description, values: Mapping[str, torch.Tensor]
) -> Adapter:
    """Write an adapter's two files, the matrices first; replaces one of the same name.

    Args:
        folder: exists.
        description: its ``weights_sha256`` is filled in here.
        values: by layer and ``down`` or ``up``; rounded to bfloat16.
    """
    import torch
    from safetensors.torch import save

    rounded = {name: each.to(torch.bfloat16).cpu().contiguous() for name, each in values.items()}
    content = save(rounded)
    told = asdict(description) | {"weights_sha256": hashlib.sha256(content).hexdigest()}
    weights, described = (
        folder / f"{description.name}{suffix}" for suffix in (".safetensors", ".json")
    )
    write_durably(weights, content)
    write_durably(described, (json.dumps(told, indent=1) + "\n").encode())
    return Adapter(Description(**told), weights)


def adaptable(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of a model's blocks by name: all but the output layer.

    Raises:
        UnusableLanguageModel: it has none of the usual kind.
    """
    import torch

    head = model.get_output_embeddings()  # type: ignore[operator]
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    }
    if not layers:
        raise UnusableLanguageModel("the model has no linear layers that could be adapted")
    return layers


def put_on(model: nn.Module, adapter: Adapter) -> None:
    """Add the products of an adapter to the weights of a loaded model.

    Raises:
        UnusableAdapter: the matrices are missing, were changed, or do not fit the model.
    """
    import torch

    values, scale = matrices(adapter), adapter.description.scale
    name = adapter.description.name
    try:
        layers = adaptable(model)
        wanted = {f"{place}.{part}" for place in layers for part in (DOWN, UP)}
        if wanted != values.keys():
            raise UnusableAdapter(f"adapter {name}: other layers than the model's")
        with torch.no_grad():
            for place, layer in layers.items():
                down, up = (values[f"{place}.{part}"].float() for part in (DOWN, UP))
                changed = torch.addmm(layer.weight.float().cpu(), up, down, alpha=scale)
                layer.weight.copy_(changed)
    except RuntimeError as error:
        raise UnusableAdapter(f"adapter {name}: other sizes than the model's") from error


def matrices(adapter: Adapter) -> dict[str, torch.Tensor]:
    """Return the matrices of an adapter in bfloat16, by layer and ``down`` or ``up``.

    Raises:
        UnusableAdapter: they are missing or were changed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    name = adapter.description.name
    try:
        if adapter.weights.stat().st_size > MAXIMUM_BYTES:
            raise UnusableAdapter(f"adapter {name}: larger than any adapter")
        content = adapter.weights.read_bytes()
        if hashlib.sha256(content).hexdigest() != adapter.description.weights_sha256:
            raise UnusableAdapter(f"adapter {name}: its matrices were changed")
        values: dict[str, torch.Tensor] = load(content)
    except (OSError, SafetensorError) as error:
        raise UnusableAdapter(f"adapter {name}: its matrices cannot be read") from error
    return values

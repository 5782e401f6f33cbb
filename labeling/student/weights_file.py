"""A trained student on disk: what it reads and how it came about (JSON), and safetensors.

The encoder is not part of it: the file names the encoder and its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.errors import Permanent
from labeling.language import ENGLISH

if TYPE_CHECKING:
    import torch

CONFIGURATION = "config.json"
WEIGHTS = "student.safetensors"
_FORMAT = 1
_MAXIMUM_BYTES = 256 * 1024**2


class InvalidStudent(Permanent):
    """A student's files cannot be used."""


@dataclass(frozen=True)
class StudentConfig:
    """All that a student's weights do not say.

    Args:
        schema: name of the schema it was trained for.
        observations, sites: ids, in the order of its weights.
        encoder, encoder_sha256: the encoder whose vectors it reads, by name in the store.
        layers: of the encoder whose outputs it reads, side by side.
        sizes: of the network (``network.Sizes``).
        languages: codes of the language packs by which the reports were read that it learned from.
        provenance: the command, label sources with digests, seed, and validation figures.
    """

    schema: str
    observations: tuple[str, ...]
    sites: tuple[str, ...]
    encoder: str
    encoder_sha256: str
    layers: tuple[int, ...]
    sizes: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    languages: tuple[str, ...] = (ENGLISH,)

    def to_json(self) -> str:
        """Return the configuration as JSON that people can read."""
        content = {"model_type": "radloop-student", "format": _FORMAT, **asdict(self)}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, content: bytes, source: str) -> StudentConfig:
        """Return the configuration that ``to_json`` wrote.

        Raises:
            InvalidStudent: the bytes are something else; ``source`` names them.
        """
        try:
            row = json.loads(content)
            if (row.pop("model_type"), row.pop("format")) != ("radloop-student", _FORMAT):
                raise ValueError
            for name in ("observations", "sites", "layers"):
                row[name] = tuple(row[name])
            row["languages"] = tuple(row.get("languages", (ENGLISH,)))
            return cls(**row)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise InvalidStudent(f"{source}: not the configuration of a student") from error


@dataclass(frozen=True)
class StudentFiles:
    """The two files of a student, read whole; ``digest`` is SHA-256 over both."""

    config: StudentConfig
    weights: bytes
    digest: str


def shipped_student(schema: str) -> StudentFiles:
    """Return the student that comes with a schema.

    Raises:
        InvalidStudent: none does.
    """
    folder = resources.files("labeling") / "student" / "weights"
    config, weights = folder / f"{schema}.json", folder / f"{schema}.safetensors"
    if not (config.is_file() and weights.is_file()):
        raise InvalidStudent(
            f"no student comes with the schema {schema!r}; train one (radloop labeler distill), "
            "add it (radloop llm add) and name it in [labeling.student]"
        )
    return _read(config, weights, schema)


def read_student(folder: Path) -> StudentFiles:
    """Return the student in a folder, as ``write_student`` leaves it.

    Raises:
        InvalidStudent: there is none, or it is damaged.
    """
    return _read(folder / CONFIGURATION, folder / WEIGHTS, folder.name)


def _read(config: Traversable, weights: Traversable, source: str) -> StudentFiles:
    try:
        described, content = config.read_bytes(), weights.read_bytes()
    except OSError as error:
        raise InvalidStudent(f"{source}: cannot be read ({error.strerror})") from error
    if len(content) > _MAXIMUM_BYTES:
        raise InvalidStudent(f"{source}: larger than {_MAXIMUM_BYTES} bytes")
    digest = hashlib.sha256(hashlib.sha256(described).digest() + content).hexdigest()
    return StudentFiles(StudentConfig.from_json(described, source), content, digest)


def write_student(
    folder: Path, config: StudentConfig, weights: Mapping[str, torch.Tensor]
) -> StudentFiles:
    """Write a student's two files into a folder, the weights in bfloat16; return what was written.

    The folder can enter the model store as it is (``radloop llm add FOLDER``).
    """
    import torch
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    halved = {name: each.detach().to(torch.bfloat16).contiguous() for name, each in weights.items()}
    (folder / WEIGHTS).write_bytes(save(halved))
    (folder / CONFIGURATION).write_text(config.to_json(), encoding="utf-8")
    return read_student(folder)


def tensors_of(files: StudentFiles) -> dict[str, torch.Tensor]:
    """Return the weights in float32, by name.

    Raises:
        InvalidStudent: they are not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return {name: each.float() for name, each in load(files.weights).items()}
    except (SafetensorError, ValueError, KeyError, struct.error) as error:
        raise InvalidStudent("the student's weights are not safetensors") from error

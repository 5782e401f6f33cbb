"""Files below a folder, or those that a DICOMDIR lists (PS3.10 section 8, PS3.3 Annex F)."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import Permanent
from dicom_node.imports.candidates import PIECE_BYTES, Candidate, mark_of

_LARGEST_DIRECTORY = 256 * 2**20
# Referenced File ID (0004,1500), which is CS: a DICOMDIR is in Explicit VR Little Endian always
# (PS3.10 8.6). Walking over tags alone, nothing that is nested or too long can do any harm.
_FILE_ID = re.compile(rb"\x04\x00\x00\x15CS(..)", re.DOTALL)
_COMPONENT = re.compile(r"[A-Za-z0-9_. -]{1,64}")
_MOST_COMPONENTS = 16


@dataclass(frozen=True)
class FileCandidate:
    """A file below the root of an import."""

    root: Path
    path: Path

    @property
    def name(self) -> str:
        """Its path below the root."""
        relative = self.path.relative_to(self.root) if self.path != self.root else self.path.name
        return ascii(str(relative))[1:-1]

    @property
    def mark(self) -> str:
        """Over its path, size and time of change."""
        status = self.path.stat()
        return mark_of(str(self.path), str(status.st_size), str(status.st_mtime_ns))

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes; a pipe or device that took its place is not opened."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(self.path, flags), "rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece


class FolderSource:
    """Every file of a folder, or one file; links and what is no file are passed over.

    Args:
        path: of the folder or file.

    Raises:
        Permanent: there is nothing.
    """

    kind = "folder"
    missing: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise Permanent("there is no such file or folder")
        self._path = path

    def candidates(self) -> Iterator[Candidate]:
        """Yield the files in the order of their names."""
        if not self._path.is_dir():
            yield FileCandidate(self._path, self._path)
            return
        for folder, folders, files in os.walk(self._path, onerror=_raise):
            folders.sort()
            for name in sorted(files):
                path = Path(folder) / name
                if path.is_file() and not path.is_symlink():
                    yield FileCandidate(self._path, path)


class DirectorySource:
    """The files that a DICOMDIR lists, below the folder in which it lies.

    Args:
        path: of the DICOMDIR.

    Raises:
        Permanent: it is too long to be one.
        OSError: it cannot be read.
    """

    kind = "DICOMDIR"

    def __init__(self, path: Path) -> None:
        if path.stat().st_size > _LARGEST_DIRECTORY:
            raise Permanent("the DICOMDIR is longer than any")
        self._path = path
        self._missing: list[str] = []

    @property
    def missing(self) -> list[str]:
        """Names of files that are listed and not there, or would lie outside the folder."""
        return self._missing

    def candidates(self) -> Iterator[Candidate]:
        """Yield the files in the order in which they are listed, each once."""
        self._missing = []
        root = self._path.parent
        for components in dict.fromkeys(_file_ids(self._path)):
            path = _below(root, components)
            if path is None:
                self._missing.append(ascii("/".join(components))[1:-1])
            else:
                yield FileCandidate(root, path)


def source_at(path: Path) -> FolderSource | DirectorySource:
    """Return the source at a path: a file called DICOMDIR stands for what it lists.

    Raises:
        Permanent: there is nothing.
        OSError: it cannot be read.
    """
    if path.is_file() and path.name.upper() == "DICOMDIR":
        return DirectorySource(path)
    return FolderSource(path)


def _file_ids(path: Path) -> Iterator[tuple[str, ...]]:
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            return  # it is empty
        with data:
            for found in _FILE_ID.finditer(data):
                end = found.end() + int.from_bytes(found[1], "little")
                value = data[found.end() : end].decode("latin-1").rstrip("\0 ")
                yield tuple(value.split("\\"))


def _below(root: Path, components: tuple[str, ...]) -> Path | None:
    """Return the file that components name, whatever the case of names on disk; None: nowhere.

    Nothing of a listed name leads out of the folder: no component is "..", none is a link.
    """
    if not 0 < len(components) <= _MOST_COMPONENTS:
        return None
    path = root
    for component in components:
        if not _COMPONENT.fullmatch(component) or not component.strip(". "):
            return None
        names = (component, component.lower(), component.upper())
        steps = (path / name for name in names)
        step = next((each for each in steps if each.exists() and not each.is_symlink()), None)
        if step is None:
            return None
        path = step
    return path if path.is_file() else None


def _raise(error: OSError) -> None:
    raise error

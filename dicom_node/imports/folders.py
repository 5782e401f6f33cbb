"""Files below a folder, or those that a DICOMDIR lists (PS3.10 section 8, PS3.3 Annex F)."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dicom_node.errors import Permanent
from dicom_node.imports.candidates import PIECE_BYTES, Candidate, mark_of

_LARGEST_DIRECTORY = 64 * 2**20
_MOST_LISTED = 500_000
_MOST_TOLD = 1000
# Referenced File ID (0004,1500), which is CS of one to eight values: a DICOMDIR is in Explicit VR
# Little Endian always (PS3.10 8.6). Nothing is nested here, and no value is longer than it may be.
_FILE_ID = re.compile(rb"\x04\x00\x00\x15CS([\x00-\xff])\x00", re.DOTALL)
_END_BYTES = 4096
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
        """Over its path, size, times of change and place on the disk.

        A disc that is laid in in place of another may show another file under the same name, of the
        same size and time.
        """
        status = self.path.stat()
        told = (
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            status.st_dev,
        )
        return mark_of(str(self.path), *map(str, told), self._ends())

    def _ends(self) -> str:
        with self._open() as file:
            first = file.read(_END_BYTES)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
            return hashlib.sha256(first + file.read(_END_BYTES)).hexdigest()

    def _open(self) -> BinaryIO:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.fdopen(os.open(self.path, flags), "rb")

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes; a pipe or device that took its place is not opened."""
        with self._open() as file:
            while piece := file.read(PIECE_BYTES):
                yield piece


class _Files:
    """What files of one place have in common: where it is, and what of it cannot be had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._missing: list[str] = []

    @property
    def missing(self) -> list[str]:
        """Names of what is listed and not there, lies outside, or cannot be read."""
        return self._missing

    def _miss(self, name: str) -> None:
        if len(self._missing) < _MOST_TOLD:
            self._missing.append(ascii(name)[1:-1])


class FolderSource(_Files):
    """Every file of a folder, or one file; links and what is no file are passed over.

    Args:
        path: of the folder or file.

    Raises:
        Permanent: there is nothing.
    """

    kind = "folder"

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise Permanent("there is no such file or folder")
        super().__init__(path)

    def candidates(self) -> Iterator[Candidate]:
        """Yield the files in the order of their names; what cannot be read is passed over."""
        self._missing = []
        if not self._path.is_dir():
            yield FileCandidate(self._path, self._path)
            return
        for folder, folders, files in os.walk(self._path, onerror=self._note):
            folders.sort()
            for name in sorted(files):
                path = Path(folder) / name
                try:
                    is_file = stat.S_ISREG(path.lstat().st_mode)
                except OSError as error:
                    self._note(error)
                    continue
                if is_file:
                    yield FileCandidate(self._path, path)

    def _note(self, error: OSError) -> None:
        self._miss(os.path.relpath(error.filename or self._path, self._path))


class DirectorySource(_Files):
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
        super().__init__(path)

    def candidates(self) -> Iterator[Candidate]:
        """Yield the files in the order in which they are listed, each once."""
        self._missing = []
        root = self._path.parent
        for components in dict.fromkeys(_file_ids(self._path)):
            path = _below(root, components)
            if path is not None:
                yield FileCandidate(root, path)
            else:
                self._miss("/".join(components))


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
    """Yield what is listed, as components of paths.

    Raises:
        Permanent: more is listed than any medium holds.
    """
    data, position, listed = path.read_bytes(), 0, 0
    while found := _FILE_ID.search(data, position):
        position = found.end() + found[1][0]
        value = data[found.end() : position].decode("latin-1").rstrip("\0 ")
        listed += 1
        if listed > _MOST_LISTED:
            raise Permanent("the DICOMDIR lists more files than any medium holds")
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

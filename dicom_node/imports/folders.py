"""Files below a folder, or those that a DICOMDIR lists (PS3.10 section 8, PS3.3 Annex F)."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path
from typing import BinaryIO

from dicom_node.errors import Permanent
from dicom_node.imports.candidates import PIECE_BYTES, Absent, Candidate, Gone, mark_of

_LARGEST_DIRECTORY = 64 * 2**20
_MOST_LISTED = 500_000
# Referenced File ID (0004,1500), which is CS of one to eight values: a DICOMDIR is in Explicit VR
# Little Endian always (PS3.10 8.6). Nothing is nested here, and no value is longer than it may be.
_FILE_ID = re.compile(rb"\x04\x00\x00\x15CS([\x00-\xff])\x00", re.DOTALL)
# Directory Record Sequence (0004,1220), with its length.
_RECORDS = re.compile(rb"\x04\x00\x20\x12SQ\x00\x00([\x00-\xff]{4})", re.DOTALL)
_UNDEFINED = 0xFFFFFFFF
_DELIMITER = b"\xfe\xff\xdd\xe0"  # of a sequence of undefined length (FFFE,E0DD)
_END_BYTES = 4096
_COMPONENT = re.compile(r"[A-Za-z0-9_. -]{1,64}")
_MOST_COMPONENTS = 16
_VANISHED = "it was there, and is not any more"
_NO_FILE_ID = "it is listed by what is no name below the folder of the DICOMDIR"


@dataclass(frozen=True)
class FileCandidate:
    """A file below the root of an import."""

    root: Path
    path: Path

    @property
    def name(self) -> str:
        """Its path below the root."""
        return _shown(self.path, self.root)

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
        try:
            file = self._open()
        except FileNotFoundError:
            raise Gone(_VANISHED) from None
        with file:
            while piece := file.read(PIECE_BYTES):
                yield piece


class _Files:
    """What files of one place have in common."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def abort(self) -> None:
        """Do nothing: a disk answers, or the kernel gives up."""


class FolderSource(_Files):
    """Every file of a folder, or one file; links are told and not followed.

    So no loop of links is walked, and nothing outside of the folder is read. Pipes and devices are
    passed over.

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
        """Yield the files in the order of their names, and folders that cannot be read."""
        if not self._path.is_dir():
            yield FileCandidate(self._path, self._path)
            return
        failures: list[OSError] = []
        for folder, folders, files in os.walk(self._path, onerror=failures.append):
            folders.sort()
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            for name in sorted([*files, *links]):
                candidate = self._candidate(Path(folder) / name)
                if candidate is not None:
                    yield candidate
            yield from self._unread(failures)
        yield from self._unread(failures)

    def _candidate(self, path: Path) -> Candidate | None:
        try:
            mode = path.lstat().st_mode
        except OSError as error:
            return Absent(_shown(path, self._path), _why(error))
        if stat.S_ISLNK(mode):
            return Absent(_shown(path, self._path), "it is a link, and links are not followed")
        return FileCandidate(self._path, path) if stat.S_ISREG(mode) else None

    def _unread(self, failures: list[OSError]) -> Iterator[Absent]:
        """Yield the folders that could not be listed, and forget them."""
        while failures:
            error = failures.pop(0)
            where = Path(os.fsdecode(error.filename or self._path))
            yield Absent(_shown(where, self._path), f"the folder: {_why(error)}")


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
        """Yield the files in the order in which they are listed, each once.

        A directory that is not whole yields what it lists, and that it lacks the rest.
        """
        root, data = self._path.parent, self._path.read_bytes()
        for components in dict.fromkeys(_file_ids(data)):
            try:
                yield FileCandidate(root, _below(root, components))
            except Gone as error:
                yield Absent(ascii("/".join(components))[1:-1], str(error))
        if why := _fault_of(data):
            yield Absent(self._path.name, why)


def source_at(path: Path) -> FolderSource | DirectorySource:
    """Return the source at a path: a file called DICOMDIR stands for what it lists.

    Raises:
        Permanent: there is nothing.
        OSError: it cannot be read.
    """
    if path.is_file() and path.name.upper() == "DICOMDIR":
        return DirectorySource(path)
    return FolderSource(path)


def _file_ids(data: bytes) -> Iterator[tuple[str, ...]]:
    """Yield what a DICOMDIR lists, as components of paths.

    Raises:
        Permanent: more is listed than any medium holds.
    """
    position, listed = 0, 0
    while found := _FILE_ID.search(data, position):
        position = found.end() + found[1][0]
        value = data[found.end() : position].decode("latin-1").rstrip("\0 ")
        listed += 1
        if listed > _MOST_LISTED:
            raise Permanent("the DICOMDIR lists more files than any medium holds")
        yield tuple(value.split("\\"))


def _fault_of(data: bytes) -> str:
    """Return why a DICOMDIR does not list all that it should; empty where it is whole."""
    found = _RECORDS.search(data)
    if found is None:
        return "it holds no list of files"
    length = int.from_bytes(found[1], "little")
    if length == _UNDEFINED:
        is_whole = data.rstrip(b"\0").endswith(_DELIMITER)
    else:
        is_whole = found.end() + length <= len(data)
    return "" if is_whole else "it is cut off: what else it would list is not known"


def _below(root: Path, components: tuple[str, ...]) -> Path:
    """Return the file that components name; where no name is the same, one in another case is.

    ISO 9660 and the programs that read it write names in either case, and with ";1" or a dot
    behind them (ISO 9660 7.5). Nothing of a listed name leads out of the folder: no component is
    "..", none is a link.

    Raises:
        Gone: there is none, or the name is no File ID.
    """
    if not 0 < len(components) <= _MOST_COMPONENTS:
        raise Gone(_NO_FILE_ID)
    path = root
    for component in components:
        if not _COMPONENT.fullmatch(component) or not component.strip(". "):
            raise Gone(_NO_FILE_ID)
        path = _step(path, component)
    if not path.is_file():
        raise Gone("it is listed, and is no file")
    return path


def _step(folder: Path, component: str) -> Path:
    if (exact := folder / component).exists() and not exact.is_symlink():
        return exact
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise Gone(f"the folder: {_why(error)}") from None
    alike = [name for name in names if _plain(name) == _plain(component)]
    if not alike:
        raise Gone("it is listed, and not there")
    if len(alike) > 1:
        raise Gone("it is listed, and several files have its name in other cases")
    if (folder / alike[0]).is_symlink():
        raise Gone("it is a link, and links are not followed")
    return folder / alike[0]


def _plain(name: str) -> str:
    return name.upper().partition(";")[0].rstrip(".")


def _shown(path: Path, root: Path) -> str:
    relative = path.relative_to(root) if path != root else path.name
    return ascii(str(relative))[1:-1]


def _why(error: OSError) -> str:
    return _VANISHED if error.errno == ENOENT else f"it cannot be read ({error.strerror})"

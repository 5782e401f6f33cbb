"""From system calls to what they mean: written, synced, named, removed, and sent to a peer.

Only what lies under one folder is followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.acceptance.strace_log import Call, Descriptor

_WRITES = frozenset(("write", "pwrite64", "writev", "pwritev", "pwritev2"))
_SENDS = frozenset(("write", "writev", "sendto", "sendmsg"))
_SYNCS = frozenset(("fsync", "fdatasync"))
_RENAMES = frozenset(("rename", "renameat", "renameat2"))
_LINKS = frozenset(("link", "linkat"))
_REMOVALS = frozenset(("unlink", "unlinkat", "rmdir"))
_OPENINGS = frozenset(("open", "openat", "creat"))
_FOLDERS = frozenset(("mkdir", "mkdirat"))
_UNKNOWN = frozenset(("sendfile", "copy_file_range", "truncate"))


@dataclass(frozen=True)
class Event:
    """Something that began and ended at positions of the log."""

    begin: int
    end: int


@dataclass(frozen=True)
class Created(Event):
    """A file was opened and made if it was not there."""

    path: str
    truncated: bool = False


@dataclass(frozen=True)
class FolderMade(Event):
    """A folder was made."""

    path: str


@dataclass(frozen=True)
class Written(Event):
    """Bytes were written to a file."""

    path: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncated(Event):
    """A file was cut or extended."""

    path: str
    size: int


@dataclass(frozen=True)
class Synced(Event):
    """A file or a folder was synced."""

    path: str


@dataclass(frozen=True)
class Renamed(Event):
    """A name became another one."""

    source: str
    path: str


@dataclass(frozen=True)
class Linked(Event):
    """A file got a further name."""

    source: str
    path: str


@dataclass(frozen=True)
class Removed(Event):
    """A name went away."""

    path: str


@dataclass(frozen=True)
class Sent(Event):
    """Bytes went to a peer; ports are those of a TCP connection."""

    local_port: int
    remote_port: int
    data: bytes


def events(calls: Iterable[Call], root: str) -> list[Event]:
    """Return what happened under ``root`` and on TCP connections, in the order of the calls' ends.

    Raises:
        ValueError: a call that this module does not understand touched a file under ``root``.
    """
    return list(_Reader(root).read(calls))


class _Reader:
    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        # Threads of a process share descriptors; the tracer does not say which belong together.
        self._positions: dict[tuple[int, str], int] = {}

    def read(self, calls: Iterable[Call]) -> Iterator[Event]:
        for call in calls:
            descriptors = call.descriptors
            first = descriptors[0] if descriptors else Descriptor(-1, "")
            if first.target.startswith("TCP") and call.name in _SENDS:
                yield _sent(call, first.target)
            elif call.name in _OPENINGS:
                yield from self._opened(call, descriptors)
            elif call.name in _RENAMES | _LINKS | _REMOVALS | _FOLDERS:
                yield from self._names(call, descriptors)
            elif self._inside(first.target) and not first.deleted:
                yield from self._content(call, first)

    def _inside(self, path: str) -> bool:
        return path == self._root or path.startswith(self._root + "/")

    def _opened(self, call: Call, descriptors: list[Descriptor]) -> Iterator[Event]:
        # The result's own descriptor stands behind the "=", so the path is put together here.
        (path,) = _paths(call, descriptors)
        if not self._inside(path):
            return
        self._positions[call.result, path] = 0
        if "O_CREAT" in call.arguments or call.name == "creat":
            yield Created(call.begin, call.end, path, "O_TRUNC" in call.arguments)
        elif "O_TRUNC" in call.arguments:
            yield Truncated(call.begin, call.end, path, 0)

    def _names(self, call: Call, descriptors: list[Descriptor]) -> Iterator[Event]:
        paths = _paths(call, descriptors)
        if not any(self._inside(path) for path in paths):
            return
        if call.name in _RENAMES:
            yield Renamed(call.begin, call.end, *paths)
        elif call.name in _LINKS:
            yield Linked(call.begin, call.end, *paths)
        elif call.name in _REMOVALS:
            yield Removed(call.begin, call.end, *paths)
        else:
            yield FolderMade(call.begin, call.end, *paths)

    def _content(self, call: Call, descriptor: Descriptor) -> Iterator[Event]:
        path, key = descriptor.target, (descriptor.number, descriptor.target)
        if call.name in _SYNCS:
            yield Synced(call.begin, call.end, path)
        elif call.name == "lseek":
            self._positions[key] = call.result
        elif call.name == "ftruncate":
            yield Truncated(call.begin, call.end, path, call.numbers[0])
        elif call.name in _WRITES:
            offset = self._offset(call, key)
            yield Written(call.begin, call.end, path, offset, call.written)
        elif call.name in _UNKNOWN:
            raise ValueError(f"{call.name} on a followed file is not understood")

    def _offset(self, call: Call, key: tuple[int, str]) -> int:
        if call.name.startswith("p"):
            # pwrite64(fd, data, count, offset), pwritev(fd, vectors, count, offset[, flags])
            return call.numbers[-2 if call.name == "pwritev2" else -1]
        # A file that was renamed since it was opened is written to under its new name.
        offset = self._positions.get(key, 0)
        self._positions[key] = offset + call.result
        return offset


def _paths(call: Call, descriptors: list[Descriptor]) -> list[str]:
    """Join each quoted path to the folder that stands before it."""
    names = [each.decode("utf-8", "surrogateescape") for each in call.strings]
    folders = [each.target for each in descriptors] or [os.getcwd()] * len(names)
    if len(folders) < len(names):
        folders += [folders[-1]] * (len(names) - len(folders))
    return [os.path.normpath(os.path.join(*pair)) for pair in zip(folders, names, strict=False)]


def _sent(call: Call, target: str) -> Sent:
    local, _, remote = target.partition("[")[2].rstrip("]").partition("->")
    ports = [int(each.rpartition(":")[2] or 0) for each in (local, remote)]
    return Sent(call.begin, call.end, *ports, call.written)

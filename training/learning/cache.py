"""Prepared inputs on disk, found by what they were made of, mapped into memory.

An entry is one ``.npy`` file. Its name holds the key, a digest over the files of the series and
the form of the preparation, and the SHA-256 of its own content: one rename makes it, and a byte
that the disk changed is found when the entry is opened. It holds pixels of patients: whoever erases
one empties the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_node.durable import write_durably
from training.errors import Transient
from training.learning.example import Array

_NAME = re.compile(r"(?P<key>[0-9a-f]{64})\.(?P<digest>[0-9a-f]{64})\.npy")
_BLOCK = 2**20


@dataclass
class Figures:
    """What became of the inputs that were asked for.

    Args:
        found: entries that were there and whole.
        made: inputs that were prepared anew.
        damaged: entries that were there and not whole; they are among ``made``.
        evicted: older entries that gave way.
        held: inputs that did not fit beside those in use and stay in memory.
        held_bytes: their size.
    """

    found: int = 0
    made: int = 0
    damaged: int = 0
    evicted: int = 0
    held: int = 0
    held_bytes: int = 0


def key_of(file_digests: Iterable[str], form: str) -> str:
    """Return the key of an input: SHA-256 over its files' digests and the preparation's form.

    The order of the files does not matter: preparation orders slices by where they lie.
    """
    told = json.dumps({"files": sorted(file_digests), "form": form}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


class InputCache:
    """Prepared inputs in a folder, bounded in size.

    Args:
        folder: made where it is missing, mode 0700.
        most_bytes: that entries may take; those used longest ago give way. Entries that this object
            gave out never do: what does not fit beside them is kept in memory instead.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._most = folder, most_bytes
        self._used: set[str] = set()
        self.figures = Figures()

    def get(self, key: str, make: Callable[[], Array]) -> Array:
        """Return the input of a key, prepared by ``make`` where no whole entry is there.

        Returns:
            float32, read-only; mapped from the file where it was kept.

        Raises:
            Transient: the disk refused for another reason than want of room.
        """
        try:
            return self._entry(key, make)
        except OSError as error:
            raise Transient("the cache of prepared inputs could not be read or written") from error

    def _entry(self, key: str, make: Callable[[], Array]) -> Array:
        for path in sorted(self._folder.glob(f"{key}.*.npy")):
            found = self._opened(path)
            if found is not None:
                self.figures.found += 1
                return found
            self.figures.damaged += 1
            path.unlink(missing_ok=True)
        made = np.ascontiguousarray(make(), dtype=np.float32)
        self.figures.made += 1
        return self._kept(key, made)

    def _kept(self, key: str, made: Array) -> Array:
        content = _encoded(made)
        if not self._make_room(len(content)):
            self.figures.held += 1
            self.figures.held_bytes += made.nbytes
            made.flags.writeable = False
            return made
        path = self._folder / f"{key}.{hashlib.sha256(content).hexdigest()}.npy"
        write_durably(path, content)
        return self._mapped(path)

    def _opened(self, path: Path) -> Array | None:
        """Return an entry, None where it is not what its name says."""
        named = _NAME.fullmatch(path.name)
        if named is None or _digest(path) != named["digest"]:
            return None
        try:
            found = self._mapped(path)
        except ValueError:  # the digest is right and it is no array: no entry of ours
            return None
        os.utime(path)  # used now
        return found

    def _mapped(self, path: Path) -> Array:
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        self._used.add(path.name)
        return found

    def _make_room(self, size: int) -> bool:
        """Evict what was used longest ago until ``size`` bytes fit; tell whether they do."""
        entries = sorted(
            (each.stat().st_mtime_ns, each.name, each.stat().st_size)
            for each in self._folder.glob("*.npy")
        )
        taken = sum(length for _, _, length in entries)
        free = [each for each in entries if each[1] not in self._used]
        if taken - sum(length for _, _, length in free) + size > self._most:
            return False
        for _, name, length in free:
            if taken + size <= self._most:
                break
            (self._folder / name).unlink(missing_ok=True)
            self.figures.evicted += 1
            taken -= length
        return True


def empty(folder: Path) -> int:
    """Remove every entry of a cache; return how many there were."""
    removed = 0
    for path in folder.glob("*.npy"):
        path.unlink(missing_ok=True)
        removed += 1
    return removed


def _encoded(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

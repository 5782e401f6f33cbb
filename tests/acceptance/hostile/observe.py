"""What an attack does to its victim, seen from outside: memory, descriptors, processes, files."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024
_SAMPLE_SECONDS = 0.05
_HEAD_BYTES = 16 * 1024
_TOKEN = re.compile(rb"\[m:([0-9a-f]{24})\]")
# SQLite databases and their logs repeat what objects say; only files of objects count as kept.
_DATABASES = (b"SQLite format 3", b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_NOT_KEPT = frozenset((".part", ".log", ".json", ".toml", ".ini", ".sock"))


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for each in found:
        found += _children(each)
    return [each for each in found if alive(each)]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    except OSError:  # it ended meanwhile
        pass
    return found


def alive(pid: int) -> bool:
    """Tell whether a process exists and is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True)
class Usage:
    """What a process tree holds.

    Attributes:
        pss: proportional memory in bytes, so that shared pages count once.
        descriptors: open file descriptors.
        threads: threads.
        processes: processes.
    """

    pss: int
    descriptors: int
    threads: int
    processes: int


def usage(pid: int) -> Usage:
    """Measure a process tree now."""
    pids = tree(pid)
    return Usage(
        pss=sum(_kib(each, "smaps_rollup", "Pss") for each in pids) * 1024,
        descriptors=sum(_count(Path(f"/proc/{each}/fd")) for each in pids),
        threads=sum(_count(Path(f"/proc/{each}/task")) for each in pids),
        processes=len(pids),
    )


@dataclass
class Peak:
    """The most memory that was seen during a block, and by how much it grew.

    Attributes:
        pss: highest proportional memory of the tree, in bytes.
        growth: growth of the process that grew most, in bytes, by its own high-water mark.
        seen: whether the memory could be observed at all.
    """

    pss: int = 0
    growth: int = 0
    seen: bool = False
    _before: dict[int, int] = field(default_factory=dict)

    @property
    def grown(self) -> str:
        """The growth for a table."""
        return f"+{self.growth / MIB:.0f} MiB" if self.seen else "memory unseen"


@contextmanager
def watch_memory(pid: int | None) -> Iterator[Peak]:
    """Watch a process tree while the block runs; without a pid the result stays empty."""
    peak = Peak()
    if pid is None:
        yield peak
        return
    peak.seen = True
    for each in tree(pid):
        _reset_high_water(each)
        peak._before[each] = _kib(each, "status", "VmRSS")
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(pid, peak, done), daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        done.set()
        sampler.join()


def _sample(pid: int, peak: Peak, done: threading.Event) -> None:
    while True:
        last = done.is_set()
        pids = tree(pid)
        peak.pss = max(peak.pss, sum(_kib(each, "smaps_rollup", "Pss") for each in pids) * 1024)
        for each in pids:
            high = _kib(each, "status", "VmHWM")
            # A process that came later is measured from where it was first seen.
            peak.growth = max(peak.growth, (high - peak._before.setdefault(each, high)) * 1024)
        if last:
            return
        done.wait(_SAMPLE_SECONDS)


def _reset_high_water(pid: int) -> None:
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return


def _kib(pid: int, file: str, name: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def _count(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return 0


def listing(folder: Path) -> set[Path]:
    """Return every path under a folder."""
    return set(folder.rglob("*"))


def kept_tokens(folder: Path) -> dict[str, int]:
    """Return the tokens of test objects that are in files under a folder, and in how many."""
    found: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.suffix in _NOT_KEPT or not path.is_file():
            continue
        head = _head(path)
        if head.startswith(_DATABASES):
            continue
        for token in set(_TOKEN.findall(head)):
            found[token.decode()] = found.get(token.decode(), 0) + 1
    return found


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:  # it was moved meanwhile; its new name is seen in the next round
        return b""

"""Holds a data folder against what peers were told: present once, byte for byte, and in the index.

Knows the folder only as deploy/runbook.md describes it (spool, archive, quarantine, tmp), reads
files by its own few lines and rows by SQL, so that it shares no mistake with the node.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from tests.acceptance.modality import Ledger, digest_of

_FINAL = ("spool", "archive", "quarantine")


@dataclass
class Findings:
    """What an audit found wrong; each entry names a digest or a control id."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.torn)

    def __iadd__(self, other: Findings) -> Findings:
        self.lost += other.lost
        self.doubled += other.doubled
        self.torn += other.torn
        return self


def split_file(content: bytes) -> tuple[dict[int, bytes], bytes]:
    """Return the file meta elements by element number and the data set behind them (PS3.10 7.1).

    Raises:
        ValueError: the content is not a DICOM file.
    """
    if content[128:132] != b"DICM" or len(content) < 144:
        raise ValueError("no DICM prefix")
    length = struct.unpack_from("<L", content, 140)[0]
    position, end = 144, 144 + length
    if end > len(content):
        raise ValueError("the file ends inside its meta information")
    found = {}
    while position < end:
        _, element, vr, size = struct.unpack_from("<HH2sH", content, position)
        position += 8
        if vr in (b"OB", b"UN"):
            size = struct.unpack_from("<L", content, position)[0]
            position += 4
        found[element] = content[position : position + size]
        position += size
    return found, content[end:]


def file_digest(content: bytes) -> str:
    """Return the digest that a stored file must be named by.

    Raises:
        ValueError: the content is not a DICOM file.
    """
    meta, data = split_file(content)
    sop_class, instance, syntax = (
        meta.get(number, b"").rstrip(b"\0").decode("ascii") for number in (0x02, 0x03, 0x10)
    )
    return digest_of(syntax, sop_class, instance, data)


def is_whole(path: Path) -> bool:
    """Tell whether a file under a final name is what its name says, to the last byte, and parses.

    An object whose command named a UID that is none has no such UID in its file meta; its digest
    cannot be computed from the file, and only its form is held against the standard.
    """
    content = path.read_bytes()
    try:
        meta, _ = split_file(content)
        unnamed = not (meta.get(0x02) and meta.get(0x03))
        if not unnamed and file_digest(content) != path.stem:
            return False
        if path.parent.name != "quarantine":
            pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    except (ValueError, struct.error, EOFError, pydicom.errors.InvalidDicomError):
        return False
    return True


class Auditor:
    """Audits one data folder again and again; a file that was whole and unchanged is not reread."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._seen: dict[str, tuple[int, int, int]] = {}

    def files(self) -> dict[str, list[Path]]:
        """Return the stored files by digest."""
        found: dict[str, list[Path]] = {}
        for folder in _FINAL:
            for path in (self._data / folder).rglob("*.dcm"):
                found.setdefault(path.stem, []).append(path)
        return found

    def torn(self) -> list[str]:
        """Return the files under a final name that are not whole."""
        return [path.stem for paths in self.files().values() for path in paths if self._torn(path)]

    def audit(self, told: Ledger) -> Findings:
        """Hold everything against the ledger; the senders rest and the spool is empty."""
        files = self.files()
        findings = Findings(torn=self.torn())
        for folder, digests in (("archive", told.stored), ("quarantine", told.quarantined)):
            for digest in digests:
                places = [path.parent for path in files.get(digest, ())]
                right = [each for each in places if folder in (each.name, each.parent.name)]
                if not right:
                    findings.lost.append(digest)
                elif len(right) > 1:
                    findings.doubled.append(digest)
        findings += self._rows(told)
        return findings

    def waiting_parts(self) -> int:
        """Return how many half-written files lie in tmp/."""
        return sum(1 for path in (self._data / "tmp").iterdir() if path.is_file())

    def _torn(self, path: Path) -> bool:
        try:
            return not self._known(path) and not self._is_whole(path)
        except FileNotFoundError:
            # The indexer has just moved it on; the next audit finds it at its new place.
            return False

    def _known(self, path: Path) -> bool:
        stat = path.stat()
        return self._seen.get(path.stem) == (stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def _is_whole(self, path: Path) -> bool:
        stat = path.stat()
        whole = is_whole(path)
        if whole:
            self._seen[path.stem] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        return whole

    def _rows(self, told: Ledger) -> Findings:
        address = f"file:{self._data / 'radloop.sqlite'}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=30)) as connection:
            instances = connection.execute(
                "SELECT digest, sop_instance_uid FROM instance"
            ).fetchall()
            kept = connection.execute("SELECT digest FROM quarantined WHERE kind = 'dicom'")
            findings = _counted(told.stored, (digest for digest, _ in instances))
            findings.doubled += _repeated(uid for _, uid in instances)
            findings += _counted(told.quarantined, (digest for (digest,) in kept))
            rows = connection.execute("SELECT message_control_id, content FROM message").fetchall()
            reports = connection.execute("SELECT filler_order_number FROM report").fetchall()
        findings += _counted(told.messages, (name for name, _ in rows))
        findings += _counted(told.messages, (name for (name,) in reports))
        findings.torn += [
            name
            for name, content in rows
            if name in told.messages and hashlib.sha256(content).digest() != told.messages[name]
        ]
        return findings


def _counted(told: Mapping[str, object], found: Iterable[str]) -> Findings:
    """Return what was told but not found, and what was found more than once."""
    counts = Counter(found)
    return Findings(
        lost=[each for each in told if not counts[each]],
        doubled=[each for each, count in counts.items() if count > 1],
    )


def _repeated(values: Iterable[str]) -> list[str]:
    return [each for each, count in Counter(values).items() if count > 1]

"""Every odd file we can find, sent as it is: stored byte for byte, or refused with a reason.

    python -m tests.acceptance.odd_files [FOLDER ...]

Without folders: dicom_odd of the shared data (RADLOOP_SHARED) and the test files that pydicom
brings along. The bytes behind the file meta information travel untouched under the file's own
transfer syntax; nothing is read and encoded again. Afterwards the node must answer and store as
before. Prints a table and one line of JSON; exit status 1 where a file was lost, changed or did
harm.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.data import data_manager
from rich.console import Console
from rich.table import Table

from tests.acceptance.modality import MR, QUARANTINED, SUCCESS, ObjectSource
from tests.acceptance.served_node import ServedNode, served_node
from tests.acceptance.store_audit import split_file
from tests.raw_dicom import EXPLICIT, RawAssociation

SHARED = Path(os.environ.get("RADLOOP_SHARED", Path(__file__).parents[2].parent / "shared"))
IMPLICIT = "1.2.840.10008.1.2"
_NO_DICOM = frozenset((".md", ".csv", ".json", ".py", ".pyc", ".txt", ".dump", ".icc"))
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR")
_NEGOTIATION = {1: "user rejection", 2: "no reason", 3: "SOP class", 4: "transfer syntax"}

STORED, SUPERSEDED = "stored", "stored, superseded by a later version"
KEPT, REFUSED, NOT_SENT = "kept in quarantine", "refused", "not sent"
LOST, UNINDEXED, UNEXPLAINED = "LOST OR CHANGED", "NOT IN THE INDEX", "WITHOUT A REASON"
BROKEN = (LOST, UNINDEXED, UNEXPLAINED)


class NoDecompressor(Exception):
    """A .zst file cannot be read here."""


@dataclass(frozen=True)
class OddFile:
    """What a file offers to a sender."""

    name: str
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data: bytes


@dataclass(frozen=True)
class Fate:
    """What became of a file, and why."""

    name: str
    outcome: str
    reason: str = ""


def find_files(folders: Sequence[Path]) -> Iterator[Path]:
    """Yield every file that may be DICOM, in a fixed order."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in _NO_DICOM:
                yield path


def default_folders() -> list[Path]:
    """Return pydicom's own test files and, where they are, the shared ones."""
    bundled = Path(data_manager.__file__).parent
    folders = [SHARED / "data" / "dicom_odd", bundled / "test_files", bundled / "charset_files"]
    return [folder for folder in folders if folder.is_dir()]


def content_of(path: Path) -> bytes:
    """Return a file's content, decompressed.

    Raises:
        NoDecompressor: the ``zstd`` program is not installed.
    """
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix != ".zst":
        return path.read_bytes()
    program = shutil.which("zstd")
    if program is None:
        raise NoDecompressor("zstd is not installed")
    return subprocess.run([program, "-dcq", path], check=True, capture_output=True).stdout


def read_odd_file(name: str, content: bytes) -> OddFile | str:
    """Return what can be sent, or why nothing can.

    Names come from the file meta information, or where it is silent from the data set as pydicom
    reads it, forced; without a transfer syntax Implicit VR Little Endian is tried, as old files
    have it.
    """
    start = 132 if content[128:132] == b"DICM" else 0
    meta, data_start = _meta_elements(content, start)
    stated = {number: meta.get(number, "") for number in (0x02, 0x03, 0x10)}
    if not (stated[0x02] and stated[0x03]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True)
                stated[0x02] = stated[0x02] or str(read.get("SOPClassUID", ""))
                stated[0x03] = stated[0x03] or str(read.get("SOPInstanceUID", ""))
        except Exception as error:
            return f"unreadable without file meta ({type(error).__name__})"
    if not (stated[0x02] and stated[0x03]):
        return "names no object"
    if len(content) == data_start:
        return "no data set"
    return OddFile(name, stated[0x02], stated[0x03], stated[0x10] or IMPLICIT, content[data_start:])


def _meta_elements(content: bytes, position: int) -> tuple[dict[int, str], int]:
    """Walk group 0002 (always Explicit VR Little Endian); return its UIDs and where it ends."""
    found = {}
    while content[position : position + 2] == b"\x02\x00" and position + 8 <= len(content):
        element, vr, size = struct.unpack_from("<H2sH", content, position + 2)
        position += 8
        if vr in _LONG_VRS:
            size = struct.unpack_from("<L", content, position)[0]
            position += 4
        if vr == b"UI":
            value = content[position : position + size]
            found[element] = value.rstrip(b"\0 ").decode("latin-1")
        position += size
    return found, position


def send(node: ServedNode, file: OddFile) -> tuple[int, str]:
    """Send a file over an association of its own; return the status, or -1 and the refusal."""
    contexts = [(file.sop_class, file.transfer_syntax)]
    try:
        with RawAssociation(node.dicom, contexts, calling="ODD", timeout=60) as association:
            if association.answer != 2:
                return -1, f"association answered by PDU {association.answer}"
            result = association.accepted.get(1, -1)
            if result != 0:
                return -1, f"negotiation: {_NEGOTIATION.get(result, result)}"
            status = association.store(file.sop_class, file.sop_instance, file.data)
            association.release()
    except ConnectionError as error:
        return -1, f"connection ended: {error}"
    return status, ""


def stored_data_sets(node: ServedNode) -> dict[tuple[str, bytes], Path]:
    """Return every stored file by its transfer syntax and the digest of its data set."""
    found = {}
    for folder in ("spool", "quarantine", "archive"):
        for path in (node.data / folder).rglob("*.dcm"):
            meta, data = split_file(path.read_bytes())
            syntax = meta[0x10].rstrip(b"\0").decode("ascii")
            found[syntax, hashlib.sha256(data).digest()] = path
    return found


def judge(node: ServedNode, sent: Sequence[tuple[OddFile, int, str]]) -> list[Fate]:
    """Hold what the node keeps, and why, against what it answered; nothing is spooled any more."""
    stored = stored_data_sets(node)
    reasons = dict(node.rows("SELECT digest, reason FROM quarantined WHERE kind = 'dicom'"))
    indexed = {digest for (digest,) in node.rows("SELECT digest FROM instance")}
    superseded = dict(node.rows("SELECT digest, reason FROM superseded_instance"))
    fates = []
    for file, status, refusal in sent:
        key = (file.transfer_syntax, hashlib.sha256(file.data).digest())
        path = stored.get(key)
        if status < 0:
            outcome = REFUSED if refusal.startswith("negotiation") else UNEXPLAINED
            fates.append(Fate(file.name, outcome, refusal))
        elif status != SUCCESS and status not in QUARANTINED:
            fates.append(Fate(file.name, REFUSED, f"status {status:04X}"))
        elif path is None:
            fates.append(Fate(file.name, LOST, f"status {status:04X}"))
        elif path.parent.name == "quarantine":
            reason = reasons.get(path.stem, "")
            fates.append(Fate(file.name, KEPT if reason else UNEXPLAINED, reason))
        elif path.stem in superseded:
            fates.append(Fate(file.name, SUPERSEDED, superseded[path.stem]))
        else:
            fates.append(Fate(file.name, STORED if path.stem in indexed else UNINDEXED))
    return fates


def run(folders: Sequence[Path], scratch: Path) -> list[Fate]:
    """Send every file to a node of its own; return what became of each.

    Raises:
        NoDecompressor: some files are packed with zstd, which is not installed.
        RuntimeError: the node does not answer or store any more.
    """
    fates: list[Fate] = []
    sent: list[tuple[OddFile, int, str]] = []
    with served_node(scratch / "node") as node:
        processes = {each.pid for each in node.receivers()} | {node.pid}
        for path in find_files(folders):
            file = read_odd_file(path.name, content_of(path))
            if isinstance(file, str):
                fates.append(Fate(path.name, NOT_SENT, file))
            else:
                sent.append((file, *send(node, file)))
        node.wait_until_indexed()
        fates += judge(node, sent)
        good = ObjectSource(seed=6, sizes=(48,)).make()
        with RawAssociation(node.dicom, [(MR, EXPLICIT)]) as association:
            if association.store(MR, good.sop_instance, good.data) != SUCCESS:
                raise RuntimeError("the node does not store any more")
        node.wait_until_indexed()
        if not node.rows("SELECT 1 FROM instance WHERE digest = ?", good.digest):
            raise RuntimeError("the node does not index any more")
        if processes != {each.pid for each in node.receivers()} | {node.pid}:
            raise RuntimeError("a process of the node has died")
    return fates


def report(fates: Sequence[Fate]) -> None:
    """Print a table, then everything in one line of JSON."""
    table = Table(title=f"{len(fates)} odd files")
    table.add_column("outcome")
    table.add_column("files", justify="right")
    table.add_column("reason")
    counted = Counter((fate.outcome, fate.reason) for fate in fates)
    for (outcome, reason), count in sorted(counted.items()):
        table.add_row(outcome, str(count), reason)
    Console(width=140).print(table)
    outcomes = Counter(fate.outcome for fate in fates)
    bad = [vars(fate) for fate in fates if fate.outcome in BROKEN]
    print(json.dumps({"test": "odd_files", "files": len(fates), **outcomes, "broken": bad}))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folders", type=Path, nargs="*", default=default_folders())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radloop-odd-") as folder:
        fates = run(options.folders, Path(folder))
    report(fates)
    sys.exit(1 if any(fate.outcome in BROKEN for fate in fates) else 0)


if __name__ == "__main__":
    main()

"""What lies at a path: tables, workbooks, HL7 files, structured reports, documents; by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dicom_node.errors import Permanent
from dicom_node.history.tables import marked_encoding

LARGEST_HL7_FILE = 256 * 2**20
"""Bytes; a dump is held in memory while it is split."""

_MOST_FILES = 1_000_000
_HEAD = 4096
_STEP = 1024 * 1024
_TABLES = frozenset((".csv", ".tsv", ".tab", ".txt"))
_HL7_BEGINS = (b"MSH", b"FHS", b"BHS", b"\x0b", b"<SB>")


class Kind(StrEnum):
    """The form of a file."""

    TEXT_TABLE = "text table"
    WORKBOOK = "workbook"
    HL7 = "HL7 messages"
    STRUCTURED_REPORT = "DICOM file"
    DOCUMENT = "PDF"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Source:
    """One file of an import."""

    path: Path
    kind: Kind

    @property
    def name(self) -> str:
        """The file's name without folders, with what cannot be printed escaped."""
        return ascii(self.path.name)[1:-1]

    def digest(self) -> str:
        """Return SHA-256 of the file (hexadecimal).

        Raises:
            OSError: it cannot be read.
        """
        found = hashlib.sha256()
        with self.path.open("rb") as file:
            while part := file.read(_STEP):
                found.update(part)
        return found.hexdigest()


def sources_at(path: Path) -> list[Source]:
    """Return the files at a path, those of a folder in the order of their names, links left out.

    Raises:
        Permanent: there is nothing, or far too much.
        OSError: a folder or file cannot be read.
    """
    if path.is_dir():
        found = [Source(each, kind_of(each)) for each in _files_below(path)]
        if not found:
            raise Permanent("the folder holds no files")
        return found
    if not path.is_file():
        raise Permanent("there is no such file or folder")
    return [Source(path, kind_of(path))]


def _files_below(folder: Path) -> Iterator[Path]:
    count = 0
    for place, folders, names in os.walk(folder, onerror=_give_up):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.is_symlink() or not path.is_file():
                continue
            count += 1
            if count > _MOST_FILES:
                raise Permanent(f"the folder holds more than {_MOST_FILES} files")
            yield path


def _give_up(error: OSError) -> None:
    raise error


def kind_of(path: Path) -> Kind:
    """Tell what a file is by how it begins; only text tables need their suffix as well.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[128:132] == b"DICM":
        return Kind.STRUCTURED_REPORT
    if head.startswith(b"%PDF-"):
        return Kind.DOCUMENT
    if head.startswith(b"PK\x03\x04"):
        return Kind.WORKBOOK
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(_HL7_BEGINS) or head.lstrip(b" \r\n").startswith(b"\x0b"):
        return Kind.HL7
    if path.suffix.lower() in _TABLES or marked_encoding(head):
        return Kind.TEXT_TABLE
    return Kind.UNKNOWN

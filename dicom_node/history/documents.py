"""Documents that a table names by file: found below one folder and nowhere else."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePosixPath

from dicom_node.history.rows import UnusableRow

LARGEST_DOCUMENT = 10 * 2**20
"""Bytes; Base64 of it stays below the limit of a message."""

_PART = re.compile(r"[^/\\\x00-\x1f\x7f:]{1,200}")
_MOST_FOLDERS = 4


def read_document(folder: Path, name: str) -> bytes:
    """Return a PDF that a row names, relative to the folder of its table.

    The name is a stranger's text: it may go down and never up, and no link is followed.

    Raises:
        UnusableRow: the name leads elsewhere, there is no such file, it is too large or no PDF.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not 1 <= len(parts) <= _MOST_FOLDERS or not all(map(_is_plain, parts)):
        raise UnusableRow("document", "the name is no plain path below the folder of the table")
    try:
        content = _read(folder, parts)
    except (OSError, ValueError):
        raise UnusableRow("document", "there is no such file, or it is a link") from None
    if len(content) > LARGEST_DOCUMENT:
        raise UnusableRow("document", f"larger than {LARGEST_DOCUMENT} bytes")
    if b"%PDF-" not in content[:1024]:
        raise UnusableRow("document", "this is no PDF")
    return content


def _is_plain(part: str) -> bool:
    return bool(_PART.fullmatch(part)) and part not in (".", "..")


def _read(folder: Path, parts: tuple[str, ...]) -> bytes:
    """Open folder by folder, so that nothing in between can be exchanged for a link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        # A pipe must not make us wait.
        descriptor = os.open(parts[-1], flags | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("no file")
        return file.read(LARGEST_DOCUMENT + 1)

"""What may be imported: something with a name, a mark by which it is known again, and bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol

PIECE_BYTES = 1024 * 1024


class Unavailable(Exception):
    """This one cannot be had, and others may be; the message says why."""


class Candidate(Protocol):
    """One file, or one instance of another archive."""

    @property
    def name(self) -> str:
        """What a person finds it by, in printable characters; it is shown and never kept."""

    @property
    def mark(self) -> str:
        """A digest that changes when its bytes may have changed."""

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes in order.

        Raises:
            OSError, Unavailable: it cannot be read.
            Transient: the archive does not answer at all.
        """


class Source(Protocol):
    """Where candidates come from."""

    @property
    def kind(self) -> str:
        """ "folder", "DICOMDIR" or "Orthanc"."""

    def candidates(self) -> Iterator[Candidate]:
        """Yield all of them; twice the same where nothing has changed meanwhile."""

    @property
    def missing(self) -> Sequence[str]:
        """What the source lists and does not hold, known once all were yielded."""


def mark_of(*parts: str) -> str:
    """Return SHA-256 (hex) over texts, each behind its length."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        sha.update(len(raw).to_bytes(4, "big"))
        sha.update(raw)
    return sha.hexdigest()

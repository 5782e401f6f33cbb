"""What may be imported: something with a name, a mark by which it is known again, and bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

PIECE_BYTES = 1024 * 1024


class Unavailable(Exception):
    """This one cannot be had, and others may be; the message says why."""


class Gone(Unavailable):
    """The source names it, or held it a moment ago, and it is not to be had there."""


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
            Gone: it is not there, or leads elsewhere.
            Transient: the archive does not answer at all.
        """


@dataclass(frozen=True)
class Absent:
    """A candidate that is named and not to be had, with the reason."""

    name: str
    why: str
    mark: str = ""

    def pieces(self) -> Iterator[bytes]:
        """Say why.

        Raises:
            Gone: always.
        """
        raise Gone(self.why)


class Source(Protocol):
    """Where candidates come from."""

    @property
    def kind(self) -> str:
        """ "folder", "DICOMDIR" or "Orthanc"."""

    def candidates(self) -> Iterator[Candidate]:
        """Yield all of them; twice the same where nothing has changed meanwhile.

        What the source names and lacks is yielded too, as :class:`Absent`.
        """

    def abort(self) -> None:
        """Have whatever another thread waits for here fail soon, and all that follows."""


def mark_of(*parts: str) -> str:
    """Return SHA-256 (hex) over texts, each behind its length."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        sha.update(len(raw).to_bytes(4, "big"))
        sha.update(raw)
    return sha.hexdigest()

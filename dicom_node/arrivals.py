"""An object that arrived: when, under which name, and whom its header says it shows.

The time of arrival is the modification time of its file. Every move keeps it, so the order in which
objects came can be read from the files alone.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.headers import Header, Unreadable
from dicom_node.inspection import Inspector

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class Arrival:
    """One stored object, and its header or why it has none."""

    digest: str
    received_at: dt.datetime
    header: Header | Unreadable

    @property
    def order(self) -> tuple[dt.datetime, str]:
        """The key of the order of arrival."""
        return self.received_at, self.digest


def arrival_time(status: os.stat_result) -> dt.datetime:
    """Return the time of arrival that a file records, in whole microseconds."""
    return _EPOCH + (status.st_mtime_ns // 1000) * _MICROSECOND


def nanoseconds(when: dt.datetime) -> int:
    """Return a time as the nanoseconds since 1970 that ``os.utime`` takes."""
    return (when - _EPOCH) // _MICROSECOND * 1000


def just_after(when: dt.datetime) -> dt.datetime:
    """Return the next time that a file can record."""
    return when + _MICROSECOND


def read_arrivals(inspector: Inspector, files: Iterable[tuple[Path, dt.datetime]]) -> list[Arrival]:
    """Read the headers of stored files, each with the time at which it arrived.

    Raises:
        OSError: the disk cannot be read.
        Transient: no parser can be had now.
    """
    known = list(files)
    headers = inspector.headers([path for path, _ in known])
    return [
        Arrival(path.stem, received_at, header)
        for (path, received_at), header in zip(known, headers, strict=True)
    ]


def spool_arrivals(inspector: Inspector, paths: Sequence[Path]) -> list[Arrival]:
    """Read the headers of files that were just received; see :func:`read_arrivals`."""
    return read_arrivals(inspector, [(path, arrival_time(path.stat())) for path in paths])


def declared_identity(header: Header) -> str:
    """Return SHA-256 (hex) over everything by which a header says whose study it belongs to.

    Only what the object itself declares counts: an issuer that the settings assume is none.
    """
    sha = hashlib.sha256()
    for text in (
        header.patient_id,
        header.issuer_of_patient_id,
        header.patient_name,
        header.patient_birth_date,
        header.patient_sex,
        header.accession_number,
        header.issuer_of_accession_number,
    ):
        part = text.encode("utf-8", "surrogatepass")
        sha.update(len(part).to_bytes(4, "big"))
        sha.update(part)
    return sha.hexdigest()

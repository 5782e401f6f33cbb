"""What a person asks of an import: which studies, and a file of what does not come in."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dicom_node.imports.fates import Fate
from dicom_node.imports.selection import YOUNG_DAYS, Selection, read_studies
from plugin.errors import Permanent


def selection_of(arguments: dict[str, Any], now: dt.datetime) -> Selection:
    """Return which studies are wanted.

    Args:
        arguments: ``since``, ``before`` (ISO dates), ``studies`` (a path), ``young``.
        now: young is what comes from the last days before.

    Raises:
        Permanent: a date or a list is none, or no day lies between the dates.
        OSError: the list cannot be read.
    """
    since, before = (_day(arguments.get(name) or "", name) for name in ("since", "before"))
    if since and before and since >= before:
        raise Permanent("no study date lies on or after --since and before --before")
    listed = arguments.get("studies")
    young = None if arguments.get("young") else (now - dt.timedelta(days=YOUNG_DAYS)).date()
    studies = read_studies(Path(listed)) if listed else None
    return Selection(since, before, young, studies)


class Refusals:
    """Takes the names of what does not come in.

    Args:
        file: where they are written to, a JSON object a line; None: nowhere.
    """

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file

    def tell(self, name: str, fate: Fate, why: str) -> None:
        """Write down a file or instance."""
        self._write({"file": name, "fate": str(fate), "why": why})

    def lack(self, study: str) -> None:
        """Write down a study that was asked for and is nowhere."""
        self._write({"study": study, "fate": "missing", "why": "the source holds nothing of it"})

    def _write(self, line: dict[str, str]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")


@contextmanager
def refusals_file(arguments: dict[str, Any]) -> Iterator[Refusals]:
    """Open the new file of ``arguments["refused"]``, for the owner alone; empty: none is written.

    Raises:
        Permanent: it exists already, or cannot be made there by the process that imports.
    """
    if not arguments.get("refused"):
        yield Refusals(None)
        return
    path = Path(arguments["refused"])
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Permanent("the file for what is refused exists already; it was not changed") from None
    except OSError as error:
        why = f"the file for what is refused cannot be made there ({error.strerror})"
        raise Permanent(f"{why}: the node writes it, where it runs") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        try:
            yield Refusals(file)
        except BaseException:
            if not file.tell():  # the same command, put right, must be able to make it
                path.unlink()
            raise
        file.flush()
        os.fsync(file.fileno())


def _day(text: str, name: str) -> dt.date | None:
    if not text:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise Permanent(f"--{name} is a date, YYYY-MM-DD") from None

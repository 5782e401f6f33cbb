"""Files of requests: which studies a person asks for, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dicom_node.errors import Permanent as Refused
from dicom_node.file_meta import is_uid
from dicom_node.history.tables import RefusedRow, Row, read_text_table
from dicom_node.retrieval.answers import exact_key
from plugin.errors import Permanent

_COLUMNS = {
    "accession_number": ("accession_number", "accession"),
    "issuer_of_accession_number": ("issuer_of_accession_number", "issuer"),
    "study_instance_uid": ("study_instance_uid",),
    "patient_id": ("patient_id",),
}


@dataclass(frozen=True)
class Asked:
    """One line of the file."""

    line: int
    accession_number: str = ""
    issuer_of_accession_number: str = ""
    study_instance_uid: str = ""
    patient_id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two lines the same request."""
        return self.accession_number, self.issuer_of_accession_number, self.study_instance_uid

    @property
    def values(self) -> dict[str, Any]:
        """What a row of retrieval takes over."""
        return asdict(self)


MOST_REQUESTS = 500_000
"""Studies that one list may name."""


def read_requests(path: Path) -> tuple[list[Asked], list[dict[str, Any]]]:
    """Read a file of requests; return them, each once, and the lines that are not taken, with why.

    Raises:
        Permanent: it cannot be read, asks for nothing, or for more than a list may name.
    """
    found: dict[tuple[str, str, str], Asked] = {}
    refused: list[dict[str, Any]] = []
    try:
        for each in _lines(path):
            if isinstance(each, RefusedRow):
                refused.append({"line": each.line, "reason": each.reason})
            elif (known := found.setdefault(each.key, each)) is not each:
                refused.append({"line": each.line, "reason": f"the same as line {known.line}"})
            if len(found) > MOST_REQUESTS:
                raise Permanent(f"a list names at most {MOST_REQUESTS:,} studies: divide it")
    except OSError as error:
        raise Permanent(f"the file cannot be read: {error.strerror}") from error
    except Refused as error:
        raise Permanent(str(error)) from error
    if not found and refused:
        first = refused[0]
        raise Permanent(
            f"the file asks for nothing: all of its {len(refused)} lines are refused, "
            f"line {first['line']} because: {first['reason']}"
        )
    if not found:
        raise Permanent(
            "the file asks for nothing: it needs a header with accession_number or "
            "study_instance_uid, and rows"
        )
    return list(found.values()), refused


def _lines(path: Path) -> Iterator[Asked | RefusedRow]:
    for row in read_text_table(path):
        if isinstance(row, RefusedRow):
            yield row
            continue
        try:
            yield _asked(row)
        except Refused as error:
            yield RefusedRow(row.line, str(error))


def _asked(row: Row) -> Asked:
    """Read one row.

    Raises:
        Refused: it names no study, or would match others.
    """
    cells = {name.strip().lower().replace(" ", "_"): value for name, value in row.cells.items()}
    values = {
        name: next((cells[each].strip() for each in names if cells.get(each, "").strip()), "")
        for name, names in _COLUMNS.items()
    }
    if values["study_instance_uid"] and not is_uid(values["study_instance_uid"]):
        raise Refused("the Study Instance UID is none")
    if not (values["accession_number"] or values["study_instance_uid"]):
        raise Refused("neither an accession number nor a Study Instance UID")
    asked = {name: exact_key(value) if value else "" for name, value in values.items()}
    return Asked(row.line, **asked)

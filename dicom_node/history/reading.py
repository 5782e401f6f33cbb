"""One file as what it comes to: messages, each with the place where it stood, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dicom_node.history.documents import read_document
from dicom_node.history.mapping import ImportMapping
from dicom_node.history.messages import oru_of
from dicom_node.history.rows import HistoricReport, UnusableRow, report_of
from dicom_node.history.sources import LARGEST_HL7_FILE, Kind, Source
from dicom_node.history.structured import report_of_document
from dicom_node.history.tables import RefusedRow, Row, UnreadableTable, read_text_table
from dicom_node.history.workbooks import read_workbook
from dicom_node.hl7.files import read_hl7_file
from dicom_node.sandbox import Sandbox

NO_TABLE_HERE = {
    Kind.DOCUMENT: "a PDF alone says nothing about its patient: a table must name it",
    Kind.UNKNOWN: "this is no table, workbook, HL7 message or DICOM file",
}
"""Why files of a kind are not taken by themselves."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be filed; ``line`` is where it began, or its number in the file."""

    line: int
    content: bytes
    report: HistoricReport | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that is not taken, and why.

    ``column`` and ``value`` say what a mapping did not know; both may be empty.
    """

    line: int
    reason: str
    column: str = ""
    value: str = ""
    ends_file: bool = False  # nothing of the file can be read from here on


@dataclass(frozen=True, slots=True)
class Opening:
    """What files are read with.

    Args:
        mapping: of rows and documents.
        sandbox: parses DICOM files.
        seen: called with each row of a table before it is judged.
        build: makes the message of a report and its document.
    """

    mapping: ImportMapping
    sandbox: Sandbox
    seen: Callable[[Row], object] | None = None
    build: Callable[[HistoricReport, ImportMapping, bytes], bytes] = oru_of


def read_source(source: Source, opening: Opening, start: int = 0) -> Iterator[Entry | Refusal]:
    """Yield what a file comes to, without the first ``start`` of it; in order, always the same.

    Raises:
        InvalidSettings: the file is a table and the mapping has no columns.
        OSError: the file cannot be read.
    """
    if source.kind in NO_TABLE_HERE:
        return iter([Refusal(0, NO_TABLE_HERE[source.kind])][start:])
    if source.kind is Kind.HL7:
        return islice(_messages(source.path), start, None)
    if source.kind is Kind.STRUCTURED_REPORT:
        return iter([_document(source.path, opening)] if start == 0 else [])
    opening.mapping.check_for_tables()
    return _table(source, opening, start)


def rows_of(source: Source, mapping: ImportMapping) -> Iterator[Row | RefusedRow]:
    """Yield the rows of a table.

    Raises:
        UnreadableTable: it cannot be read, from some place on.
        OSError: the file cannot be read.
    """
    if source.kind is Kind.WORKBOOK:
        return read_workbook(source.path, sheet=mapping.sheet, header_row=mapping.header_row)
    return read_text_table(
        source.path,
        encoding=mapping.encoding,
        delimiter=mapping.delimiter,
        header_row=mapping.header_row,
    )


def _messages(path: Path) -> Iterator[Entry | Refusal]:
    if path.stat().st_size > LARGEST_HL7_FILE:
        yield Refusal(0, f"larger than {LARGEST_HL7_FILE} bytes: split it", ends_file=True)
        return
    for number, content in enumerate(read_hl7_file(path), start=1):
        yield Entry(number, content)


def _document(path: Path, opening: Opening) -> Entry | Refusal:
    try:
        report = report_of_document(path, opening.sandbox)
        return Entry(1, opening.build(report, opening.mapping, b""), report)
    except UnusableRow as error:
        return Refusal(1, str(error), error.column, error.value)


def _table(source: Source, opening: Opening, start: int) -> Iterator[Entry | Refusal]:
    line, checked = 0, False
    try:
        for number, row in enumerate(rows_of(source, opening.mapping)):
            if isinstance(row, Row) and not checked:
                _check_columns(row, opening.mapping)
                checked = True
            line = row.line
            if number >= start:
                yield _row(row, source.path.parent, opening)
    except UnreadableTable as error:
        yield Refusal(line + 1, str(error), ends_file=True)


def _check_columns(row: Row, mapping: ImportMapping) -> None:
    """A misspelt column must not pass for an empty one: it may be what contradicts a link."""
    missing = sorted({*mapping.used_columns.values()} - row.cells.keys())
    if missing:
        raise UnreadableTable(f"the table lacks columns of the mapping: {', '.join(missing)}")


def _row(row: Row | RefusedRow, folder: Path, opening: Opening) -> Entry | Refusal:
    if isinstance(row, RefusedRow):
        return Refusal(row.line, row.reason)
    if opening.seen is not None:
        opening.seen(row)
    try:
        report = report_of(row, opening.mapping)
        document = read_document(folder, report.document) if report.document else b""
        return Entry(row.line, opening.build(report, opening.mapping, document), report)
    except UnusableRow as error:
        return Refusal(row.line, str(error), error.column, error.value)

"""Rows of Excel workbooks (Office Open XML, ``.xlsx``), read as a stream.

A workbook is an archive of XML files: before the library sees it, its parts are counted and their
unpacked sizes looked at. Entities and document types in the XML are refused (defusedxml). A cell
with a formula is no value: what it came to is whatever the last program made of it.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import openpyxl
from defusedxml.common import DefusedXmlException
from openpyxl.utils.exceptions import InvalidFileException

from dicom_node.history.tables import (
    LONGEST_ROW,
    MOST_COLUMNS,
    RefusedRow,
    Row,
    UnreadableTable,
    columns_of,
)

MOST_PARTS = 2000
LARGEST_PART = 512 * 2**20
"""Bytes, unpacked, of a sheet."""

LARGEST_STRINGS = 128 * 2**20
"""Bytes, unpacked, of any other part: the library holds the shared strings in memory."""

LARGE_PART = 16 * 2**20
"""Bytes, unpacked, from which on it is looked at how tightly a part is packed."""

_TIGHTEST = 200  # bytes unpacked for each byte packed; text has some ten
_MOST_ROWS = 1_048_576  # that a sheet has
_SHEETS = re.compile(r"xl/worksheets/[^/]+\.xml")
_ALL_ZEROS = re.compile("0{2,20}")
_MOST_DIGITS = 15  # that a number of Excel keeps
_LIBRARY_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    DefusedXmlException,
    EOFError,
    InvalidFileException,
    LookupError,
    NotImplementedError,
    OSError,
    ParseError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
_FORMULA = "a cell holds a formula, not a value"
_TOO_PRECISE = "a number of more than 15 digits: Excel has rounded it; store it as text"
_ERROR = "a cell holds an error of Excel"


class _BadCell(Exception):
    """A cell that is no value."""


def read_workbook(
    path: Path, *, sheet: str = "", header_row: int = 1
) -> Iterator[Row | RefusedRow]:
    """Yield the rows of a sheet, without empty ones; dates come as ISO 8601 text.

    Args:
        path: the workbook.
        sheet: its name; empty: the first.
        header_row: number of the row with the names of the columns.

    Raises:
        OSError: the file cannot be opened.
        UnreadableTable: it is no workbook, is unpacked far larger than a table can be, or has no
            such sheet.
    """
    _check_archive(path)
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote what the file holds
        try:
            book = openpyxl.load_workbook(file, read_only=True, data_only=False, keep_links=False)
            try:
                yield from _rows(_sheet(book, sheet), header_row)
            finally:
                book.close()
        except _LIBRARY_ERRORS as error:
            kind = type(error).__name__
            raise UnreadableTable(f"the workbook is damaged ({kind})") from None


def _check_archive(path: Path) -> None:
    """Look at the directory of the archive; unpacking never gives more than it states."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise UnreadableTable(f"this is no workbook ({type(error).__name__})") from None
    if len(parts) > MOST_PARTS:
        raise UnreadableTable(f"the workbook has more than {MOST_PARTS} parts")
    for part in parts:
        most = LARGEST_PART if _SHEETS.fullmatch(part.filename) else LARGEST_STRINGS
        if part.file_size > most:
            raise UnreadableTable(f"a part of the workbook unpacks to more than {most} bytes")
        if part.file_size > max(LARGE_PART, _TIGHTEST * part.compress_size):
            raise UnreadableTable("a part of the workbook is packed tighter than any text")


def _sheet(book: Any, name: str) -> Any:
    if not book.sheetnames:
        raise UnreadableTable("the workbook has no sheet")
    if name and name not in book.sheetnames:
        raise UnreadableTable("the workbook has no sheet of this name")
    sheet = book[name] if name else book.worksheets[0] if book.worksheets else None
    if sheet is None:
        raise UnreadableTable("the workbook has no sheet with cells")
    # The stated size may be anything; without it, rows are read as they come.
    sheet.reset_dimensions()
    return sheet


def _rows(sheet: Any, header_row: int) -> Iterator[Row | RefusedRow]:
    header: list[str] = []
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        if number < header_row:
            continue
        # The library fills the rows up to the number that the next one claims to have.
        if number > _MOST_ROWS:
            raise UnreadableTable(f"more than {_MOST_ROWS} rows")
        if len(cells) > MOST_COLUMNS:
            raise UnreadableTable(f"row {number} has more than {MOST_COLUMNS} columns")
        try:
            texts = [_text(cell) for cell in cells]
        except _BadCell as error:
            if number == header_row:
                raise UnreadableTable(f"in the header row, {error}") from None
            yield RefusedRow(number, str(error))
            continue
        if number == header_row:
            header = columns_of(texts)
        elif any(texts):
            yield _row(number, texts, header)
    if not header:
        raise UnreadableTable("the sheet has no header row")


def _row(number: int, texts: list[str], header: list[str]) -> Row | RefusedRow:
    if any(texts[len(header) :]):
        return RefusedRow(number, f"more cells than the header, which has {len(header)}")
    if sum(map(len, texts)) > LONGEST_ROW:
        return RefusedRow(number, "far too much text")
    texts += [""] * (len(header) - len(texts))
    return Row(number, {name: text for name, text in zip(header, texts, strict=False) if name})


def _text(cell: Any) -> str:
    """Return what a person sees in a cell, dates as ISO 8601."""
    value = cell.value
    if value is None:
        return ""
    if cell.data_type == "f":
        raise _BadCell(_FORMULA)
    if cell.data_type == "e":
        raise _BadCell(_ERROR)
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return _number(value, str(cell.number_format or ""))
    if isinstance(value, dt.datetime):
        midnight = value.time() == dt.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "seconds")
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _number(value: int | float, form: str) -> str:
    """A number as an identifier is written: no exponent, leading zeros as the form says."""
    if not isinstance(value, int) and not value.is_integer():
        return repr(value)
    digits = str(int(value))
    if len(digits.lstrip("-")) > _MOST_DIGITS:
        raise _BadCell(_TOO_PRECISE)
    return digits.zfill(len(form)) if _ALL_ZEROS.fullmatch(form) else digits

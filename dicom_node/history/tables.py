"""Rows of tables, with the numbers of their lines; a row that cannot be read says why.

Text files are read as a stream: neither a file nor a quote that is never closed can fill the
memory. Decoding is strict, row by row.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from dicom_node.errors import Permanent

LONGEST_ROW = 8 * 2**20
"""Characters of a row, text of several lines included."""

MOST_COLUMNS = 1024
_SAMPLE = 256 * 1024
_DELIMITERS = ",;\t|"
_MARKS = (
    (codecs.BOM_UTF8, "utf_8_sig"),
    (codecs.BOM_UTF16_LE, "utf_16"),
    (codecs.BOM_UTF16_BE, "utf_16"),
)
_UNDECODED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line on which it begins, from 1, and its cells by the name of their column."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that is not taken; the reason holds no value of it."""

    line: int
    reason: str


class UnreadableTable(Permanent):
    """The file cannot be read as a table from some place on."""


def columns_of(names: list[str]) -> list[str]:
    """Return the names of the columns, checked.

    Raises:
        UnreadableTable: there are none, or far too many, or one twice.
    """
    found = [name.strip() for name in names]
    while found and not found[-1]:
        found.pop()
    named = [name for name in found if name]
    if not named:
        raise UnreadableTable("the header row is empty")
    if len(found) > MOST_COLUMNS:
        raise UnreadableTable(f"more than {MOST_COLUMNS} columns")
    if len(set(named)) != len(named):
        raise UnreadableTable("two columns have the same name")
    return found


def read_text_table(
    path: Path, *, encoding: str = "", delimiter: str = "", header_row: int = 1
) -> Iterator[Row | RefusedRow]:
    """Yield the rows of a delimited text file (CSV), without empty ones.

    Args:
        path: the file.
        encoding: a Python codec; empty: what a byte order mark says, else UTF-8.
        delimiter: one character; empty: the one that the header has most of.
        header_row: number of the record with the names of the columns.

    Raises:
        OSError: the file cannot be read.
        UnreadableTable: no header, a row without end, or (of UTF-16) bytes that are no text.
    """
    with path.open("rb") as file:
        codec = encoding or marked_encoding(file.peek(4)) or "utf_8"
        # A byte that is no text spoils its row, not the file: it is carried as a surrogate.
        with TextIOWrapper(file, codec, errors="surrogateescape", newline="") as text:
            try:
                mark = delimiter or _delimiter(text, header_row)
                text.seek(0)
                yield from _rows(text, mark, header_row, codec)
            except UnicodeError:
                raise UnreadableTable(f"the file is not {codec}") from None


def marked_encoding(begin: bytes) -> str:
    """Return the codec that a byte order mark announces; empty where there is none."""
    return next((codec for mark, codec in _MARKS if begin.startswith(mark)), "")


def _delimiter(text: TextIO, header_row: int) -> str:
    lines = text.read(_SAMPLE).splitlines()
    header = lines[header_row - 1] if len(lines) >= header_row else ""
    return max(_DELIMITERS, key=header.count)


class _Lines:
    """The physical lines of a file, with a limit on what one row may take."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.number = 0
        self.taken = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        room = LONGEST_ROW - self.taken
        line = self._text.readline(room + 1)
        if not line:
            raise StopIteration
        self.taken += len(line)
        if self.taken > LONGEST_ROW:
            raise UnreadableTable(
                f"the row that ends after line {self.number + 1} has no end: is a quote not closed?"
            )
        self.number += 1
        return line


def _rows(text: TextIO, delimiter: str, header_row: int, codec: str) -> Iterator[Row | RefusedRow]:
    # One limit for the whole process; nobody else here lowers it.
    csv.field_size_limit(LONGEST_ROW)
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    records = 0
    while True:
        begin = lines.number + 1
        lines.taken = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            # The reader goes on with the next line; what the quote had swallowed is named.
            yield RefusedRow(begin, _bad_quotes(begin, lines.number))
            continue
        records += 1
        if records == header_row:
            if any(_UNDECODED.search(cell) for cell in cells):
                raise UnreadableTable(f"the header holds bytes that are not {codec}")
            header = columns_of(cells)
        elif records > header_row and any(cells):
            yield _row(begin, cells, header, codec)


def _bad_quotes(first: int, last: int) -> str:
    lines = f"lines {first} to {last}" if last > first else f"line {first}"
    return f"{lines}: a quote stands where none can stand"


def _row(line: int, cells: list[str], header: list[str], codec: str) -> Row | RefusedRow:
    extra = any(cells[len(header) :])
    if extra or len(cells) < len(header):
        return RefusedRow(line, f"{len(cells)} cells, the header has {len(header)}")
    if any(_UNDECODED.search(cell) for cell in cells):
        return RefusedRow(line, f"bytes that are not {codec}")
    return Row(line, {name: cell for name, cell in zip(header, cells, strict=False) if name})

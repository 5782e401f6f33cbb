"""Try an import: how much is filled, what the mapping does not know, what would be refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dicom_node.feeds.profile import FeedProfile
from dicom_node.history.mapping import ImportMapping
from dicom_node.history.messages import oru_of
from dicom_node.history.reading import Entry, Opening, Refusal, read_source
from dicom_node.history.rows import HistoricReport
from dicom_node.history.sources import Kind, Source
from dicom_node.history.tables import Row
from dicom_node.message_reading import read_stored
from dicom_node.sandbox import Sandbox

PROJECTED = 2000
"""Messages, the first ones, whose links are projected."""

_LISTED = 50
_LONGEST_WORD = 40  # characters of a value that is shown
_EVERY_ROWS = 10_000

Progress = Callable[[str], None]


@dataclass(slots=True)
class Trial:
    """What an import would do.

    Args:
        files: name, kind, and how much of each file would be taken or refused.
        fills: rows in which each used column holds something.
        unmapped: by use of a column, values that the mapping does not know.
        reasons: why rows would be refused, with how many.
        refused: the first of them with file and line.
        senders: of HL7 files, by sender what would become of the messages.
        numbers: how often reports have each number, by its hash.
        contents: the first messages made of rows.
        unused: columns of the tables that the mapping does not use, with the rows that fill them.
    """

    mapping: ImportMapping
    rows: int = 0
    files: list[dict[str, Any]] = field(default_factory=list)
    fills: Counter[str] = field(default_factory=Counter)
    unmapped: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    refused: list[dict[str, Any]] = field(default_factory=list)
    senders: dict[str, Counter[str]] = field(default_factory=dict)
    numbers: Counter[int] = field(default_factory=Counter)
    contents: list[bytes] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        """Rows and documents that would become reports."""
        return self.numbers.total()

    def table(self) -> dict[str, Any]:
        """Return what a person looks at; values that few rows share are not shown."""
        return {
            "sender": self.mapping.sender,
            "files": self.files,
            "columns": [
                {"use": use, "column": name, "rows": self.fills[use], "share": self._share(use)}
                for use, name in self._columns().items()
            ],
            "columns_not_used": [
                {"column": name, "rows": count} for name, count in self.unused.items()
            ],
            "unmapped": [
                {"column": use, "value": word[:_LONGEST_WORD], "rows": count}
                for use, found in self.unmapped.items()
                for word, count in found.most_common(_LISTED)
            ],
            "reports": self.taken,
            "versions_of_another_row": self.taken - len(self.numbers),
            "refused_rows": self.reasons.total(),
            "reasons": [
                {"reason": reason, "rows": count}
                for reason, count in self.reasons.most_common(_LISTED)
            ],
            "refused": self.refused,
            "hl7": [{"sender": name, **counts} for name, counts in self.senders.items()],
        }

    def _columns(self) -> dict[str, str]:
        return self.mapping.used_columns if self.mapping.columns is not None else {}

    def _share(self, use: str) -> float:
        return self.fills[use] / max(self.rows, 1)


def try_import(
    sources: Iterable[Source],
    mapping: ImportMapping,
    sandbox: Sandbox,
    profile_of: Callable[[str], FeedProfile],
    progress: Progress,
) -> Trial:
    """Read files as an import would, and file nothing.

    Args:
        sources: the files.
        mapping: how rows and documents are read.
        sandbox: parses DICOM files.
        profile_of: how the messages of HL7 files are read, by sender.
        progress: told now and then how far it is.

    Raises:
        InvalidSettings: a table, and the mapping has no columns.
        OSError: a file cannot be read.
    """
    trial = Trial(mapping)

    def seen(row: Row) -> None:
        trial.rows += 1
        used = mapping.used_columns
        for use, name in used.items():
            trial.fills[use] += bool(row.cells[name].strip())
        for name in [each for each in row.cells if each not in used.values()]:
            trial.unused[name] += bool(row.cells[name].strip())

    def build(report: HistoricReport, _: ImportMapping, document: bytes) -> bytes:
        return oru_of(report, mapping, document) if len(trial.contents) < PROJECTED else b""

    opening = Opening(mapping, sandbox, seen, build)
    sources = list(sources)
    tables = any(each.kind in (Kind.TEXT_TABLE, Kind.WORKBOOK) for each in sources)
    for source in sources:
        if not (tables and source.kind is Kind.DOCUMENT):
            _try_file(trial, source, opening, profile_of, progress)
    return trial


def _try_file(
    trial: Trial,
    source: Source,
    opening: Opening,
    profile_of: Callable[[str], FeedProfile],
    progress: Progress,
) -> None:
    taken = refused = 0
    for number, each in enumerate(read_source(source, opening), start=1):
        if isinstance(each, Refusal):
            refused += 1
            _note_refusal(trial, source, each)
        else:
            taken += 1
            _note_entry(trial, each, profile_of)
        if number % _EVERY_ROWS == 0:
            progress(f"{source.name}: {number} rows")
    trial.files.append(
        {"file": source.name, "kind": source.kind.value, "readable": taken, "refused": refused}
    )


def _note_refusal(trial: Trial, source: Source, refusal: Refusal) -> None:
    trial.reasons[refusal.reason] += 1
    if len(trial.refused) < _LISTED:
        trial.refused.append({"file": source.name, "line": refusal.line, "reason": refusal.reason})
    if refusal.value:
        trial.unmapped.setdefault(refusal.column, Counter())[refusal.value] += 1


def _note_entry(trial: Trial, entry: Entry, profile_of: Callable[[str], FeedProfile]) -> None:
    if entry.report is not None:
        trial.numbers[hash(entry.report.number)] += 1
        if entry.content:
            trial.contents.append(entry.content)
        return
    reading = read_stored(entry.content, profile_of, lambda _: " ")
    counts = trial.senders.setdefault(ascii(reading.envelope.sender)[1:-1], Counter())
    counts[reading.disposition] += 1

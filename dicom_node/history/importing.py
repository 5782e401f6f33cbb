"""An import runs: file after file, batch after batch, each committed with its position.

Killed at any moment, the same command goes on where the last commit was. Run again after its end
it changes nothing: a file that was taken under the same mapping is known by its digest, and a row
that was taken before by its message.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlmodel import Session, col, select

from dicom_node.database import Clock, Database, chunks
from dicom_node.history.mapping import ImportMapping
from dicom_node.history.models import ImportedFile
from dicom_node.history.reading import Entry, Opening, Refusal, read_source
from dicom_node.history.sources import Kind, Source
from dicom_node.mllp.journal import Record
from dicom_node.models import Message
from dicom_node.sandbox import Sandbox

BATCH_ROWS = 200
BATCH_BYTES = 8 * 2**20
MOST_REFUSALS = 500
"""Refusals of a file that are kept with their lines; all are counted."""

_EVERY_ROWS = 1000  # a line of progress

Progress = Callable[[str], None]


class Filing(Protocol):
    """Files a batch of records in one transaction: :func:`dicom_node.messages.file_records`."""

    def __call__(self, records: Sequence[Record], *, inside: Callable[[Session], object]) -> object:
        """File the records; ``inside`` is called at the end of the transaction."""
        ...


@dataclass(slots=True)
class Outcome:
    """What became of one file."""

    name: str
    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    refused: list[dict[str, Any]] = field(default_factory=list)
    finished_before: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """What an import is made with.

    Args:
        database: of the node.
        file: files batches.
        mapping: how rows and documents are read.
        sandbox: parses DICOM files.
        clock: gives times.
        by: the person who started it.
        batch_rows: rows that are committed together.
    """

    database: Database
    file: Filing
    mapping: ImportMapping
    sandbox: Sandbox
    clock: Clock
    by: str
    batch_rows: int = BATCH_ROWS

    def run(self, sources: Iterable[Source], progress: Progress) -> list[Outcome]:
        """Import files; return what became of each.

        A PDF among them is no file of its own where a table is there to name it.

        Raises:
            OSError: a file cannot be read, or the disk failed; what was committed stays.
        """
        sources = list(sources)
        tables = any(each.kind in (Kind.TEXT_TABLE, Kind.WORKBOOK) for each in sources)
        return [
            self._file(each, progress)
            for each in sources
            if not (tables and each.kind is Kind.DOCUMENT)
        ]

    def _file(self, source: Source, progress: Progress) -> Outcome:
        row_id, position, outcome = self._begin(source)
        if outcome.finished_before:
            progress(f"{source.name}: was imported before")
            return outcome
        entries = read_source(source, Opening(self.mapping, self.sandbox), position)
        told = 0
        for batch in _batches(entries, self.batch_rows):
            position += len(batch)
            self._commit(row_id, source, batch, position, outcome)
            if position - told >= _EVERY_ROWS:
                told = position
                progress(f"{source.name}: {position} rows, {_in_words(outcome.counts)}")
        self._finish(row_id)
        progress(f"{source.name}: {position} rows, {_in_words(outcome.counts)}, finished")
        return outcome

    def _begin(self, source: Source) -> tuple[int, int, Outcome]:
        """Find the position of the file under this mapping, or begin with it."""
        digest, mapping = source.digest(), self.mapping
        with self.database.write() as session:
            row = session.exec(
                select(ImportedFile).where(
                    ImportedFile.sender == mapping.sender,
                    ImportedFile.file_digest == digest,
                    ImportedFile.mapping_digest == mapping.digest,
                )
            ).first()
            if row is None:
                row = ImportedFile(
                    sender=mapping.sender,
                    file_digest=digest,
                    mapping_digest=mapping.digest,
                    name=source.name,
                    started_by=self.by,
                    started_at=self.clock(),
                )
                session.add(row)
                session.flush()
            outcome = Outcome(
                source.name,
                source.kind.value,
                Counter(row.counts),
                list(row.refused),
                row.finished_at is not None,
            )
            return row.id or 0, row.position, outcome

    def _commit(
        self,
        row_id: int,
        source: Source,
        batch: Sequence[Entry | Refusal],
        position: int,
        outcome: Outcome,
    ) -> None:
        """File a batch; the position moves in the same transaction."""
        now = self.clock()
        records = [_record(each, source, now) for each in batch if isinstance(each, Entry)]
        refusals = [each for each in batch if isinstance(each, Refusal)]
        listed = [{"line": each.line, "reason": each.reason} for each in refusals]
        refused = (outcome.refused + listed)[:MOST_REFUSALS]

        def move(session: Session) -> None:
            found = outcome.counts + _became(session, records)
            found["refused"] += len(refusals)
            row = session.get_one(ImportedFile, row_id)
            row.position, row.refused, row.counts = position, refused, dict(found)
            session.add(row)
            counted.update(found)

        counted: Counter[str] = Counter()
        self.file(records, inside=move)
        outcome.refused, outcome.counts = refused, counted

    def _finish(self, row_id: int) -> None:
        with self.database.write() as session:
            row = session.get_one(ImportedFile, row_id)
            row.finished_at = self.clock()
            session.add(row)


def _record(entry: Entry, source: Source, now: dt.datetime) -> Record:
    return Record("message", entry.content, now, peer=source.name)


def _became(session: Session, records: Sequence[Record]) -> Counter[str]:
    """Count what the records of one batch became; what was there before is ``repeated``."""
    digests = {hashlib.sha256(each.content).hexdigest() for each in records}
    found: Counter[str] = Counter()
    for part in chunks(sorted(digests)):
        rows = session.exec(
            select(Message.disposition).where(
                col(Message.digest).in_(part), Message.received_at == records[0].received_at
            )
        )
        found.update(rows)
    found["repeated"] = len(records) - found.total()
    return found


def _batches(entries: Iterator[Entry | Refusal], most: int) -> Iterator[list[Entry | Refusal]]:
    batch: list[Entry | Refusal] = []
    size = 0
    for each in entries:
        batch.append(each)
        size += len(each.content) if isinstance(each, Entry) else 0
        if len(batch) >= most or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "nothing"

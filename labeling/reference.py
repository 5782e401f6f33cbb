"""Reference labels: what human readers say, imported from a file and never overwritten."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlmodel import Session, col, select

from dicom_node.database import Clock, chunks
from labeling.models import ReferenceLabel, ReferenceSample
from labeling.reader_labels import ReaderLabel, reader_labels, reference_states
from labeling.reference_file import Key, Row, content_of, fault_of, rows_of
from labeling.reference_samples import find_sample, subjects_of
from labeling.reference_subjects import unknown_subjects
from labeling.vocabulary import LabelSchema

__all__ = [
    "ImportResult",
    "Problem",
    "ReaderLabel",
    "import_reference_labels",
    "reader_labels",
    "reference_states",
]


class Problem(NamedTuple):
    """A row that was not imported: its line in the file (from 1) and why, without its values."""

    line: int
    reason: str


@dataclass(frozen=True)
class ImportResult:
    """What an import did: rows added, rows already known with the same state, rows refused.

    ``tied`` are rows that were known and are of the sample from now on; ``unread`` are rows of a
    sample's worksheet without a state. ``unknown`` has by level the subjects of taken rows that the
    node holds neither as a report nor as a study: they may come later, or be misspelt. What level
    "file" names is never known.
    """

    imported: int
    unchanged: int
    problems: tuple[Problem, ...]
    unknown: Mapping[str, int] = field(default_factory=dict)
    tied: int = 0
    unread: int = 0


def import_reference_labels(
    session: Session, path: Path, clock: Clock, schema: LabelSchema, sample: str = ""
) -> ImportResult:
    """Import the reference labels of a CSV or JSONL file; importing it again changes nothing.

    A row is one state that one reader gave one observation at one site. ``subject`` is the
    accession number where ``level`` is "report", the Study Instance UID where it is "image", and
    the id in a file of reports, which the node need not know, where it is "file". A row may add a
    severity of the observation's scale, the words of the report that the reader rests on, whether
    the reader was blinded to machines ("yes" or "no") and how the report came to be read.
    A row whose key is known with another state or severity is a problem, never an overwrite.

    With a sample, rows are tied to it: each subject must have been drawn, how it was sampled is
    what the sample's record says, and it was read blinded unless the row says "no": the worksheet
    shows no machine's label. A label that came before the sample was drawn is none of its readings.

    Args:
        session: a writing session; the caller commits.
        path: a file that ends in .csv or .jsonl, in UTF-8, with ``reference_file.COLUMNS``.
        clock: gives the time of import.
        schema: the observations and sites that are allowed.
        sample: the beginning of a stored sample's digest; empty: of none.

    Raises:
        Permanent: the file cannot be read as a whole (unknown ending, not UTF-8, column missing),
            or there is no such sample.
    """
    content = content_of(path)
    rows = list(rows_of(path.suffix.lower(), content))
    of = None if not sample else _Sample.read(session, sample)
    known = _known(session, {row.subject for _, row in rows if not isinstance(row, str)})
    digest, now = hashlib.sha256(content).hexdigest(), clock()
    counts = {"imported": 0, "unchanged": 0, "tied": 0, "unread": 0}
    problems: list[Problem] = []
    taken: list[Row] = []
    for line, row in rows:
        if isinstance(row, str):
            problems.append(Problem(line, row))
            continue
        if of is not None and not row.state:
            counts["unread"] += 1
            continue
        reason = fault_of(row, schema) or _conflict(row, known) or (of.fault(row) if of else "")
        reason = reason or (of.fault_of_known(known.get(row.key)) if of else "")
        if reason:
            problems.append(Problem(line, reason))
            continue
        taken.append(row)
        if row.key in known:
            counts["tied" if of and of.tie(known[row.key]) else "unchanged"] += 1
            continue
        label = ReferenceLabel(**row._asdict(), source_digest=digest, imported_at=now)
        if of is not None:
            of.tie(label)
        known[row.key] = label
        session.add(label)
        counts["imported"] += 1
    session.flush()
    unknown = unknown_subjects(session, ((row.level, row.subject) for row in taken))
    return ImportResult(problems=tuple(problems), unknown=unknown, **counts)


@dataclass(frozen=True)
class _Sample:
    """A stored sample and its subjects, for rows that are to be tied to it."""

    record: ReferenceSample
    subjects: Collection[str]

    @classmethod
    def read(cls, session: Session, digest: str) -> _Sample:
        record = find_sample(session, digest)
        return cls(record, {each.subject for each in subjects_of(session, record)})

    def fault(self, row: Row) -> str:
        """Return why a row cannot be of the sample."""
        drawn = row.level == self.record.level and row.subject in self.subjects
        return "" if drawn else "the subject was not drawn for this sample"

    def fault_of_known(self, label: ReferenceLabel | None) -> str:
        """Return why a label that is known already cannot be of the sample."""
        if label is None or label.sample_digest == self.record.digest:
            return ""
        if label.sample_digest:
            return "this reader gave this label for another sample"
        early = label.imported_at < self.record.drawn_at
        return "this reader gave this label before the sample was drawn" if early else ""

    def tie(self, label: ReferenceLabel) -> bool:
        """Tie a label to the sample; return whether it was not before."""
        if label.sample_digest == self.record.digest:
            return False
        label.sample_digest = self.record.digest
        label.sampling = self.record.design
        label.blinded = "no" if label.blinded == "no" else "yes"
        return True


def _conflict(row: Row, known: Mapping[Key, ReferenceLabel]) -> str:
    label = known.get(row.key)
    if label is None:
        return ""
    if (label.state, label.severity) != row.said:
        return f"this reader gave another state or severity here before, at level {row.level}"
    if label.role != row.role:
        return "this person is known here in the other role: an adjudicator is none of the readers"
    return ""


def _known(session: Session, subjects: Iterable[str]) -> dict[Key, ReferenceLabel]:
    known: dict[Key, ReferenceLabel] = {}
    for batch in chunks(sorted(subjects)):
        for label in session.exec(
            select(ReferenceLabel).where(col(ReferenceLabel.subject).in_(batch))
        ):
            known[Row(*(getattr(label, name) for name in Row._fields)).key] = label
    return known

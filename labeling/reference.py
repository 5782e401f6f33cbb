"""Reference labels: what human readers say, imported from a file and never overwritten."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlmodel import Session, col, select

from dicom_node.database import Clock
from labeling.models import ReferenceLabel
from labeling.reference_file import Key, Place, Row, content_of, fault_of, rows_of
from labeling.reference_subjects import unknown_subjects
from labeling.vocabulary import LabelSchema, State


@dataclass(frozen=True)
class ReaderLabel:
    """What the readers of one subject say of one observation at one site.

    Args:
        state: None where they disagree: that is no truth.
        severity: where all who name one name the same.
        quotes: words of the report on which those rest who gave a quote.
        ids: rows of the reference labels.
        blinded: "yes" or "no" where all readers said the same of it, else empty.
        sampling: in the same way how the report came to be read.
    """

    state: State | None
    severity: str = ""
    quotes: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    readers: tuple[str, ...] = ()
    blinded: str = ""
    sampling: str = ""


class Problem(NamedTuple):
    """A row that was not imported: its line in the file (from 1) and why, without its values."""

    line: int
    reason: str


@dataclass(frozen=True)
class ImportResult:
    """What an import did: rows added, rows already known with the same state, rows refused.

    ``unknown`` has by level the subjects of taken rows that the node holds neither as a report nor
    as a study: they may come later, or be misspelt. What level "file" names is never known.
    """

    imported: int
    unchanged: int
    problems: tuple[Problem, ...]
    unknown: Mapping[str, int] = field(default_factory=dict)


def import_reference_labels(
    session: Session, path: Path, clock: Clock, schema: LabelSchema
) -> ImportResult:
    """Import the reference labels of a CSV or JSONL file; importing it again changes nothing.

    A row is one state that one reader gave one observation at one site. ``subject`` is the
    accession number where ``level`` is "report", the Study Instance UID where it is "image", and
    the id in a file of reports, which the node need not know, where it is "file". A row may add a
    severity of the observation's scale, the words of the report that the reader rests on, whether
    the reader was blinded to machines ("yes" or "no") and how the report came to be read.
    A row whose key is known with another state or severity is a problem, never an overwrite.

    Args:
        session: a writing session; the caller commits.
        path: a file that ends in .csv or .jsonl, in UTF-8, with ``reference_file.COLUMNS``.
        clock: gives the time of import.
        schema: the observations and sites that are allowed.

    Raises:
        Permanent: the file cannot be read as a whole (unknown ending, not UTF-8, column missing).
    """
    content = content_of(path)
    rows = list(rows_of(path.suffix.lower(), content))
    known = _known(session, {row.subject for _, row in rows if not isinstance(row, str)})
    digest, now = hashlib.sha256(content).hexdigest(), clock()
    imported = unchanged = 0
    problems: list[Problem] = []
    for line, row in rows:
        if isinstance(row, str):
            problems.append(Problem(line, row))
        elif reason := fault_of(row, schema) or _conflict(row, known):
            problems.append(Problem(line, reason))
        elif row.key in known:
            unchanged += 1
        else:
            known[row.key] = row.said
            session.add(_label(row, digest, now))
            imported += 1
    session.flush()
    refused = {problem.line for problem in problems}
    taken = [row for line, row in rows if line not in refused and not isinstance(row, str)]
    unknown = unknown_subjects(session, ((row.level, row.subject) for row in taken))
    return ImportResult(imported, unchanged, tuple(problems), unknown)


def reference_states(
    session: Session, level: str, subjects: Iterable[str] | None = None
) -> dict[str, dict[Place, State | None]]:
    """Return by subject what the readers say; None where readers disagree: that is no truth.

    Args:
        session: any session.
        level: "report", "image" or "file".
        subjects: accession numbers, Study Instance UIDs or ids; None: all that have labels.
    """
    return {
        subject: {place: label.state for place, label in places.items()}
        for subject, places in reader_labels(session, level, subjects).items()
    }


def reader_labels(
    session: Session, level: str, subjects: Iterable[str] | None = None
) -> dict[str, dict[Place, ReaderLabel]]:
    """Return by subject and place what the readers say together; arguments as above."""
    rows: dict[str, dict[Place, list[ReferenceLabel]]] = {}
    for label in _labels(session, level, subjects):
        places = rows.setdefault(label.subject, {})
        places.setdefault((label.observation, label.site), []).append(label)
    return {
        subject: {place: _together(labels) for place, labels in places.items()}
        for subject, places in rows.items()
    }


def _together(labels: list[ReferenceLabel]) -> ReaderLabel:
    states = {State(each.state) for each in labels}
    return ReaderLabel(
        state=states.pop() if len(states) == 1 else None,
        severity=_only({each.severity for each in labels} - {""}),
        quotes=tuple(each.quote for each in labels if each.quote),
        ids=tuple(each.id for each in labels if each.id is not None),
        readers=tuple(sorted({each.reader for each in labels})),
        blinded=_only({each.blinded for each in labels}),
        sampling=_only({each.sampling for each in labels}),
    )


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""


def _labels(
    session: Session, level: str, subjects: Iterable[str] | None
) -> Iterator[ReferenceLabel]:
    query = (
        select(ReferenceLabel).where(ReferenceLabel.level == level).order_by(col(ReferenceLabel.id))
    )
    if subjects is None:
        yield from session.exec(query)
        return
    for batch in _batches(subjects):
        yield from session.exec(query.where(col(ReferenceLabel.subject).in_(batch)))


def _conflict(row: Row, known: dict[Key, tuple[str, str]]) -> str:
    same = known.get(row.key, row.said) == row.said
    if same:
        return ""
    return f"this reader gave another state or severity here before, at level {row.level}"


def _known(session: Session, subjects: Iterable[str]) -> dict[Key, tuple[str, str]]:
    known: dict[Key, tuple[str, str]] = {}
    for batch in _batches(subjects):
        for label in session.exec(
            select(ReferenceLabel).where(col(ReferenceLabel.subject).in_(batch))
        ):
            row = Row(*(getattr(label, name) for name in Row._fields))
            known[row.key] = row.said
    return known


def _batches(subjects: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    ordered = sorted(set(subjects))
    yield from (ordered[start : start + size] for start in range(0, len(ordered), size))


def _label(row: Row, digest: str, now: dt.datetime) -> ReferenceLabel:
    return ReferenceLabel(**row._asdict(), source_digest=digest, imported_at=now)

"""Reference labels: what human readers say, imported from a file and never overwritten."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlmodel import Session, col, select

from dicom_node.database import Clock
from labeling.errors import Permanent
from labeling.models import ReferenceLabel
from labeling.reference_subjects import unknown_subjects
from labeling.vocabulary import WHOLE, LabelSchema, State

COLUMNS = ("level", "subject", "observation", "site", "reader", "state")
"""The columns (CSV) or keys (JSONL) that a file of reference labels must have."""

OPTIONAL_COLUMNS = ("severity", "quote", "blinded", "sampling")
"""Columns that it may have; an empty value says nothing."""

READER_STATES = frozenset(State) - {State.FAILED}
"""The states a reader may give; only a machine fails to read."""

# What names a subject: an accession number (SH, HL7 EI), a UID (PS3.5 9.1), or a file's own id.
_SUBJECTS = {
    "report": re.compile(r"[^\s\\](?:[^\x00-\x1f\x7f\\]{0,62}[^\s\\])?"),
    "image": re.compile(r"(?=.{1,64}$)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*"),
    "file": re.compile(r"[^\s](?:[^\x00-\x1f\x7f]{0,254}[^\s])?"),
}
_SUBJECT_NAMES = {
    "report": "accession number",
    "image": "Study Instance UID",
    "file": "id of a file's report",
}
_READER = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_SAMPLING = re.compile(r"[^\x00-\x1f\x7f]{0,64}")
_BLINDED = frozenset({"", "yes", "no"})
_LONGEST_QUOTE = 2_000

Key = tuple[str, str, str, str, str]
Place = tuple[str, str]
"""Observation and site."""


class Row(NamedTuple):
    """What one reader says of one observation at one site of one subject."""

    level: str
    subject: str
    observation: str
    site: str
    reader: str
    state: str
    severity: str = ""
    quote: str = ""
    blinded: str = ""
    sampling: str = ""

    @property
    def key(self) -> Key:
        """What a reader may say one thing about."""
        return self.level, self.subject, self.observation, self.site, self.reader

    @property
    def said(self) -> tuple[str, str]:
        """What a reader cannot say otherwise later: state and severity."""
        return self.state, self.severity


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
        path: a file that ends in .csv or .jsonl, in UTF-8, with the columns ``COLUMNS``.
        clock: gives the time of import.
        schema: the observations and sites that are allowed.

    Raises:
        Permanent: the file cannot be read as a whole (unknown ending, not UTF-8, column missing).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Permanent(f"the file of reference labels cannot be read: {error.strerror}") from error
    rows = list(_parse(path.suffix.lower(), content))
    known = _known(session, {row.subject for _, row in rows if not isinstance(row, str)})
    digest, now = hashlib.sha256(content).hexdigest(), clock()
    imported = unchanged = 0
    problems: list[Problem] = []
    for line, row in rows:
        if isinstance(row, str):
            problems.append(Problem(line, row))
        elif reason := _fault(row, schema) or _conflict(row, known):
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


def _parse(suffix: str, content: bytes) -> Iterator[tuple[int, Row | str]]:
    """Yield line number and row, or line number and what is wrong with the line."""
    if suffix not in _READERS:
        raise Permanent("a file of reference labels ends in .csv or .jsonl")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Permanent("the file of reference labels is not in UTF-8") from error
    yield from _READERS[suffix](text)


def _read_csv(text: str) -> Iterator[tuple[int, Row | str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise Permanent(f"the file of reference labels lacks columns: {', '.join(missing)}")
        for record in reader:
            # A comma outside quotes moves values into other columns.
            cut = None in record
            yield reader.line_num, "more columns than the head names" if cut else _row(record)
    except csv.Error as error:
        line = reader.reader.line_num
        raise Permanent(f"line {line} of the reference labels is not CSV") from error


def _read_jsonl(text: str) -> Iterator[tuple[int, Row | str]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except (ValueError, RecursionError):
            yield line, "not a JSON object"
            continue
        yield line, _row(record) if isinstance(record, dict) else "not a JSON object"


_READERS = {".csv": _read_csv, ".jsonl": _read_jsonl}


def _row(record: dict[str, object]) -> Row | str:
    values: dict[str, str] = {}
    for name in (*COLUMNS, *OPTIONAL_COLUMNS):
        value = record.get(name)
        if name in OPTIONAL_COLUMNS and value is None:
            continue
        if not isinstance(value, str):
            return "a column is missing or not text"
        values[name] = value.strip()
    return Row(**values)


def _fault(row: Row, schema: LabelSchema) -> str:
    """Return why a row cannot be taken, or an empty text; values are not repeated."""
    level, subject, observation, site = row[:4]
    sites = {each.id: each.sites for each in schema.observations}
    if level not in _SUBJECTS:
        return f"level is none of {', '.join(_SUBJECTS)}"
    if not _SUBJECTS[level].fullmatch(subject):
        return f"subject is no {_SUBJECT_NAMES[level]}, which level {level} needs"
    if observation not in sites:
        return f"observation is not in schema {schema.name}"
    if site != WHOLE and site not in sites[observation]:
        return "site is not one of the observation's sites"
    if not _READER.fullmatch(row.reader):
        return "reader is missing, too long or not printable"
    if row.state not in READER_STATES:
        return "state is not one that a reader gives"
    return _optional_fault(row, schema)


def _optional_fault(row: Row, schema: LabelSchema) -> str:
    scale = {each.id for each in schema.observation(row.observation).severities}
    if row.severity and row.severity not in scale:
        return "severity is not one of the observation's"
    if len(row.quote) > _LONGEST_QUOTE:
        return "quote is too long"
    if row.blinded not in _BLINDED:
        return "blinded is neither yes nor no"
    return "" if _SAMPLING.fullmatch(row.sampling) else "sampling is too long or not printable"


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


def read_reader_states(path: Path, schema: LabelSchema) -> dict[str, dict[Place, State | None]]:
    """Return by subject what the readers of a file say of reports, without a node.

    Args:
        path: a file as ``import_reference_labels`` takes it.
        schema: the observations and sites that are allowed.

    Raises:
        Permanent: the file cannot be read, or a line cannot be taken; it is named, not quoted.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Permanent(f"the file of reference labels cannot be read: {error.strerror}") from error
    said: dict[str, dict[Place, set[State]]] = {}
    for line, row in _parse(path.suffix.lower(), content):
        reason = row if isinstance(row, str) else _fault(row, schema)
        if isinstance(row, str) or reason:
            raise Permanent(f"{path.name}, line {line}: {reason}")
        if row.level == "image":
            raise Permanent(f"{path.name}, line {line}: what images show is not what reports say")
        places = said.setdefault(row.subject, {})
        places.setdefault((row.observation, row.site), set()).add(State(row.state))
    return {
        subject: {place: each.pop() if len(each) == 1 else None for place, each in places.items()}
        for subject, places in said.items()
    }

"""Reference labels: what human readers say, imported from a file and never overwritten."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlmodel import Session, col, select

from dicom_node.database import Clock
from labeling.errors import Permanent
from labeling.models import ReferenceLabel
from labeling.vocabulary import WHOLE, LabelSchema, State

COLUMNS = ("level", "subject", "observation", "site", "reader", "state")
"""The columns (CSV) or keys (JSONL) of a file of reference labels."""

READER_STATES = frozenset(State) - {State.FAILED}
"""The states a reader may give; only a machine fails to read."""

# What names a subject: an accession number (SH, HL7 EI) or a UID (PS3.5 9.1).
_SUBJECTS = {
    "report": re.compile(r"[^\s\\](?:[^\x00-\x1f\x7f\\]{0,62}[^\s\\])?"),
    "image": re.compile(r"(?=.{1,64}$)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*"),
}
_SUBJECT_NAMES = {"report": "accession number", "image": "Study Instance UID"}
_READER = re.compile(r"[^\x00-\x1f\x7f]{1,64}")

Row = tuple[str, str, str, str, str, str]
Place = tuple[str, str]
"""Observation and site."""


class Problem(NamedTuple):
    """A row that was not imported: its line in the file (from 1) and why, without its values."""

    line: int
    reason: str


@dataclass(frozen=True)
class ImportResult:
    """What an import did: rows added, rows already known with the same state, rows refused."""

    imported: int
    unchanged: int
    problems: tuple[Problem, ...]


def import_reference_labels(
    session: Session, path: Path, clock: Clock, schema: LabelSchema
) -> ImportResult:
    """Import the reference labels of a CSV or JSONL file; importing it again changes nothing.

    A row is one state that one reader gave one observation at one site. ``subject`` is the
    accession number where ``level`` is "report", the Study Instance UID where it is "image".
    A row whose key is known with another state is a problem, never an overwrite.

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
    known = _known(session, {row[1] for _, row in rows if not isinstance(row, str)})
    digest, now = hashlib.sha256(content).hexdigest(), clock()
    imported = unchanged = 0
    problems: list[Problem] = []
    for line, row in rows:
        if isinstance(row, str):
            problems.append(Problem(line, row))
        elif reason := _fault(row, schema) or _conflict(row, known):
            problems.append(Problem(line, reason))
        elif row[:5] in known:
            unchanged += 1
        else:
            known[row[:5]] = row[5]
            session.add(_label(row, digest, now))
            imported += 1
    session.flush()
    return ImportResult(imported, unchanged, tuple(problems))


def reference_states(
    session: Session, level: str, subjects: Iterable[str] | None = None
) -> dict[str, dict[Place, State | None]]:
    """Return by subject what the readers say; None where readers disagree: that is no truth.

    Args:
        session: any session.
        level: "report" or "image".
        subjects: accession numbers or Study Instance UIDs; None: all that have labels.
    """
    found: dict[str, dict[Place, State | None]] = {}
    for subject, observation, site, state in _states(session, level, subjects):
        places = found.setdefault(subject, {})
        place, given = (observation, site), State(state)
        places[place] = given if places.get(place, given) == given else None
    return found


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
            yield reader.line_num, _row(record)
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
    values = [record.get(name) for name in COLUMNS]
    texts = [value.strip() for value in values if isinstance(value, str)]
    if len(texts) < len(COLUMNS):
        return "a column is missing or not text"
    level, subject, observation, site, reader, state = texts
    return level, subject, observation, site, reader, state


def _fault(row: Row, schema: LabelSchema) -> str:
    """Return why a row cannot be taken, or an empty text; values are not repeated."""
    level, subject, observation, site, reader, state = row
    sites = {each.id: each.sites for each in schema.observations}
    if level not in _SUBJECTS:
        return "level is neither report nor image"
    if not _SUBJECTS[level].fullmatch(subject):
        return f"subject is no {_SUBJECT_NAMES[level]}"
    if observation not in sites:
        return f"observation is not in schema {schema.name}"
    if site != WHOLE and site not in sites[observation]:
        return "site is not one of the observation's sites"
    if not _READER.fullmatch(reader):
        return "reader is missing, too long or not printable"
    return "" if state in READER_STATES else "state is not one that a reader gives"


def _states(
    session: Session, level: str, subjects: Iterable[str] | None
) -> Iterator[tuple[str, str, str, str]]:
    query = (
        select(
            ReferenceLabel.subject,
            ReferenceLabel.observation,
            ReferenceLabel.site,
            ReferenceLabel.state,
        )
        .where(ReferenceLabel.level == level)
        .order_by(col(ReferenceLabel.id))
    )
    if subjects is None:
        yield from session.exec(query)
        return
    for batch in _batches(subjects):
        yield from session.exec(query.where(col(ReferenceLabel.subject).in_(batch)))


def _conflict(row: Row, known: dict[tuple[str, ...], str]) -> str:
    same = known.get(row[:5], row[5]) == row[5]
    return "" if same else "this reader gave another state here before"


def _known(session: Session, subjects: Iterable[str]) -> dict[tuple[str, ...], str]:
    known: dict[tuple[str, ...], str] = {}
    for batch in _batches(subjects):
        for label in session.exec(
            select(ReferenceLabel).where(col(ReferenceLabel.subject).in_(batch))
        ):
            known[tuple(getattr(label, name) for name in COLUMNS[:5])] = label.state
    return known


def _batches(subjects: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    ordered = sorted(set(subjects))
    yield from (ordered[start : start + size] for start in range(0, len(ordered), size))


def _label(row: Row, digest: str, now: dt.datetime) -> ReferenceLabel:
    level, subject, observation, site, reader, state = row
    return ReferenceLabel(
        level=level,
        subject=subject,
        observation=observation,
        site=site,
        reader=reader,
        state=state,
        source_digest=digest,
        imported_at=now,
    )

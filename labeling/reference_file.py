"""Files of reference labels, CSV or JSONL: columns, rows, and what is wrong with them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from labeling.errors import Permanent
from labeling.vocabulary import WHOLE, LabelSchema, State

COLUMNS = ("level", "subject", "observation", "site", "reader", "state")
"""The columns (CSV) or keys (JSONL) that a file of reference labels must have."""

OPTIONAL_COLUMNS = ("severity", "quote", "blinded", "sampling", "role")
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

ADJUDICATOR = "adjudicator"
"""The role of a person who settles what readers say differently; the others are readers."""

_ROLES = {"": "", "reader": "", ADJUDICATOR: ADJUDICATOR}

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
    role: str = ""

    @property
    def key(self) -> Key:
        """What a reader may say one thing about."""
        return self.level, self.subject, self.observation, self.site, self.reader

    @property
    def said(self) -> tuple[str, str]:
        """What a reader cannot say otherwise later: state and severity."""
        return self.state, self.severity


def content_of(path: Path) -> bytes:
    """Return the bytes of a file of reference labels.

    Raises:
        Permanent: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise Permanent(f"the file of reference labels cannot be read: {error.strerror}") from error


def rows_of(suffix: str, content: bytes) -> Iterator[tuple[int, Row | str]]:
    """Yield line number and row, or line number and what is wrong with the line.

    Args:
        suffix: ".csv" or ".jsonl".
        content: of the file.

    Raises:
        Permanent: another ending, not UTF-8, a column is missing, or it is no CSV.
    """
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
    row = Row(**values)
    return row._replace(role=_ROLES.get(row.role, row.role))


def names_subject(level: str, subject: str) -> bool:
    """Tell whether a text can name a subject of a level in a file of reference labels."""
    return _SUBJECTS[level].fullmatch(subject) is not None


def fault_of(row: Row, schema: LabelSchema) -> str:
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
    if row.role not in _ROLES:
        return f"role is neither reader nor {ADJUDICATOR}"
    return "" if _SAMPLING.fullmatch(row.sampling) else "sampling is too long or not printable"


class Said(Protocol):
    """What a reader or an adjudicator says of one place."""

    @property
    def state(self) -> str:
        """The state."""

    @property
    def role(self) -> str:
        """``ADJUDICATOR``, or empty."""


_Said = TypeVar("_Said", bound=Said)


def settling(labels: Sequence[_Said]) -> list[_Said]:
    """Return which labels of one place decide: an adjudicator's where there are some, else all."""
    return [each for each in labels if each.role == ADJUDICATOR] or list(labels)


def read_reader_states(path: Path, schema: LabelSchema) -> dict[str, dict[Place, State | None]]:
    """Return by subject what the readers of a file say of reports, without a node.

    Args:
        path: a file as ``labeling.reference.import_reference_labels`` takes it.
        schema: the observations and sites that are allowed.

    Raises:
        Permanent: the file cannot be read, or a line cannot be taken; it is named, not quoted.
    """
    said: dict[str, dict[Place, list[Row]]] = {}
    for line, row in rows_of(path.suffix.lower(), content_of(path)):
        reason = row if isinstance(row, str) else fault_of(row, schema)
        if isinstance(row, str) or reason:
            raise Permanent(f"{path.name}, line {line}: {reason}")
        if row.level == "image":
            raise Permanent(f"{path.name}, line {line}: what images show is not what reports say")
        places = said.setdefault(row.subject, {})
        places.setdefault((row.observation, row.site), []).append(row)
    return {
        subject: {place: agreed_state(rows) for place, rows in places.items()}
        for subject, places in said.items()
    }


def agreed_state(labels: Sequence[_Said]) -> State | None:
    """Return the state of those labels of one place that decide; None where they differ."""
    states = {each.state for each in settling(labels)}
    return State(states.pop()) if len(states) == 1 else None

"""What is true of the reports of a file: readers' labels, or what generated reports say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labeling.errors import Permanent
from labeling.evaluation.cases import Reference
from labeling.reference_file import (
    Place,
    Row,
    agreed_state,
    content_of,
    fault_of,
    rows_of,
    settling,
)
from labeling.synthesis.files import READER as GENERATED
from labeling.vocabulary import WHOLE, LabelSchema, State


class InvalidTruth(Permanent):
    """A file of known labels cannot be used; names file and line, never a report's words."""


@dataclass(frozen=True)
class TruthOf:
    """What is known of one report: of whom it is, and by place what is true of it."""

    patient: str
    references: Mapping[Place, Reference]


@dataclass(frozen=True)
class FileTruth:
    """What a file says of reports, and who says it.

    Args:
        name: of the file.
        reports: by id.
        readers: names; of generated reports none.
        disputed: places on which readers disagree: nothing is known of them.
        names_patients: whether the file tells whose the reports are; else each is taken for a
            patient of its own.
        generated: nobody wrote the reports.
        texts_sha256: of the file, where it holds the reports themselves; else empty.
    """

    name: str
    reports: Mapping[str, TruthOf]
    readers: tuple[str, ...] = ()
    disputed: int = 0
    names_patients: bool = False
    generated: bool = False
    texts_sha256: str = ""


def read_truth(path: Path, schema: LabelSchema) -> FileTruth:
    """Read reference labels (CSV or JSON Lines), or a label source with whole reports a line.

    Args:
        path: as ``radloop reference import`` takes it, subjects being ids of reports; or as
            ``radloop labeler generate --output`` writes it.
        schema: of the observations and sites.

    Raises:
        InvalidTruth: a line cannot be taken.
        Permanent: the file cannot be read as a whole.
    """
    content = content_of(path)
    if path.suffix.lower() == ".jsonl" and _is_label_source(content):
        return _of_label_source(path.name, content, schema)
    return _of_readers(path, content, schema)


def _is_label_source(content: bytes) -> bool:
    """Tell whether the first line has labels of a whole report, not one label."""
    first = next((line for line in content.split(b"\n") if line.strip()), b"{}")
    try:
        row = json.loads(first)
    except ValueError:
        return False
    return isinstance(row, dict) and "labels" in row


def _of_readers(path: Path, content: bytes, schema: LabelSchema) -> FileTruth:
    said: dict[str, dict[Place, list[Row]]] = {}
    for line, row in rows_of(path.suffix.lower(), content):
        where = f"{path.name}, line {line}"
        reason = row if isinstance(row, str) else fault_of(row, schema)
        if isinstance(row, str) or reason:
            raise InvalidTruth(f"{where}: {reason}")
        if row.level == "image":
            raise InvalidTruth(f"{where}: what images show is not what reports say")
        said.setdefault(row.subject, {}).setdefault((row.observation, row.site), []).append(row)
    reports: dict[str, TruthOf] = {}
    for subject, places in said.items():
        agreed = {
            place: settling(rows)
            for place, rows in places.items()
            if agreed_state(rows) is not None
        }
        references = {place: _together(rows) for place, rows in agreed.items()}
        reports[subject] = TruthOf(subject, references)
    by_place = [rows for places in said.values() for rows in places.values()]
    readers = tuple(sorted({row.reader for rows in by_place for row in rows}))
    disputed = sum(agreed_state(rows) is None for rows in by_place)
    return FileTruth(path.name, reports, readers, disputed, generated=readers == (GENERATED,))


def _together(rows: list[Row]) -> Reference:
    severities = {each.severity for each in rows} - {""}
    return Reference(State(rows[0].state), severities.pop() if len(severities) == 1 else "")


def _of_label_source(name: str, content: bytes, schema: LabelSchema) -> FileTruth:
    reports: dict[str, TruthOf] = {}
    named = generated = False
    for line, text in enumerate(content.split(b"\n"), start=1):
        if not text.strip():
            continue
        where = f"{name}, line {line}"
        try:
            row = json.loads(text)
            identifier, labels = str(row["id"]), row["labels"]
            patient = str(row.get("patient") or "")
            references = dict(_references(labels, schema))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidTruth(f"{where}: not a report with labels of {schema.name!r}") from error
        if identifier in reports:
            raise InvalidTruth(f"{where}: the id stands twice")
        if strangers := labels.keys() - {each.id for each in schema.observations}:
            raise InvalidTruth(
                f"{where}: {len(strangers)} observations are not in schema {schema.name!r}"
            )
        named = named or patient not in ("", identifier)
        generated = generated or "split" in row
        reports[identifier] = TruthOf(patient or identifier, references)
    return FileTruth(
        name,
        reports,
        names_patients=named,
        generated=generated,
        texts_sha256=hashlib.sha256(content).hexdigest(),
    )


def _references(
    labels: Mapping[str, Any], schema: LabelSchema
) -> Iterator[tuple[Place, Reference]]:
    for observation in schema.observations:
        said = labels.get(observation.id)
        if said is None:
            continue
        levels = said.get("levels") or {} if isinstance(said, dict) else {}
        if strangers := levels.keys() - set(observation.sites):
            raise KeyError(min(strangers))
        for site, value in ((WHOLE, said), *levels.items()):
            reference = _reference(value)
            # A machine that failed says nothing; a person does not fail.
            if reference.state is not State.FAILED:
                yield (observation.id, site), reference


def _reference(said: Any) -> Reference:
    if not isinstance(said, dict):
        return Reference(State(said))
    spans = tuple((int(each["start"]), int(each["end"])) for each in said.get("evidence", ()))
    return Reference(State(said["state"]), str(said.get("severity", "")), spans)

"""Reads files of labels back as ``radloop label --output`` wrote them, with what made them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labeling.errors import Permanent
from labeling.labeler import LabelResult
from labeling.vocabulary import WHOLE, LabelSchema, State

RUN_SUFFIX = ".run.json"
_RUN_KEYS = ("labeler", "schema_digest", "model_digest", "question_digest", "calibration_digest")


class InvalidLabels(Permanent):
    """A file of labels cannot be used; the message names file and line, never a report's words."""


@dataclass(frozen=True)
class FileLabels:
    """The labels of a file.

    Args:
        name: of the file.
        results: by id of the report, one result for each observation, whole and at each site.
        run: what read the reports, as noted beside the file; empty: nobody noted it.
    """

    name: str
    results: Mapping[str, tuple[LabelResult, ...]]
    run: Mapping[str, str] = field(default_factory=dict)

    @property
    def labeler(self) -> str:
        """Name of the labeler; empty where nobody noted it."""
        return self.run.get("labeler", "")

    @property
    def calibration_digest(self) -> str:
        """Of the thresholds that decided the states; empty: none did, or nobody noted it."""
        return self.run.get("calibration_digest", "")


def read_labels(path: Path, schema: LabelSchema) -> FileLabels:
    """Read a file of labels.

    Args:
        path: JSON Lines as ``labeling.report_file.labels_of`` makes them.
        schema: with which they must have been made.

    Raises:
        InvalidLabels: unreadable, a line is none, an id stands twice, or another schema's labels.
    """
    run = run_of(path)
    made_with = run.get("schema_digest", schema.digest)
    if made_with != schema.digest:
        other = run.get("schema") or "another"
        raise InvalidLabels(
            f"{path.name}: labels of schema {other!r} ({made_with[:12]}), not of {schema.name!r} "
            f"as it is now ({schema.digest[:12]}); name their schema, or label again"
        )
    results: dict[str, tuple[LabelResult, ...]] = {}
    for number, line in _lines(path):
        where = f"{path.name}, line {number}"
        identifier, found = _row(line, where, schema)
        if identifier in results:
            raise InvalidLabels(f"{where}: the id stands twice")
        results[identifier] = found
    return FileLabels(path.name, results, run)


def run_of(labels: Path) -> dict[str, str]:
    """Return what read the reports of a file of labels, as ``radloop label`` noted beside it.

    Raises:
        InvalidLabels: the note is something else.
    """
    beside = labels.with_name(f"{labels.name}{RUN_SUFFIX}")
    if not beside.is_file():
        return {}
    try:
        noted = json.loads(beside.read_bytes())
        return {str(name): str(value) for name, value in noted.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidLabels(f"{beside.name}: not what `radloop label` notes of a run") from error


def fitted_for(labels: FileLabels) -> dict[str, str]:
    """Return for which labeler, model, questions and schema thresholds from this file hold.

    Raises:
        InvalidLabels: nobody noted what read the reports.
    """
    if missing := [name for name in _RUN_KEYS if name not in labels.run]:
        raise InvalidLabels(
            f"{labels.name}{RUN_SUFFIX} does not say what read the reports ({missing[0]} is "
            "missing): thresholds would hold for nobody knows what"
        )
    return {name: labels.run[name] for name in _RUN_KEYS if name != "calibration_digest"}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidLabels(f"{path.name}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidLabels(f"{path.name}: not in UTF-8") from error
    # An id may hold what Python, too, takes for the end of a line.
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield number, line


def _row(line: str, where: str, schema: LabelSchema) -> tuple[str, tuple[LabelResult, ...]]:
    try:
        row = json.loads(line)
        identifier, labels = str(row["id"]), dict(row["labels"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidLabels(f"{where}: not a report with labels") from error
    if labels.keys() != {each.id for each in schema.observations}:
        raise InvalidLabels(f"{where}: its observations are not those of schema {schema.name!r}")
    found: list[LabelResult] = []
    for each in schema.observations:
        label = labels[each.id]
        levels = label.get("levels", {}) if isinstance(label, dict) else None
        if not isinstance(levels, dict) or levels.keys() != set(each.sites):
            raise InvalidLabels(f"{where}: the sites of {each.id} are not those of the schema")
        found += [_result(each.id, WHOLE, label, where)]
        found += [_result(each.id, site, levels[site], where) for site in each.sites]
    return identifier, tuple(found)


def _result(observation: str, site: str, said: Any, where: str) -> LabelResult:
    try:
        return LabelResult(
            observation,
            site,
            State(said["state"]),
            probability=_number(said.get("probability")),
            margin=_number(said.get("margin")),
            mention_margin=_number(said.get("mention_margin")),
            evidence=tuple((int(e["start"]), int(e["end"])) for e in said.get("evidence", ())),
            severity=str(said.get("severity", "")),
            locations=tuple(map(str, said.get("locations", ()))),
            detail=str(said.get("detail", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidLabels(f"{where}: not a label of {observation}") from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)

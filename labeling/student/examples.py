"""Reports with labels that a student learns from, by other labelers, people or a simulator.

A label source is a JSONL file, one report a line::

    {"id": "7", "patient": "p3", "text": "...", "labels": {"stenosis": {
        "state": "present", "levels": {"L4-L5": "present"}, "evidence": [{"start": 3, "end": 40}]}}}

That is what ``radloop label --output`` writes, with the text; where it is missing, the text comes
from a file of reports (``labeling.report_file``) by ``id``. A state may stand alone
(``"stenosis": "absent"``). Besides the states, ``not_present`` says only that the label is not
"present" (a binary reference). What failed or is not there teaches nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labeling.errors import Permanent
from labeling.vocabulary import WHOLE, LabelSchema, State

Place = tuple[str, str]
"""Observation and site."""

NOT_PRESENT = "not_present"
_READ = (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.NOT_MENTIONED)
_ALLOWED: Mapping[str, frozenset[State]] = {
    **{str(state): frozenset({state}) for state in _READ},
    NOT_PRESENT: frozenset({State.UNCERTAIN, State.ABSENT, State.NOT_MENTIONED}),
    # "Unchanged" says that it was spoken of, not how it is.
    str(State.STABLE_UNKNOWN): frozenset({State.PRESENT, State.UNCERTAIN, State.ABSENT}),
    str(State.FAILED): frozenset(_READ),
}


class InvalidExamples(Permanent):
    """A file of labels cannot be learned from; the message names file and line."""


@dataclass(frozen=True)
class Example:
    """A report and what is known of its labels.

    Args:
        patient: whose report it is; a patient's reports are never parted.
        text: as stored.
        allowed: by place, the states that the label may have; a place that is missing is unknown.
        evidence: by place, ranges of the text that carry the label.
        id: of its row in the label source, by which readers' labels find it; empty: none.
    """

    patient: str
    text: str
    allowed: Mapping[Place, frozenset[State]]
    evidence: Mapping[Place, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    id: str = ""


def allowed_of(said: str) -> frozenset[State]:
    """Return the states that a word of a label source allows; KeyError for another word."""
    return _ALLOWED[said]


def read_examples(
    labels: Path, schema: LabelSchema, reports: Mapping[str, str] | None = None
) -> list[Example]:
    """Read a label source.

    Args:
        labels: the JSONL file.
        schema: observations it does not have are passed over.
        reports: texts by id, for lines without one.

    Raises:
        InvalidExamples: unreadable, or a line that is none; never quotes a report.
    """
    try:
        with labels.open(encoding="utf-8") as file:
            return [
                _example(line, f"{labels.name}, line {number}", schema, reports or {})
                for number, line in enumerate(file, 1)
                if line.strip()
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidExamples(f"{labels.name}: cannot be read as UTF-8") from error


def _example(line: str, where: str, schema: LabelSchema, reports: Mapping[str, str]) -> Example:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InvalidExamples(f"{where}: not a report with labels") from error
    return example_of(row, where, schema, reports)


def example_of(
    row: Any, where: str, schema: LabelSchema, reports: Mapping[str, str] | None = None
) -> Example:
    """Return the report and labels of one object of a label source.

    Args:
        row: the object; where it holds no text, ``reports`` does, by its id.
        where: names it in an error.
        schema, reports: as for ``read_examples``.

    Raises:
        InvalidExamples: it is something else; never quotes a report.
    """
    try:
        identifier = str(row.get("id", ""))
        text = str(row.get("text") or (reports or {}).get(identifier, ""))
        patient = str(row.get("patient") or identifier or _digest(text))
        allowed: dict[Place, frozenset[State]] = {}
        evidence: dict[Place, tuple[tuple[int, int], ...]] = {}
        for observation in schema.observations:
            said = row["labels"].get(observation.id)
            for site, value in _said(said, observation.sites):
                allowed[observation.id, site] = _ALLOWED[_state(value)]
                if spans := _spans(value, len(text)):
                    evidence[observation.id, site] = spans
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidExamples(f"{where}: not a report with labels") from error
    if not text.strip():
        raise InvalidExamples(f"{where}: neither it nor the reports hold a text for its id")
    return Example(patient, text, allowed, evidence, identifier)


def _said(said: Any, sites: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if said is None:
        return
    yield WHOLE, said
    if isinstance(said, dict):
        levels = said.get("levels") or {}
        yield from ((site, levels[site]) for site in sites if site in levels)


def _state(value: Any) -> str:
    return str(value["state"] if isinstance(value, dict) else value)


def _spans(value: Any, length: int) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, dict):
        return ()
    spans = tuple((int(each["start"]), int(each["end"])) for each in value.get("evidence") or ())
    if any(not 0 <= start < end <= length for start, end in spans):
        raise ValueError("evidence outside the text")
    return spans


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parted(
    examples: Iterable[Example], share: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Part examples by patient: to learn from, and to validate with (about ``share`` of them).

    Of two patients or more, one at least validates.
    """
    kept = list(examples)
    drawn = {each.patient: _draw(each.patient, seed) for each in kept}
    validating = {patient for patient, number in drawn.items() if number < share}
    if not validating and len(drawn) > 1:
        validating = {min(drawn, key=lambda patient: drawn[patient])}
    learn = [each for each in kept if each.patient not in validating]
    return learn, [each for each in kept if each.patient in validating]


def _draw(patient: str, seed: int) -> float:
    """Return a number from 0 to 1 that patient and seed decide."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{patient}".encode()).digest()[:8], "big") / 2**64

"""Generated reports as files: label sources to learn from, and reference labels to judge by."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from labeling.reference_file import COLUMNS, OPTIONAL_COLUMNS
from labeling.synthesis.generated import GeneratedReport, Place
from labeling.vocabulary import WHOLE, LabelSchema

READER = "generated"
"""Who says so, in reference labels: no person read a generated report."""


def as_row(report: GeneratedReport, schema: LabelSchema) -> dict[str, Any]:
    """Return a report with its labels as a line of a label source.

    The format is that of ``labeling.student.examples`` and of ``radloop label --output``, with
    ``text``, ``split`` and ``style`` besides.
    """
    labels: dict[str, dict[str, Any]] = {}
    for observation in schema.observations:
        label = _said(report, (observation.id, WHOLE))
        label["levels"] = {
            site: _said(report, (observation.id, site)) for site in observation.sites
        }
        labels[observation.id] = label
    return {
        "id": report.id,
        "patient": report.id,
        "text": report.text,
        "split": report.split,
        "style": report.style,
        "labels": labels,
    }


def _said(report: GeneratedReport, place: Place) -> dict[str, Any]:
    said: dict[str, Any] = {
        "state": str(report.states[place]),
        "evidence": [{"start": a, "end": b} for a, b in report.evidence.get(place, ())],
    }
    if place in report.severities:
        said["severity"] = report.severities[place]
    if report.locations.get(place):
        said["locations"] = list(report.locations[place])
    return said


def label_source(reports: Iterable[GeneratedReport], schema: LabelSchema) -> bytes:
    """Return the reports as JSON Lines."""
    lines = (json.dumps(as_row(each, schema), ensure_ascii=False) for each in reports)
    return "".join(f"{line}\n" for line in lines).encode()


def reference_file(reports: Iterable[GeneratedReport]) -> bytes:
    """Return what the texts say as CSV of reference labels (``labeling.reference``)."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*COLUMNS, *OPTIONAL_COLUMNS))
    for each in reports:
        table.writerows(_references(each))
    return text.getvalue().encode()


def _references(report: GeneratedReport) -> Iterator[tuple[str, ...]]:
    for place, state in report.states.items():
        row = {
            "level": "file",
            "subject": report.id,
            "observation": place[0],
            "site": place[1],
            "reader": READER,
            "state": str(state),
            "severity": report.severities.get(place, ""),
            "sampling": f"{READER}, {report.split} phrasings",
        }
        yield tuple(row.get(column, "") for column in (*COLUMNS, *OPTIONAL_COLUMNS))

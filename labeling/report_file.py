"""Reports in a file and labels in a file: the form in which labelers are used without a node."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from labeling.errors import Permanent
from labeling.labeler import LabelResult
from labeling.vocabulary import WHOLE

COLUMNS = ("id", "report")
_LONGEST_FIELD = 64 * 1024 * 1024
NOT_DECODED = "\ufffd"


class InvalidReportFile(Permanent):
    """A file of reports cannot be read; the message names the line, never a report's words."""


def read_reports(path: Path, encoding: str = "utf-8-sig") -> list[tuple[str, str]]:
    """Return (id, report) in the order of a CSV or JSONL file with ``id`` and ``report``.

    In JSONL the report may be called ``text``, as in label sources; their labels are not looked at.
    Bytes that the encoding does not know become U+FFFD, and the labeler fails such a report.

    Raises:
        InvalidReportFile: another ending, a column is missing or stands twice, a row has more or
            fewer, an id is empty or stands twice, or there is no report.
    """
    try:
        content = path.read_bytes().decode(encoding, errors="replace")
    except OSError as error:
        raise InvalidReportFile(f"{path.name}: cannot be read ({error.strerror})") from error
    except LookupError as error:
        raise InvalidReportFile(f"there is no encoding {encoding!r}") from error
    reader = {".csv": _csv_rows, ".jsonl": _jsonl_rows}.get(path.suffix.lower())
    if reader is None:
        raise InvalidReportFile(f"{path.name}: a file of reports ends in .csv or .jsonl")
    reports: dict[str, str] = {}
    for line, identifier, text in reader(content, path.name):
        if not identifier:
            raise InvalidReportFile(f"{path.name}, line {line}: the id is empty")
        if identifier in reports:
            raise InvalidReportFile(f"{path.name}, line {line}: the id stands twice")
        reports[identifier] = text
    if not reports:
        raise InvalidReportFile(f"{path.name}: holds no report")
    return list(reports.items())


def _csv_rows(content: str, name: str) -> Iterator[tuple[int, str, str]]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
        names = [each.strip() for each in reader.fieldnames or ()]
        if missing := [each for each in COLUMNS if each not in names]:
            if not names:
                raise InvalidReportFile(f"{name}: is empty")
            found = ", ".join(names[:20])
            parted = " (columns are parted by commas)" if len(names) == 1 and ";" in found else ""
            raise InvalidReportFile(
                f"{name}: column {missing[0]!r} is missing; there are: {found}{parted}"
            )
        if twice := [each for each in COLUMNS if names.count(each) > 1]:
            raise InvalidReportFile(f"{name}: column {twice[0]!r} stands twice")
        reader.fieldnames = names
        for row in reader:
            # A comma outside quotes cuts a report short, and what is left may say the opposite.
            if len(row) != len(set(names)) or None in row.values():
                raise InvalidReportFile(
                    f"{name}, line {reader.line_num}: {len(names)} columns are expected; "
                    "a report with a comma or a line break stands in quotes"
                )
            yield reader.line_num, row["id"].strip(), row["report"]
    except csv.Error as error:
        raise InvalidReportFile(f"{name}: line {reader.line_num + 1} is not CSV") from error
    finally:
        csv.field_size_limit(before)


def _jsonl_rows(content: str, name: str) -> Iterator[tuple[int, str, str]]:
    for line, text in enumerate(content.split("\n"), start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
            identifier = record["id"]
            report = record["report"] if "report" in record else record["text"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidReportFile(
                f"{name}, line {line}: not a JSON object with id and report"
            ) from error
        if isinstance(identifier, bool) or not isinstance(identifier, str | int):
            raise InvalidReportFile(f"{name}, line {line}: the id is neither text nor a number")
        if not isinstance(report, str):
            raise InvalidReportFile(f"{name}, line {line}: the report is not text")
        yield line, str(identifier).strip(), report


def labels_of(identifier: str, results: Iterable[LabelResult]) -> dict[str, Any]:
    """Return one report's labels as an object for JSON Lines.

    ``{"id", "labels": {observation: {"state", "probability", "margin", "levels", "evidence"}}}``;
    ``levels`` has the same per site. ``evidence`` gives half-open ranges of characters (Unicode
    code points) of the report. ``mention_margin``, ``severity``, ``locations`` and ``detail`` stand
    where they say something.
    """
    labels: dict[str, dict[str, Any]] = {}
    for each in results:
        label = labels.setdefault(each.observation, {})
        if each.site == WHOLE:
            label.update(_said(each))
        else:
            label.setdefault("levels", {})[each.site] = _said(each)
    for label in labels.values():
        label.setdefault("levels", {})
    return {"id": identifier, "labels": labels}


def _said(result: LabelResult) -> dict[str, Any]:
    said: dict[str, Any] = {
        "state": str(result.state),
        "probability": result.probability,
        "margin": result.margin,
        "evidence": [{"start": start, "end": end} for start, end in result.evidence],
    }
    if result.mention_margin is not None:
        said["mention_margin"] = result.mention_margin
    optional = {
        "severity": result.severity,
        "locations": list(result.locations),
        "detail": result.detail,
    }
    return said | {name: value for name, value in optional.items() if value}


def undecodable(text: str) -> str:
    """Return why a report's text cannot be trusted, or an empty text."""
    return "encoding: the report holds bytes of another encoding" if NOT_DECODED in text else ""


def labelled_ids(lines: Sequence[str]) -> list[str]:
    """Return the ids of the whole lines of a file of labels."""
    return [str(json.loads(line)["id"]) for line in lines]

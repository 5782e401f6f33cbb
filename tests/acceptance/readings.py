"""Lets labelers read real reports, and keeps what they said, so that a stopped run goes on.

What is kept (``Readings``) is a file of JSON lines for one labeler's model, questions and schema:
report id, seconds, results. Results hold offsets and no words of a report.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labeling.labeler import Labeler, LabelerSetup, LabelResult, checked, result_of, row_of
from labeling.llm.model_store import ModelStore
from labeling.schema_file import schema_of
from labeling.settings import LabelingSettings
from labeling.thresholds import UNCALIBRATED, Thresholds
from labeling.vocabulary import LabelSchema
from plugin.extensions import load

CACHE = Path(
    os.environ.get("RADLOOP_READINGS", Path(tempfile.gettempdir()) / "radloop-acceptance-readings")
)
"""Where readings are kept between runs; RADLOOP_READINGS names another folder."""


@dataclass(frozen=True)
class Reader:
    """A labeler as a table names it, with the settings that it reads under.

    Without ``evidence``, margins are all that is wanted of one that would seek it by reading again.
    """

    title: str
    labeler: str
    settings: LabelingSettings
    model: Path | None = None  # None: the embedded one
    evidence: bool = True
    thresholds: Thresholds = UNCALIBRATED  # they tell for which margins evidence is sought


@dataclass(frozen=True)
class Reading:
    """What a labeler said of one report, and its share of the batch's wall-clock time."""

    results: tuple[LabelResult, ...]
    seconds: float


def stored_model(settings: LabelingSettings, model: Path | None, store: ModelStore) -> str:
    """Put the language model into the store where it is not there yet; return its name."""
    if model is None:
        return store.add_embedded().name
    name = model.stem.lower().replace(" ", "-")
    if name not in store.names():
        store.add(model, name)
    return name


def read_reports(
    reader: Reader, texts: Mapping[str, str], *, batch: int = 8, cache: Path = CACHE
) -> tuple[dict[str, Reading], LabelSchema, dict[str, str]]:
    """Return what the labeler says of each report, reading only those that are not kept yet.

    Returns:
        readings by report id, the schema, and the digests of model and questions.
    """
    store = ModelStore(cache / "models")
    settings = reader.settings
    if reader.labeler in {"token_scores", "template", "tree"}:
        name = stored_model(settings, reader.model, store)
        named = settings.language_model.model_copy(update={"name": name})
        settings = settings.model_copy(update={"language_model": named})
    schema = schema_of(settings)
    labeler: Labeler = load("labelers", reader.labeler)(
        LabelerSetup(schema, settings, store, reader.thresholds, evidence=reader.evidence)
    )
    digests = {"model": labeler.model_digest, "questions": labeler.prompt_digest}
    thresholds = [reader.thresholds.digest] if reader.thresholds.digest else []
    kept = _Kept(
        cache,
        reader.labeler,
        [schema.digest, *digests.values(), *["margins"] * (not reader.evidence), *thresholds],
    )
    found = kept.read()
    waiting = [name for name in texts if name not in found]
    say = _progress(reader.title, len(waiting))
    for start in range(0, len(waiting), batch):
        names = waiting[start : start + batch]
        began = time.perf_counter()
        said = list(labeler.label_reports([texts[name] for name in names]))
        seconds = (time.perf_counter() - began) / len(names)
        for name, results in zip(names, said, strict=True):
            reading = Reading(tuple(checked(results, schema, texts[name])), seconds)
            kept.add(name, reading)
            found[name] = reading
        say(start + len(names))
    return {name: found[name] for name in texts}, schema, digests


class _Kept:
    def __init__(self, folder: Path, labeler: str, digests: Sequence[str]) -> None:
        digest = hashlib.sha256("\n".join(digests).encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{labeler}-{digest[:16]}.jsonl"

    def read(self) -> dict[str, Reading]:
        """Return the readings; a last line that a stop cut off is dropped and read again."""
        if not self._path.exists():
            return {}
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            self._path.write_bytes(whole)
        return dict(map(_reading, whole.splitlines()))

    def add(self, name: str, reading: Reading) -> None:
        row = {
            "report": name,
            "seconds": reading.seconds,
            "results": [row_of(each) for each in reading.results],
        }
        with self._path.open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")


def _reading(line: bytes) -> tuple[str, Reading]:
    row = json.loads(line)
    return row["report"], Reading(tuple(map(result_of, row["results"])), row["seconds"])


def _progress(title: str, total: int) -> Callable[[int], None]:
    began = time.monotonic()

    def say(done: int) -> None:
        spent = time.monotonic() - began
        left = spent / done * (total - done) if done else 0.0
        line = (
            f"{title}: {done} of {total}, {spent / max(done, 1):.2f} s a report, {left:.0f} s left"
        )
        sys.stderr.write(line + "\n")

    return say


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table with aligned columns."""
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure for a table; a dash where it does not exist."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def for_json(value: Any) -> Any:
    """Return a value without NaN, which JSON does not have."""
    if isinstance(value, float):
        return None if value != value else round(value, 4)
    if isinstance(value, Mapping):
        return {key: for_json(each) for key, each in value.items()}
    return [for_json(each) for each in value] if isinstance(value, list | tuple) else value

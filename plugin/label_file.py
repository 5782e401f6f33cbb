"""Labels for a file of reports, without a node: ``radloop label --reports``.

The output grows line by line. Beside it a small file says exactly what reads, so that a run that
was stopped goes on, and one with another model, question or input cannot be mixed into it.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dicom_node.durable import write_durably
from labeling.decision import decide
from labeling.failures import FailureCount
from labeling.labeler import LabelResult, checked, failed
from labeling.llm.model_store import EMBEDDED_SHA256
from labeling.report_file import labelled_ids, labels_of, read_reports, undecodable
from labeling.runs import LabelerIdentity
from labeling.schema_file import schema_of
from labeling.settings import LabelingSettings
from labeling.thresholds import Thresholds
from labeling.vocabulary import LabelSchema
from plugin.context import Progress
from plugin.errors import Permanent
from plugin.labeler_children import LabelerChildren, labeler_children
from plugin.locks import take
from plugin.rate import Rate


@dataclass(frozen=True)
class FileJob:
    """What is labelled by what.

    Args:
        reports: CSV or JSONL with ``id`` and ``report``.
        output: JSON Lines, one line a report, in the order of the input.
        labeler: entry-point name.
        settings: of labeling; they name schema and model.
        model_store: folder of the language models.
        thresholds: of a calibration; the default leaves labels uncalibrated.
        fitted_for: the labeler and the digests that the thresholds were fitted for, by name.
        encoding: of the input.
    """

    reports: Path
    output: Path
    labeler: str
    settings: LabelingSettings
    model_store: Path
    thresholds: Thresholds
    encoding: str = "utf-8-sig"
    fitted_for: Mapping[str, str] = field(default_factory=dict)


def label_file(job: FileJob, progress: Progress) -> dict[str, Any]:
    """Label every report of a file that the output does not hold yet.

    Returns:
        ``output``, ``labeler``, ``schema``, ``model``, and the numbers ``reports`` (of this
        call), ``already_there``, ``failed`` (reports without any label); ``failures`` (why labels
        failed, with how many), ``unadapted`` (whether the embedded model read as it comes),
        ``calibrated``, and ``uncalibrated`` (observations, and their sites, for which no threshold
        was fitted).

    Raises:
        Permanent: the input cannot be read, or the output is of another run.
    """
    schema = schema_of(job.settings)
    reports = read_reports(job.reports, job.encoding)
    with _locked(job.output) as output, _log_of(job.output) as log:
        return _label(job, schema, reports, output, log, progress)


def _label(
    job: FileJob,
    schema: LabelSchema,
    reports: list[tuple[str, str]],
    output: IO[str],
    log: Path,
    progress: Progress,
) -> dict[str, Any]:
    with labeler_children(log, job.labeler, job.settings, job.model_store) as reader:
        identity = reader.identify(progress)
        _check_thresholds(job, schema, identity)
        done = _continue(job, schema, identity)
        ids = [each for each, _ in reports]
        if ids[: len(done)] != done:
            raise Permanent(f"{job.output.name} does not follow the order of {job.reports.name}")
        waiting = reports[len(done) :]
        reader.heed(job.thresholds)
        rate = Rate(job.labeler, len(waiting), progress, time.monotonic)
        failures = FailureCount()
        for start in range(0, len(waiting), reader.at_once):
            chunk = waiting[start : start + reader.at_once]
            for identifier, results in _read(reader, chunk, schema, job, progress):
                _write(output, labels_of(identifier, results))
                failures.add(results)
                rate.done()
    return {
        "output": str(job.output),
        "labeler": job.labeler,
        "schema": schema.name,
        "model": identity.model_name or identity.model_digest[:16],
        "reports": len(waiting),
        "already_there": len(done),
        "failed": failures.reports,
        "failures": failures.rows(),
        "unadapted": identity.model_digest == EMBEDDED_SHA256,
        "calibrated": bool(job.thresholds.digest),
        "uncalibrated": list(job.thresholds.unfitted(schema)),
    }


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Open the output for appending and hold it for this process alone; leave no empty file."""
    try:
        with path.open("a", encoding="utf-8", newline="\n") as output:
            take(output, Permanent(f"another process writes {path.name}"))
            try:
                yield output
            finally:
                output.flush()
                if not path.stat().st_size:
                    path.unlink()
    except OSError as error:
        raise Permanent(f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def _log_of(output: Path) -> Iterator[Path]:
    """Give the path of the child's log; one that nothing was written to does not stay."""
    log = output.with_name(f"{output.name}.log")
    try:
        yield log
    finally:
        if log.exists() and not log.stat().st_size:
            log.unlink()


def _read(
    reader: LabelerChildren,
    chunk: list[tuple[str, str]],
    schema: LabelSchema,
    job: FileJob,
    progress: Progress,
) -> Iterator[tuple[str, list[LabelResult]]]:
    """Yield ids and decided results in the order of the chunk."""
    readable = [(identifier, text) for identifier, text in chunk if not undecodable(text)]
    answers = reader.read(readable, progress) if readable else iter(())
    for identifier, text in chunk:
        if reason := undecodable(text):
            yield identifier, failed(schema, reason)
            continue
        answered, results = next(answers)
        if answered != identifier:
            raise Permanent(f"the labeler {job.labeler} answered out of order")
        yield identifier, checked(decide(results, schema, job.thresholds), schema, text)
    for _ in answers:
        raise Permanent(f"the labeler {job.labeler} answered more than it was asked")


def _check_thresholds(job: FileJob, schema: LabelSchema, identity: LabelerIdentity) -> None:
    """Refuse thresholds of another labeler, model, question or schema: margins share no zero."""
    if not job.thresholds.digest:
        return
    reads = {
        "labeler": job.labeler,
        "schema_digest": schema.digest,
        "model_digest": identity.model_digest,
        "question_digest": identity.prompt_digest,
    }
    if other := sorted(name for name in reads if job.fitted_for.get(name) != reads[name]):
        raise Permanent(f"the thresholds were fitted for something else (other {', '.join(other)})")


def _continue(job: FileJob, schema: LabelSchema, identity: LabelerIdentity) -> list[str]:
    """Return the ids that the output holds already; a torn last line is taken off."""
    record = {
        "labeler": job.labeler,
        "schema": schema.name,
        "schema_digest": schema.digest,
        "model_digest": identity.model_digest,
        "question_digest": identity.prompt_digest,
        "calibration_digest": job.thresholds.digest,
        "reports_sha256": hashlib.sha256(job.reports.read_bytes()).hexdigest(),
        "encoding": codecs.lookup(job.encoding).name,
    }
    beside = job.output.with_name(f"{job.output.name}.run.json")
    if not job.output.stat().st_size:
        write_durably(beside, json.dumps(record, indent=1).encode())
        return []
    try:
        # Runs of earlier versions did not note how they decoded.
        known = {"encoding": record["encoding"], **json.loads(beside.read_text("utf-8"))}
    except (OSError, ValueError, TypeError):
        known = None
    if known != record:
        changed = sorted(k for k in record if known and known.get(k) != record[k])
        what = f" (other {', '.join(changed)})" if changed else ""
        raise Permanent(
            f"{job.output.name} is there and was not made by this run{what}: "
            "name another --output, or move it away"
        )
    return _whole_lines(job.output)


def _whole_lines(path: Path) -> list[str]:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
    try:
        # An id may hold what Python, too, takes for the end of a line.
        return labelled_ids(content[:whole].decode("utf-8").split("\n")[:-1])
    except (ValueError, KeyError, TypeError) as error:
        raise Permanent(f"{path.name} holds lines that are no labels") from error


def _write(output: IO[str], record: dict[str, Any]) -> None:
    # In ASCII: an id may hold half a surrogate pair, which no encoding of files has.
    output.write(json.dumps(record) + "\n")
    output.flush()

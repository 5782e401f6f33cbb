"""A student is trained: its label sources, the child process that learns, and the record of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.settings import LabelingSettings
from plugin.child import ChildProcess
from plugin.context import Progress
from plugin.errors import Permanent

if TYPE_CHECKING:
    from labeling.student.examples import Example
    from labeling.vocabulary import LabelSchema
    from plugin.stages.distill import Lessons

_LESSONS_AT_ONCE = 256


@dataclass(frozen=True)
class StudentJob:
    """What a student learns from and where it goes.

    Args:
        output: a folder for its two files; it must not hold a student yet.
        settings: of labeling; they name the schema.
        model_store: folder that holds the encoder.
        encoder: its name there.
        options: of ``TrainingOptions``.
        command: as it was typed, for the record.
        labels: JSONL files (``labeling.student.examples``).
        reports: CSV or JSONL with the texts of labels that have none.
        references: readers' labels by the ids of ``labels``; they win.
        hold_out_references: do not learn from the reports that readers labelled.
        generated: reports of the schema that the generator writes, to learn from, too.
        lessons: reports of a node with labels.
    """

    output: Path
    settings: LabelingSettings
    model_store: Path
    encoder: str
    options: dict[str, Any]
    command: str
    labels: tuple[Path, ...] = ()
    reports: Path | None = None
    references: Path | None = None
    hold_out_references: bool = False
    generated: int = 0
    lessons: Lessons | None = None

    def as_row(self) -> dict[str, Any]:
        """Return the job as values of JSON for the pipe to a child, but for the lessons."""
        return {
            "output": str(self.output),
            "labels": [str(each) for each in self.labels],
            "reports": str(self.reports or ""),
            "references": str(self.references or ""),
            "hold_out_references": self.hold_out_references,
            "generated": self.generated,
            "settings": self.settings.for_child(),
            "model_store": str(self.model_store),
            "encoder": self.encoder,
            "options": self.options,
            "command": self.command,
            "teacher": dict(self.lessons.teacher) if self.lessons else {},
            "reference_labels": list(self.lessons.reference_labels) if self.lessons else [],
        }


def train_student(job: StudentJob, progress: Progress) -> dict[str, Any]:
    """Train a student in a child process; return what ``distil`` says of it, and of its sources.

    Raises:
        Permanent: nothing to learn from, a file that cannot be read, or the folder is taken.
    """
    if not (job.labels or job.generated or job.lessons):
        raise Permanent(
            "name label sources: a node's labeler (--config, --labeler), files (--labels), or "
            "reports that are generated (--generated)"
        )
    if (job.output / "config.json").exists():
        raise Permanent(f"{job.output} holds a model already; name another folder")
    with (
        _output(job.output) as log,
        ChildProcess(log, job.settings.language_model.threads) as child,
    ):
        for some in _in_parts(job):
            for _ in child.run("student_lessons", some, progress):
                continue
        (result,) = child.run("train_student", job.as_row(), progress)
    if job.lessons:
        result |= {"teacher": job.lessons.teacher["labeler"],
                   "teacher_calibrated": job.lessons.teacher["calibrated"],
                   "reports_of_readers_held_out": job.lessons.held_out}  # fmt: skip
    return {"output": str(job.output), **result, "next": f"radloop llm add {job.output}"}


@contextmanager
def _output(folder: Path) -> Iterator[Path]:
    """Make the student's folder and give the path of its log; leave nothing that is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "training.log"
    try:
        yield log
    finally:
        if log.exists() and not log.stat().st_size:
            log.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _in_parts(job: StudentJob) -> Iterator[dict[str, Any]]:
    """Yield the lessons in jobs for the child: reports go through the pipe and into no file."""
    lessons = job.lessons.lessons if job.lessons else ()
    for start in range(0, len(lessons), _LESSONS_AT_ONCE):
        some = lessons[start : start + _LESSONS_AT_ONCE]
        rows = [each.as_row() for each in some]
        yield {"settings": job.settings.for_child(), "lessons": rows}


@dataclass
class _Learned:
    """What a student learns from, inside the child, and how much of it readers labelled."""

    examples: list[Example] = field(default_factory=list)
    by_readers: int = 0
    held_out: int = 0


_waiting = _Learned()


def take_lessons(job: dict[str, Any]) -> None:
    """Keep a part of a node's reports for the training that follows; runs inside the child."""
    from labeling.schema_file import schema_of
    from labeling.student.examples import example_of
    from labeling.student.teaching import taught_by_both

    schema = schema_of(LabelingSettings.model_validate(job["settings"]))
    for each in job["lessons"]:
        example = example_of(each["row"], "a label of the node", schema)
        said, quotes = _said(each["said"])
        _waiting.examples.append(taught_by_both(example, said, schema, quotes))
        _waiting.by_readers += bool(said)


def _said(rows: Sequence[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    from labeling.vocabulary import State

    said, quotes = {}, {}
    for observation, site, state, spans in rows:
        said[observation, site] = None if state is None else State(state)
        if spans:
            quotes[observation, site] = tuple((start, end) for start, end in spans)
    return said, quotes


def learn(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train a student here; runs inside the child."""
    from labeling.language import load_languages
    from labeling.llm.model_store import ModelStore
    from labeling.schema_file import schema_of
    from labeling.student.distilling import distil
    from labeling.student.encoder import stored_encoder
    from labeling.student.training import TrainingOptions

    settings = LabelingSettings.model_validate(job["settings"])
    schema = schema_of(settings)
    found = _from_files(job, schema)
    examples = [*_waiting.examples, *found.examples]
    examples += generated_examples(schema, job["generated"], int(job["options"]["seed"]))
    by_readers = _waiting.by_readers + found.by_readers
    result = distil(
        examples,
        schema,
        stored_encoder(ModelStore(Path(job["model_store"])), job["encoder"]),
        Path(job["output"]),
        TrainingOptions(**{**job["options"], "layers": tuple(job["options"]["layers"])}),
        languages=load_languages([Path(each) for each in settings.language_packs]),
        settings=settings,
        provenance={**_provenance(job), "reports_of_readers": by_readers},
        progress=progress,
    )
    counts = {"reports_of_readers": by_readers, "reports_of_readers_held_out": found.held_out}
    return {**result, **counts}


def _from_files(job: Mapping[str, Any], schema: LabelSchema) -> _Learned:
    from labeling.reference_file import read_reader_states
    from labeling.report_file import read_reports
    from labeling.student.examples import read_examples
    from labeling.student.teaching import taught_by_readers

    texts = dict(read_reports(Path(job["reports"]))) if job["reports"] else {}
    found = _Learned()
    sources: dict[str, str] = {}
    for path in map(Path, job["labels"]):
        own = read_examples(path, schema, texts)
        _refuse_known(own, path.name, sources)
        found.examples += own
    if job["references"]:
        said = read_reader_states(Path(job["references"]), schema)
        if job["hold_out_references"]:
            judging = {each.patient for each in found.examples if each.id in said}
            kept = [each for each in found.examples if each.patient not in judging]
            return _Learned(kept, 0, sum(each.id in said for each in found.examples))
        found.examples, found.by_readers = taught_by_readers(found.examples, said, schema)
    return found


def _refuse_known(examples: Sequence[Example], name: str, sources: dict[str, str]) -> None:
    """Refuse an id that stands twice: texts, readers' labels and patients are found by it.

    Args:
        examples: of one file.
        name: of the file.
        sources: file by id of what was read before; gets these, too.
    """
    for each in examples:
        if each.id in sources:
            where = "twice in" if sources[each.id] == name else f"in {sources[each.id]} and in"
            raise Permanent(
                f"a report's id stands {where} {name}: ids name one report in all files of labels "
                "(put the name of its source before it)"
            )
        if each.id:
            sources[each.id] = name


def _provenance(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the student's record says of its sources: names and digests, no report."""
    files = [*map(Path, job["labels"])]
    record = {
        "command": job["command"],
        "label_sources": [{"name": p.name, "sha256": _digest(p), **_run_of(p)} for p in files],
        "generated": job["generated"],
    }
    if job["references"]:
        path = Path(job["references"])
        record["references"] = {"name": path.name, "sha256": _digest(path)}
    if job["teacher"]:
        record |= {"teacher": job["teacher"], "reference_labels": job["reference_labels"]}
    return record


def _run_of(labels: Path) -> dict[str, Any]:
    """Return what read the reports of a file of labels, as ``radloop label`` noted beside it."""
    beside = labels.with_name(f"{labels.name}.run.json")
    return {"run": json.loads(beside.read_bytes())} if beside.is_file() else {}


def generated_examples(schema: LabelSchema, count: int, seed: int) -> Iterator[Example]:
    """Yield generated reports with what they say; the same arguments, the same reports."""
    from labeling.student.examples import Example, allowed_of
    from labeling.synthesis.generator import generate

    for each in generate(schema, count, seed=seed):
        allowed = {place: allowed_of(str(state)) for place, state in each.states.items()}
        yield Example(each.id, each.text, allowed, each.evidence, each.id)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

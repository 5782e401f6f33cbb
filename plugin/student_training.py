"""A student is trained: its label sources, the child process that learns, and the record of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.settings import LabelingSettings
from plugin.child import ChildProcess
from plugin.context import Progress
from plugin.errors import Permanent

if TYPE_CHECKING:
    from labeling.student.examples import Example

SIMULATED_SCHEMA = "spine"
"""The schema of which the simulator writes reports."""


@dataclass(frozen=True)
class StudentJob:
    """What a student learns from and where it goes.

    Args:
        output: a folder for its two files; it must not hold a student yet.
        labels: JSONL files (``labeling.student.examples``).
        reports: CSV or JSONL with the texts of labels that have none.
        simulated: reports that the simulator writes, half in the wording of the simulated
            hospital and half in more wordings of more observations.
        settings: of labeling; they name the schema.
        model_store: folder that holds the encoder.
        encoder: its name there.
        options: of ``TrainingOptions``.
        command: as it was typed, for the record.
    """

    output: Path
    labels: tuple[Path, ...]
    reports: Path | None
    simulated: int
    settings: LabelingSettings
    model_store: Path
    encoder: str
    options: dict[str, Any]
    command: str

    def as_row(self) -> dict[str, Any]:
        """Return the job as values of JSON for the pipe to a child."""
        return {
            "output": str(self.output),
            "labels": [str(each) for each in self.labels],
            "reports": str(self.reports or ""),
            "simulated": self.simulated,
            "settings": self.settings.for_child(),
            "model_store": str(self.model_store),
            "encoder": self.encoder,
            "options": self.options,
            "command": self.command,
        }


def train_student(job: StudentJob, progress: Progress) -> dict[str, Any]:
    """Train a student in a child process; return what ``distil`` says of it.

    Raises:
        Permanent: nothing to learn from, a file that cannot be read, or the folder is taken.
    """
    if not job.labels and not job.simulated:
        raise Permanent("name label sources (--labels), or have reports simulated (--simulated)")
    if (job.output / "config.json").exists():
        raise Permanent(f"{job.output} holds a model already; name another folder")
    job.output.mkdir(parents=True, exist_ok=True)
    with ChildProcess(job.output / "training.log", job.settings.language_model.threads) as child:
        (result,) = child.run("train_student", job.as_row(), progress)
    return {"output": str(job.output), **result}


def learn(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train a student here; runs inside the child."""
    from labeling.language import load_languages
    from labeling.llm.model_store import ModelStore
    from labeling.report_file import read_reports
    from labeling.schema_file import schema_of
    from labeling.student.distilling import distil
    from labeling.student.encoder import stored_encoder
    from labeling.student.examples import read_examples
    from labeling.student.training import TrainingOptions

    settings = LabelingSettings.model_validate(job["settings"])
    schema = schema_of(settings)
    texts = dict(read_reports(Path(job["reports"]))) if job["reports"] else {}
    examples: list[Example] = []
    for path in map(Path, job["labels"]):
        examples += read_examples(path, schema, texts)
    if job["simulated"]:
        if schema.name != SIMULATED_SCHEMA:
            raise Permanent(f"reports are simulated only of the schema {SIMULATED_SCHEMA!r}")
        examples += simulated_examples(job["simulated"], int(job["options"]["seed"]))
    sources = [{"name": p.name, "sha256": _digest(p)} for p in map(Path, job["labels"])]
    return distil(
        examples,
        schema,
        stored_encoder(ModelStore(Path(job["model_store"])), job["encoder"]),
        Path(job["output"]),
        TrainingOptions(**{**job["options"], "layers": tuple(job["options"]["layers"])}),
        languages=load_languages([Path(each) for each in settings.language_packs]),
        settings=settings,
        provenance={
            "command": job["command"],
            "label_sources": sources,
            "simulated": job["simulated"],
        },
        progress=progress,
    )


def simulated_examples(count: int, seed: int) -> Iterator[Example]:
    """Yield reports of the simulator with what they say; the same arguments, the same reports.

    The reports of the simulated hospital speak of four observations; of the others they teach
    nothing.
    """
    import numpy as np

    from labeling.student.examples import Example
    from plugin.simulation.lumbar_reports import lumbar_reports
    from plugin.simulation.reports import write_report
    from plugin.simulation.truth import draw_truth

    for number, report in enumerate(lumbar_reports(count - count // 2, seed)):
        allowed = {place: frozenset({state}) for place, state in report.states.items()}
        yield Example(f"simulated-{number}", report.text, allowed, report.evidence)
    for number in range(count // 2):
        rng = np.random.default_rng([seed, 23, number])
        written = write_report(draw_truth(rng), rng)
        allowed = {
            (observation, site): frozenset({state})
            for observation, states in written.states.items()
            for site, state in states.items()
        }
        spans = {place: (span,) for place, span in written.spans.items()}
        yield Example(f"hospital-{number}", written.text, allowed, spans)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""What a child process can be asked to do; runs inside the child and knows no database."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugin.child import Emit
from plugin.extensions import load

_labelers: dict[str, Any] = {}


def _labeler(job: dict[str, Any]) -> Any:
    """Load the labeler of a job once; a language model stays in memory for the next job.

    Another setup takes the place of the one before: two models in memory help nobody.
    """
    from labeling.labeler import LabelerSetup
    from labeling.llm.model_store import ModelStore
    from labeling.schema_file import schema_of
    from labeling.schema_words import languages_of
    from labeling.settings import LabelingSettings
    from labeling.thresholds import UNCALIBRATED, Thresholds

    names = ("labeler", "settings", "model_store", "thresholds", "evidence")
    key = json.dumps({name: job.get(name, "") for name in names}, sort_keys=True)
    if key not in _labelers:
        settings = LabelingSettings.model_validate(job["settings"])
        fitted = job.get("thresholds")
        setup = LabelerSetup(
            schema_of(settings),
            settings,
            ModelStore(Path(job["model_store"])),
            Thresholds.from_json(fitted) if fitted else UNCALIBRATED,
            languages_of(settings),
            evidence=job.get("evidence", True),
        )
        _labelers.clear()
        _labelers[key] = load("labelers", job["labeler"])(setup)
    return _labelers[key]


def _identify_labeler(job: dict[str, Any], emit: Emit) -> None:
    labeler = _labeler(job)
    emit(
        "item",
        {
            "model_digest": labeler.model_digest,
            "prompt_digest": labeler.prompt_digest,
            "model_name": getattr(labeler, "model_name", ""),
        },
    )


def _label(job: dict[str, Any], emit: Emit) -> None:
    from labeling.labeler import row_of

    labeler = _labeler(job)
    texts = [text for _, text in job["reports"]]
    for (report_id, _), results in zip(job["reports"], labeler.label_reports(texts), strict=True):
        emit("item", [report_id, [row_of(each) for each in results]])


def _peak_memory(_job: dict[str, Any], emit: Emit) -> None:
    """Say how many bytes of memory this process has held at most."""
    emit("item", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # Linux counts KiB


def _train(job: dict[str, Any], emit: Emit) -> None:
    from training.experiment import train_on_members
    from training.settings import TrainingSettings
    from training.weights import save_weights

    settings = TrainingSettings.model_validate(job["settings"])
    localiser = load("disc_localisers", settings.disc_localiser)
    result, record = train_on_members(
        job["members"],
        job["observations"],
        job["sites"],
        settings,
        load("classifiers", settings.classifier),
        lambda line: emit("progress", line),
        localiser,
    )
    folder = Path(job["weights_folder"])
    unnamed = folder / f"new-{os.getpid()}.safetensors"
    found_by = {"name": localiser.name, "digest": localiser.digest}
    digest = save_weights(unnamed, result, {**job["provenance"], "disc_localiser": found_by})
    unnamed.replace(folder / f"{digest}.safetensors")
    emit("item", {**record, "weights_digest": digest})


def _train_architecture(job: dict[str, Any], emit: Emit) -> None:
    from plugin.architecture_training import learn

    emit("item", learn(job, lambda line: emit("progress", line)))


def _predict(job: dict[str, Any], emit: Emit) -> None:
    if job.get("architecture"):
        _predict_with_architecture(job, emit)
        return
    from training.inference import predict

    for row in predict(
        Path(job["weights"]),
        job["weights_digest"],
        [Path(file) for file in job["files"]],
        job["observations"],
        job["sites"],
        family=load("classifiers", job["classifier"]),
        localiser=load("disc_localisers", job["disc_localiser"]),
        threads=job["threads"],
    ):
        emit("item", row._asdict())


def _predict_with_architecture(job: dict[str, Any], emit: Emit) -> None:
    from training.learning.inference import loaded

    found = loaded(Path(job["weights"]), job["weights_digest"], job["threads"])
    files = [Path(file) for file in job["files"]]
    localiser = load("disc_localisers", job["disc_localiser"])
    for row in found.predict(files, job["observations"], job["sites"], localiser):
        emit("item", row._asdict())


def _check_weights(job: dict[str, Any], emit: Emit) -> None:
    from training.weights_check import check_classifier, check_network

    path, digest, names = Path(job["weights"]), job["weights_digest"], job["observations"]
    localiser = load("disc_localisers", job["disc_localiser"])
    if job["architecture"]:
        lacks = check_network(path, digest, names, job["sites"], localiser, job["threads"])
    else:
        family = load("classifiers", job["classifier"])
        lacks = check_classifier(path, digest, names, family, localiser)
    emit("item", lacks)


def _train_student(job: dict[str, Any], emit: Emit) -> None:
    from plugin.student_training import learn

    emit("item", learn(job, lambda line: emit("progress", line)))


def _student_lessons(job: dict[str, Any], emit: Emit) -> None:
    from plugin.student_training import take_lessons

    take_lessons(job)
    emit("progress", f"{len(job['lessons'])} more reports to learn from")


def _adapt(job: dict[str, Any], emit: Emit) -> None:
    from plugin.adaptation import learn

    emit("item", learn(job, lambda line: emit("progress", line)))


def _export(job: dict[str, Any], emit: Emit) -> None:
    from dicom_node.sandbox import Sandbox
    from training.exports.members import ExportMember, LeftOut
    from training.exports.options import parse_options
    from training.exports.writing import Ordered, write_export

    choices = job["choices"]
    ordered = Ordered(
        cohort=job["cohort"],
        key=bytes.fromhex(job["key"]),
        software=job["software"],
        options=parse_options(choices["formats"], [*choices["options"], *choices["accepted"]]),
        members=tuple(ExportMember.from_job(each) for each in job["members"]),
        left_out=tuple(LeftOut(**each) for each in job["left_out"]),
        opted_out=job["opted_out"],
    )
    with Sandbox(
        memory_bytes=job["memory_bytes"],
        largest_object=job["largest_object"],
        deadline_seconds=job["deadline_seconds"],
    ) as sandbox:
        write_export(ordered, Path(job["folder"]), sandbox, lambda line: emit("progress", line))


def _withdraw_export(job: dict[str, Any], emit: Emit) -> None:
    from training.exports.withdrawal import withdraw

    pairs = {(patient, study) for patient, study in job["pairs"]}
    found = withdraw(Path(job["folder"]), job["cohort_digest"], pairs, job["cause"], job["at"])
    emit("item", found)


TASKS: dict[str, Callable[[dict[str, Any], Emit], None]] = {
    "adapt": _adapt,
    "check_weights": _check_weights,
    "export": _export,
    "identify_labeler": _identify_labeler,
    "label": _label,
    "peak_memory": _peak_memory,
    "train": _train,
    "train_architecture": _train_architecture,
    "predict": _predict,
    "student_lessons": _student_lessons,
    "train_student": _train_student,
    "withdraw_export": _withdraw_export,
}

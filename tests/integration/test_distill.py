"""A student learns from a node's labels: a labeler's, and those of readers where they spoke."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.linking.identifiers import Issuers
from dicom_node.messages import receive as file_messages
from dicom_node.models import Study
from labeling.llm.model_store import ModelStore
from labeling.models import ReferenceLabel
from labeling.student.weights_file import read_student
from plugin.cli import app
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.folders import DataFolder
from plugin.settings import load_settings
from plugin.stages.distill import Asked, Lessons, lessons_of
from tests.hl7_builders import oru
from tests.integration.test_labeler_quality import (
    COUNT,
    PRESENT,
    config,
    context,
    prepared,
    receive,
    store_margins,
)
from tests.tiny_encoder import write_tiny_encoder
from training.patients import one_name

__all__ = ["config", "context"]

TEACHER = "token_scores"


def lessons(context: Context, **asked: object) -> Lessons:
    with context.database.read() as session:
        return lessons_of(session, Asked(TEACHER, **asked), context.schema())


def test_readers_win_and_their_words_are_evidence(context: Context, tmp_path: Path) -> None:
    prepared(context, tmp_path)
    found = lessons(context)
    assert len(found.lessons) == COUNT
    assert found.reference_labels == tuple(range(1, COUNT + 1))
    assert found.teacher["calibrated"] is False
    first = found.lessons[0]
    assert first.row["labels"]["stenosis"]["state"] == "present"
    observation, site, state, [(start, end)] = first.said[0]
    assert (observation, site, state) == ("stenosis", "whole", "present")
    assert first.row["text"][start:end] == "spinal canal stenosis"


def test_the_reports_of_readers_can_be_left_to_judge(context: Context, tmp_path: Path) -> None:
    prepared(context, tmp_path)
    receive(context, COUNT)
    store_margins(context)
    found = lessons(context, hold_out_references=True)
    assert len(found.lessons) == 1
    assert found.held_out == COUNT
    assert found.reference_labels == ()


def receive_of(context: Context, number: int, patient: str) -> None:
    message = oru(
        control_id=f"M{number}", filler=f"F{number}", accession=f"A{number}", patient=patient,
        lines=(f"FINDINGS: {PRESENT}",),
    )  # fmt: skip
    file_messages(
        context.database,
        message,
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )


def test_reports_left_to_judge_keep_the_others_of_their_patients_out(
    context: Context, tmp_path: Path
) -> None:
    prepared(context, tmp_path)
    receive_of(context, COUNT, "P3^^^HOSP^MR")
    receive_of(context, COUNT + 1, "P99^^^HOSP^MR")
    store_margins(context)
    found = lessons(context, hold_out_references=True, most=1)
    assert [each.row["patient"] for each in found.lessons] == ["HOSP|P99"]
    assert found.held_out == COUNT


def test_a_patient_of_the_test_fold_is_known_by_every_name_of_the_issuer(
    context: Context, tmp_path: Path
) -> None:
    prepared(context, tmp_path)
    now = context.clock()
    with context.database.write() as session:
        session.add(
            Study(
                study_instance_uid="1.2.3",
                patient_id="P3",
                issuer_of_patient_id="CLINIC",
                first_received_at=now,
                last_received_at=now,
            )
        )
        session.add(
            ReferenceLabel(level="image", subject="1.2.3", observation="stenosis", site="whole",
                           reader="a", state="present", source_digest="", imported_at=now)
        )  # fmt: skip
    name_of = one_name(Issuers((("HOSP", "CLINIC"),)))
    with context.database.read() as session:
        found = lessons_of(session, Asked(TEACHER), context.schema(), name_of)
    assert len(found.lessons) == COUNT - 2
    assert not any(each.row["patient"].endswith("|P3") for each in found.lessons)


def test_readers_reports_come_first_and_the_draw_is_seeded(
    context: Context, tmp_path: Path
) -> None:
    prepared(context, tmp_path)
    for number in range(COUNT, COUNT + 20):
        receive(context, number)
    store_margins(context)
    drawn = [
        {each.row["id"] for each in lessons(context, most=COUNT + 5, seed=seed).lessons}
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert {str(row) for row in range(1, COUNT + 1)} <= drawn[0]


def test_a_labeler_that_has_read_nothing_teaches_nothing(context: Context) -> None:
    with pytest.raises(Permanent, match="radloop label --labeler token_scores first"):
        lessons(context)


def test_the_command_learns_from_the_node(config: Path, tmp_path: Path) -> None:
    settings = load_settings(config)
    with open_context(settings) as node:
        for number in range(COUNT):
            receive(node, number)
        prepared(node, tmp_path)
    store = ModelStore(DataFolder(settings.data_folder).language_models)
    store.add(write_tiny_encoder(tmp_path / "tiny"), "tiny")
    output = tmp_path / "student"
    arguments = ["labeler", "distill", "--config", str(config), "--labeler", TEACHER, "--json",
                 "--output", str(output), "--encoder", "tiny", "--epochs", "1"]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout[done.stdout.index("{") :])
    assert (said["teacher"], said["teacher_calibrated"]) == (TEACHER, False)
    assert said["reports_of_readers"] == COUNT
    record = read_student(output).config.provenance
    assert record["teacher"]["model_digest"] == "1" * 64
    assert record["reference_labels"] == list(range(1, COUNT + 1))
    assert "stenosis." not in json.dumps(record)
    assert sorted(each.name for each in output.iterdir()) == ["config.json", "student.safetensors"]


def test_a_student_that_could_not_be_trained_leaves_nothing_behind(tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text("no labels\n", "utf-8")
    output = tmp_path / "student"
    arguments = ["labeler", "distill", "--labels", str(labels), "--output", str(output),
                 "--store", str(tmp_path / "store"), "--schema", "spine"]  # fmt: skip
    refused = CliRunner().invoke(app, arguments)
    assert "line 1: not a report with labels" in str(refused.exception)
    assert not output.exists()

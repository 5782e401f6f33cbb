"""`radloop train --architecture` on a small node: a child learns, the registry takes the result."""

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from sqlmodel import col, select

from dicom_node.models import Instance, Series
from dicom_node.storage import DicomStore
from labeling.runs import LabelerIdentity, open_run
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.operations import run_operation
from plugin.questions import ask
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.simulation import phantom
from plugin.simulation.truth import draw_truth
from plugin.source_digest import code_identity
from plugin.stages.cohort import SHORTCOMINGS, freeze_cohort
from plugin.stages.complete import complete_study
from plugin.stages.erase import erase_patient
from plugin.stages.predict import Predictor
from plugin.stages.reference import import_references
from plugin.stages.weights import check_weights
from tests.cohort_builders import MR_IMAGE, NOW, add_labels, add_reference, add_report, add_study
from tests.phantom_files import write_series
from training.architectures.registry import GROUP
from training.cards.facts import FORM, FORM_VERSION
from training.cards.writing import FILES
from training.models import CohortMember, Model, Prediction, TrainingRun
from training.registry import promote

PATIENTS = 32
TRAINING = """[training]
validation_share = 0.45
maximum_epochs = 1
batch_size = 4
threads = 1
bootstrap_samples = 100
"""
SETTINGS = """
[training.learning]
input_shape = [4, 16, 16]
least_of_a_class = 1

[[prediction]]
model = "stacks"
modality = "MR"
body_part = "LSPINE"
series_description = "T2"
"""


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    _offer(tmp_path, monkeypatch)
    # The salt decides the folds: with this one, train and validation hold both classes.
    monkeypatch.setenv("RADLOOP_PATIENT_KEY_SALT", "salt")
    path = tmp_path / "radloop.toml"
    training = (
        "[training]\nmaximum_epochs = 1\nbatch_size = 4\nthreads = 1\nbootstrap_samples = 100"
    )
    text = render().replace("[training]", training, 1).replace("[[prediction]]", "", 0)
    path.write_text(text + SETTINGS, encoding="utf-8")
    with open_context(load_settings(path)) as context:
        _fill(context, tmp_path)
        yield context


def _offer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a child find the architecture, whether or not this tree is the one that is installed."""
    about = folder / "offered" / "offered-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1\n")
    entry = "volume3d = training.architectures.volume3d:ARCHITECTURE"
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{entry}\n")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{about.parent}:{root}")


def _fill(context: Context, folder: Path) -> None:
    """Patients with a series each; every second one has a stenosis."""
    store = DicomStore(context.folder.root)
    with context.database.write() as session:
        run = open_run(session, LabelerIdentity("rules", "m", "p"), context.schema(), context.clock)
        for number in range(PATIENTS):
            uid = f"1.2.{number + 1}"
            add_study(session, uid, f"P{number}")
            series = session.exec(select(Series).where(Series.study_instance_uid == uid)).one()
            of_series = Instance.series_instance_uid == series.series_instance_uid
            session.delete(session.exec(select(Instance).where(of_series)).one())  # has no file
            for path in _drawn(folder / uid, number):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                place = store.folders.archived(digest)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
                session.add(
                    Instance(
                        sop_instance_uid=f"{uid}.0.{path.name}", digest=digest, size=1,
                        series_instance_uid=series.series_instance_uid, sop_class_uid=MR_IMAGE,
                        transfer_syntax_uid="1.2.840.10008.1.2.1", received_at=NOW,
                    )
                )  # fmt: skip
            report = add_report(session, uid)
            stated = {("stenosis", "whole"): "absent"}
            if number % 2:
                stated = {("stenosis", "L4-L5"): "present"}
            add_labels(session, run, report, stated)
            if number % 8 > 5:
                add_reference(session, uid, stated)
    for number in range(PATIENTS):
        complete_study(context, f"1.2.{number + 1}", by="test", reason="a test")
    assert freeze_cohort(context, "spine", "rules", SHORTCOMINGS)["members"] == PATIENTS


def _drawn(folder: Path, patient: int) -> list[Path]:
    rng = np.random.default_rng([9, patient])
    scanner = replace(phantom.SCANNERS[0], rows=32, columns=32, slices=4, pixel_spacing=(8.0, 8.0))
    series = phantom.draw_series(draw_truth(rng), scanner, "T2", phantom.draw_anatomy(rng), rng)
    write_series(folder, series, rng)
    return sorted(folder.iterdir())


def train(context: Context, **asked: str) -> dict[str, Any]:
    lines: list[str] = []
    given = {"cohort": "spine", "name": "stacks", "architecture": "volume3d", **asked}
    found = run_operation(context, "train", given, lines.append)
    assert any(line.startswith("epoch 1 of 1: training loss") for line in lines)
    return found


def test_an_architecture_is_trained_registered_and_predicts(context: Context) -> None:
    done = train(context)
    assert done["model"] == "stacks:1"
    assert done["cache"]["made"] == PATIENTS
    json.dumps(done)
    with context.database.read() as session:
        run = session.exec(select(TrainingRun)).one()
        model = session.exec(select(Model)).one()
    assert run.classifier == "volume3d"
    assert [each["epoch"] for each in run.curve] == [1]
    kept = {"test", "architecture", "baseline", "estimate", "cache", "targets", "left_out"}
    assert kept <= set(run.metrics)
    (baseline,) = run.metrics["test"]["observations"]["stenosis"]["baselines"].values()
    assert baseline["n"] > 0
    files = {each.name for each in context.folder.weights.iterdir()}
    assert files == {f"{model.weights_digest}.{kind}" for kind in ("safetensors", "png")}
    _predicts(context, model)
    _can_be_put_to_work(context, model, run)
    assert list(context.folder.prepared.iterdir())
    erase_patient(
        context, issuer="SITE", patient_id="P0", by="test", reason="a test", dry_run=False
    )
    assert not list(context.folder.prepared.iterdir())


def _can_be_put_to_work(context: Context, model: Model, run: TrainingRun) -> None:
    assert "headers alone" in check_weights(context, model, run)  # so few patients tell no pixels
    with context.database.write() as session:
        stored = session.get_one(Model, model.id)
        stored.operating_points = {"herniation": 0.5}
        with pytest.raises(Permanent, match=r"stacks:1 cannot be used: .* other observations"):
            check_weights(context, stored, run)
        session.rollback()


def _predicts(context: Context, model: Model) -> None:
    with Predictor(context) as predictor:
        job, _ = predictor._job(model.id or 0, "1.2.1")
        rows = list(predictor._running_child().run("predict", job, lambda _: None))
    told = {row["observation"]: row for row in rows}
    assert set(told) == {each.id for each in context.schema().observations}
    assert {row["site"] for row in rows} == {"whole"}
    assert 0 < told["stenosis"]["probability"] < 1
    with context.database.read() as session:
        assert not session.exec(select(Prediction)).all()


@pytest.mark.timeout(600)
def test_a_card_is_written_of_a_trained_model(context: Context, tmp_path: Path) -> None:
    train(context)
    with context.database.write() as session:
        promote(session, "stacks", decided_by="R. Head", reason="a | trial", clock=context.clock)
    to = tmp_path / "cards" / "stacks"
    asked = {"model": "stacks", "folder": str(to)}
    told = ask(context.settings, "model card", asked)
    assert told["model"] == "stacks:1"
    assert {each.name for each in to.iterdir()} == FILES == set(told["files"])
    card = json.loads((to / "card.json").read_bytes())
    _says_what_the_database_knows(context, card)
    text = (to / "card.md").read_text(encoding="utf-8")
    assert card["research_use"] in "\n".join(text.splitlines()[:4])
    assert r"| live | R. Head | a \| trial |" in text
    assert text.count("not known to the database") > 10
    assert_every_number_is_in(card, text)


def _says_what_the_database_knows(context: Context, card: dict[str, Any]) -> None:
    with context.database.read() as session:
        run = session.exec(select(TrainingRun)).one()
        model = session.exec(select(Model)).one()
        members = session.exec(select(CohortMember)).all()
    said = card["model"]
    assert (card["form"], card["form_version"]) == (FORM, FORM_VERSION)
    assert said["weights_sha256"] == model.weights_digest
    assert said["weights_file"]["intact"] is True
    assert said["code"]["source_sha256_at_training"] == code_identity()["source_sha256"]
    assert said["libraries"]["torch"] == run.metrics["libraries"]["torch"]
    assert said["settings"]["maximum_epochs"] == 1
    assert "weights" not in said["settings"]["learning"]
    assert (said["seed"], said["best_epoch"]) == (run.seed, 1)
    assert said["input"]["shape"] == [1, 4, 16, 16]
    folds = {each["fold"]: each["patients"] for each in card["training_data"]["folds"]}
    assert folds == dict(Counter(each.fold for each in members))
    (row,) = card["results"]["observations"]
    recorded = run.metrics["test"]["observations"]["stenosis"]
    assert row["auroc"] == recorded["auroc"]
    assert row["roc"] == recorded["roc"]
    assert sum(each["n"] for each in row["reliability"]) == row["n"] == folds["test"]
    assert row["baselines"][0]["roc"]["tpr"][-1] == 1.0
    readers = card["reference_labels"]
    assert readers["labels"] == readers["deserving"] == folds["test"]
    assert card["training_data"]["accepted_shortcomings"] == ["uncalibrated", "unqualified"]
    assert [each["stage"] for each in card["stages"]["events"]] == ["candidate", "live"]
    limits = " ".join(each["limit"] for each in card["limits"])
    assert f"The test fold holds {folds['test']} patients, fewer than 100" in limits
    assert "All members come from one site" in limits


def assert_every_number_is_in(card: dict[str, Any], text: str) -> None:
    """Hold each number of the Markdown against the numbers and the words of the JSON."""
    raw = json.dumps(card, ensure_ascii=False)
    numbers = re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", raw)
    known = {*numbers, *(each.removeprefix("-") for each in numbers)}
    known |= {*(f"{float(each):.3f}" for each in numbers if len(each) < 40)}
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = set(re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\w)", "\n".join(lines)))
    assert len(found) > 40
    assert found <= known, found - known


@pytest.mark.timeout(600)  # four processes load torch on as many cores as there are
def test_two_processes_train_together_and_a_refusal_of_theirs_is_told(context: Context) -> None:
    def together(**learning: Any) -> Context:
        given = context.settings.training
        changed = given.learning.model_copy(update={"processes": 2, **learning})
        training = given.model_copy(update={"learning": changed})
        settings = context.settings.model_copy(update={"training": training})
        return replace(context, settings=settings)

    assert train(together())["model"] == "stacks:1"
    with pytest.raises(Permanent, match=r"and 0\.0 MiB are free"):
        train(together(memory_bytes=1000))
    assert not list(context.folder.trainings.iterdir())


def test_what_cannot_be_trained_is_refused_and_registers_nothing(context: Context) -> None:
    with pytest.raises(Permanent, match="no architecture is called 'stranger'"):
        train(context, architecture="stranger")
    with context.database.read() as session:
        assert not session.exec(select(Model)).all()


def test_a_series_that_cannot_be_read_is_named_and_the_others_teach(
    context: Context, tmp_path: Path
) -> None:
    _spoil(context, "1.2.1", lambda path: path.write_bytes(path.read_bytes()[:700]))
    _spoil(context, "1.2.2", _without_spacing)
    aside = tmp_path / "aside"
    gone = _spoil(context, "1.2.3", lambda path: path.rename(aside))
    with pytest.raises(Permanent, match=r"study 1\.2\.3: an image file could not be read"):
        train(context)
    aside.rename(gone)
    done = train(context)
    told = {each["study"]: each["reason"] for each in done["not_used"]}
    assert told.keys() == {"1.2.1", "1.2.2"}
    assert told["1.2.2"] == "PixelSpacing of an image is missing"
    assert all(reason and str(tmp_path) not in reason for reason in told.values())
    assert done["model"] == "stacks:1"


def _spoil(context: Context, study: str, change: Callable[[Path], object]) -> Path:
    """Change one file of a study in the archive, as a failing disk may; return where it lies."""
    query = (
        select(Instance.digest)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(Series.study_instance_uid == study)
        .order_by(col(Instance.digest))
    )
    with context.database.read() as session:
        digest = session.exec(query).first()
    path = DicomStore(context.folder.root).path(str(digest))
    change(path)
    return path


def _without_spacing(path: Path) -> None:
    image = pydicom.dcmread(path)
    del image.PixelSpacing
    image.save_as(path)


def test_readers_labels_of_somebody_unknown_are_told_and_test_nothing(
    context: Context, tmp_path: Path
) -> None:
    path = tmp_path / "readers.csv"
    path.write_text(
        "level,subject,observation,site,reader,state\nimage,9.9.9,stenosis,whole,R1,present\n"
    )
    found = import_references(context, str(path))
    assert found["unknown_subjects"] == {"image": 1}
    frozen = freeze_cohort(context, "spine", "rules", SHORTCOMINGS)
    assert frozen["members"] == PATIENTS
    with context.database.read() as session:
        assert not session.exec(
            select(CohortMember).where(CohortMember.study_instance_uid == "9.9.9")
        ).all()

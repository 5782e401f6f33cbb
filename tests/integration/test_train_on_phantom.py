"""From simulated images on disk to predictions, through the same doors as the application."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from plugin.simulation import phantom
from plugin.simulation.truth import LEVELS, OBSERVATIONS, SpineTruth, draw_truth
from tests.phantom_files import write_series
from training.classifier import DISC_NETWORK
from training.discs import DISC_CHAIN
from training.experiment import BASELINE, train_on_members
from training.inference import predict
from training.samples import DiscSample, read_discs, study_samples
from training.settings import TrainingSettings
from training.trainer import train
from training.weights import save_weights

PATIENTS = 10


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, SpineTruth]:
    root = tmp_path_factory.mktemp("hospital")
    truths = {}
    for patient in range(PATIENTS):
        rng = np.random.default_rng([4, patient])
        truth, anatomy = draw_truth(rng), phantom.draw_anatomy(rng)
        scanner = replace(phantom.SCANNERS[patient % len(phantom.SCANNERS)], slices=7)
        folder = root / str(patient)
        write_series(folder, phantom.draw_series(truth, scanner, "T2", anatomy, rng), rng)
        truths[folder] = truth
    return truths


@pytest.fixture(scope="module")
def samples(hospital: dict[Path, SpineTruth]) -> list[DiscSample]:
    made = []
    for patient, (folder, truth) in enumerate(hospital.items()):
        fold = "train" if patient < 6 else "validation" if patient < 8 else "test"
        targets = {
            o: {level: float(truth.present(o, level)) for level in LEVELS} for o in OBSERVATIONS
        }
        discs = read_discs(files_of(folder), LEVELS)
        made += study_samples(discs, f"1.2.{patient}", str(patient), targets, fold)
    return made


def test_discs_of_all_scanners_are_found(samples: list[DiscSample]) -> None:
    assert len(samples) >= 0.85 * PATIENTS * len(LEVELS)


def test_training_learns_and_prediction_repeats_it(
    samples: list[DiscSample], hospital: dict[Path, SpineTruth], tmp_path: Path
) -> None:
    observations = ("disc_narrowing", "stenosis")
    settings = TrainingSettings(maximum_epochs=12, batch_size=16, learning_rate=2e-3)
    result = train(samples, observations, settings)
    assert result.curve[-1].training_loss < result.curve[0].training_loss
    digest = save_weights(tmp_path / "weights", result, {"cohort": "simulated"})
    last = str(PATIENTS - 1)
    files = files_of(next(f for f in hospital if f.name == last))
    rows = predict(tmp_path / "weights", digest, files, observations, LEVELS)
    assert len(rows) == len(observations) * len(LEVELS)
    for i, sample in enumerate(samples):
        if sample.patient_key == last:
            given = {r.observation: r.probability for r in rows if r.site == sample.site}
            expected = dict(zip(observations, result.probabilities[i], strict=True))
            assert given == pytest.approx(expected, abs=1e-4)


def test_the_record_holds_what_a_model_card_needs(hospital: dict[Path, SpineTruth]) -> None:
    folds = ("train", "train", "train", "validation", "test", "test")
    members = [
        {
            "study_instance_uid": f"1.2.{folder.name}",
            "patient_key": folder.name,
            "fold": fold,
            "files": [str(file) for file in files_of(folder)],
            "targets": {
                "stenosis": {level: float(i % 2) for i, level in enumerate(LEVELS)},
            },
        }
        for fold, (folder, _) in zip(folds, hospital.items(), strict=False)
    ]
    settings = TrainingSettings(maximum_epochs=1, batch_size=16, bootstrap_samples=100)
    _, record = train_on_members(
        members, ["stenosis"], LEVELS, settings, DISC_NETWORK, lambda _: None
    )
    found = record["test"]["observations"]["stenosis"]
    assert sum(each["n"] for each in found["reliability"]) == found["n"] > 0
    assert found["baselines"][BASELINE]["roc"]["fpr"][-1] == 1.0
    assert record["best_epoch"] == 1
    assert record["input"]["input_shape"] == list(DISC_NETWORK.input_shape)
    assert record["input"]["localiser"]["digest"] == DISC_CHAIN.digest

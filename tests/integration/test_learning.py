"""From simulated series on disk to an evaluated network and back to predictions."""

import json
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plugin.simulation import phantom
from plugin.simulation.truth import draw_truth
from tests.phantom_files import write_series
from training.architectures import registry
from training.architectures.resnet50_multilabel import ResNet50MultiLabel
from training.architectures.volume3d import Volume3D
from training.errors import Permanent
from training.learning import inference
from training.learning.baseline import NAME
from training.learning.curves import draw_curves
from training.learning.example import InputKind
from training.learning.experiment import Trained, held_out_probabilities, train_architecture
from training.learning.inference import loaded
from training.learning.members import examples_of_study, whole
from training.learning.preparing import prepare, resampled
from training.learning.settings import LearningSettings
from training.learning.weights import load_network, save_network
from training.settings import TrainingSettings

PATIENTS = 12
SITES = ("L4-L5", "L5-S1")
NETWORK = Volume3D().with_input_shape((4, 16, 16))
FOLDS = ("train", "train", "validation", "test")


def settings(**learning: Any) -> TrainingSettings:
    return TrainingSettings(
        maximum_epochs=2,
        batch_size=4,
        threads=1,
        bootstrap_samples=100,
        learning=LearningSettings(**{"least_of_a_class": 1, **learning}),
    )


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    root, found = tmp_path_factory.mktemp("series"), []
    for patient in range(PATIENTS):
        rng = np.random.default_rng([8, patient])
        scanner = replace(
            phantom.SCANNERS[patient % 4], rows=64, columns=56, slices=5, pixel_spacing=(4.0, 4.2)
        )
        series = phantom.draw_series(draw_truth(rng), scanner, "T2", phantom.draw_anatomy(rng), rng)
        write_series(root / str(patient), series, rng)
        files = sorted(str(each) for each in (root / str(patient)).iterdir())
        found.append(
            {
                "study_instance_uid": f"1.2.{patient}",
                "patient_key": f"p{patient}",
                "fold": FOLDS[patient % 4],
                # Either way in every fold: what is tested is the way, not what is learned.
                "targets": {
                    "odd": {"L4-L5": float(patient // 4 % 2), "L5-S1": 0.0},
                    "never": {"L4-L5": 0.0, "L5-S1": 0.0},
                },
                "files": files,
                "digests": [f"{patient}/{number}" for number in range(len(files))],
            }
        )
    return found


def train(
    members: list[dict[str, Any]], folder: Path, lines: list[str], **learning: Any
) -> Trained:
    return train_architecture(
        NETWORK,
        members,
        ("odd", "never"),
        SITES,
        settings(**learning),
        (folder / "cache", folder / "checkpoints"),
        lines.append,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def trained(members: list[dict[str, Any]], folder: Path) -> Trained:
    broken = folder / "broken.dcm"
    broken.write_bytes(b"no image")
    odd = {**members[0], "study_instance_uid": "1.2.99", "files": [str(broken)], "digests": ["x"]}
    return train([*members, odd], folder, [])


def test_the_record_tells_everything_beside_the_baseline(trained: Trained, folder: Path) -> None:
    record = json.loads(json.dumps(trained.record))
    assert [each["epoch"] for each in record["curve"]] == [1, 2]
    assert record["not_used"] == [
        {"study": "1.2.99", "fold": "train", "reason": "an image file is not readable DICOM"}
    ]
    assert "0 positives in train" in record["not_trained"]["never"]
    assert record["counts"] == {"train": 6, "validation": 3, "test": 3}
    figures = record["test"]["observations"]["odd"]
    assert figures["n"] == 3
    assert set(figures["baselines"]) == {NAME} == {record["baseline"]["name"]}
    assert figures["baselines"][NAME]["auroc"]["value"] is not None
    assert record["estimate"]["memory"]["parameters"] > 10_000
    assert record["estimate"]["duration"]["whole"] > 0
    assert record["cache"]["made"] == PATIENTS
    assert record["domain"]["inputs"] == {"train": 6, "validation": 3, "test": 3}
    assert record["architecture"]["preparation"] == "whole-stack-2/1x4x16x16"
    assert not list((folder / "checkpoints").iterdir())  # it is over


def test_prepared_inputs_are_found_again_and_the_result_is_the_same(
    trained: Trained, members: list[dict[str, Any]], folder: Path
) -> None:
    again = train(members, folder, lines := [])
    assert (again.record["cache"]["found"], again.record["cache"]["made"]) == (PATIENTS, 0)
    assert any(line.startswith("epoch 2 of 2") for line in lines)
    assert again.record["test"] == trained.record["test"]
    assert all((again.learned.state[k] == v).all() for k, v in trained.learned.state.items())


def test_a_saved_network_predicts_what_it_told_in_training(
    trained: Trained,
    members: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "network.safetensors"
    digest = save_network(
        path,
        trained.learned,
        input_shape=trained.input_shape,
        preparation=trained.preparation,
        thresholds=trained.record["thresholds"],
        provenance={"cohort": "simulated"},
        domain=trained.domain,
    )
    offered = EntryPoint("volume3d", "training.architectures.volume3d:ARCHITECTURE", registry.GROUP)
    monkeypatch.setattr(
        registry, "entry_points", lambda **given: EntryPoints([offered]).select(**given)
    )
    last = members[-1]
    files = [Path(each) for each in last["files"]]
    rows = loaded(path, digest, 1).predict(files, ("odd", "headache"), SITES)
    given = prepare(InputKind.VOLUME, files, NETWORK.input_shape, SITES)
    example = examples_of_study(last, InputKind.VOLUME, given, SITES)
    wanted = held_out_probabilities(NETWORK, trained.learned, example)
    assert rows[0].probability == pytest.approx(wanted[0, 0])
    assert (rows[1].probability, rows[1].reason) == (None, "the model does not predict this")
    (broken,) = loaded(path, digest, 1).predict([files[0], *files[:4]], ("odd",), SITES)
    assert (broken.site, broken.probability) == ("whole", None)
    assert "same position" in broken.reason
    assert load_network(path, digest).provenance == {"cohort": "simulated"}
    domain = load_network(path, digest).domain
    assert domain is not None
    assert domain.ranges["images"] == (5.0, 5.0)
    (short,) = loaded(path, digest, 1).predict(files[:2], ("odd",), SITES)
    assert short.probability is None
    assert "the number of images lies too far from 5 to 5" in short.reason
    monkeypatch.setitem(inference.form_of.__globals__["FORMS"], InputKind.VOLUME, "another")
    with pytest.raises(Permanent, match="prepared otherwise"):
        loaded(path, digest, 1).predict(files, ("odd",), SITES)
    with pytest.raises(Permanent, match="not the expected one"):
        load_network(path, "0" * 64)


def test_what_does_not_fit_or_is_too_small_is_refused_before_it_learns(
    members: list[dict[str, Any]], folder: Path
) -> None:
    with pytest.raises(Permanent, match=r"needs .* and 0\.0 MiB are free"):
        train(members, folder, lines := [], memory_bytes=1000)
    with pytest.raises(Permanent, match="too small: odd: 2 positives in train"):
        train(members, folder, lines, least_of_a_class=4)
    assert not [line for line in lines if line.startswith("epoch")]


def test_the_curve_is_a_picture(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    draw_curves(trained.learned.curve, trained.learned.best_epoch, path, "volume3d")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_pictures_keep_their_proportions_and_lie_in_the_middle(
    members: list[dict[str, Any]],
) -> None:
    files = [Path(each) for each in members[0]["files"]]
    shape = ResNet50MultiLabel().with_input_shape((32, 64)).input_shape
    stack = prepare(InputKind.IMAGE, files, shape, SITES)
    assert (stack.shape, stack.dtype) == (shape, np.float32)
    assert stack[0, :, :15].max() == stack[0, :, -15:].max() == 0 < stack[0, :, 20:44].max()
    single = prepare(InputKind.IMAGE, files[:1], shape, SITES)
    assert single.shape == shape
    assert not np.array_equal(single, stack)


def test_fine_patterns_do_not_come_out_as_coarse_ones() -> None:
    stripes = np.tile(np.array([0.0, 1.0], np.float32), (64, 32))
    coarse = resampled(stripes, (9, 9))
    assert np.ptp(coarse[2:-2, 2:-2]) < 0.2
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None, :].repeat(64, axis=0)
    np.testing.assert_allclose(
        resampled(ramp, (16, 16))[8, 2:-2], ramp.reshape(64, 16, 4).mean(2)[8, 2:-2], atol=0.02
    )


def test_a_study_has_what_one_of_its_sites_has_and_lacks_what_all_of_them_lack() -> None:
    assert whole({"a": None, "b": 1.0}) == 1.0
    assert whole({"a": 0.0, "b": 0.0}) == 0.0
    assert np.isnan(whole({"a": 0.0, "b": None}))
    assert np.isnan(whole({"a": None}))
    assert whole({"whole": 0.0, "a": 1.0}) == 0.0

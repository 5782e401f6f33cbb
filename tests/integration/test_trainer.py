import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from training.baseline import logistic_baseline
from training.classifier import DISC_NETWORK, ClassifierFamily
from training.errors import Permanent, Transient
from training.samples import DiscSample
from training.settings import TrainingSettings
from training.trainer import TrainingResult, masked_loss, operating_points, train
from training.weights import load_weights, save_weights

NAMES = ("bright", "rare")
FAST = TrainingSettings(maximum_epochs=3, batch_size=16, seed=3, learning_rate=3e-3)


@functools.cache
def samples() -> tuple[DiscSample, ...]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(40):
        crop = rng.normal(0.5, 0.05, DISC_NETWORK.input_shape).astype(np.float32)
        bright = i % 2
        crop[:, 16:32, 20:44] += 0.5 * bright
        fold = "train" if i < 24 else "validation" if i < 32 else "test"
        targets = {"bright": float(bright), "rare": float(i % 8 == 0) if i % 3 else float("nan")}
        made.append(DiscSample(f"1.2.{i}", f"patient {i}", "L4-L5", crop, targets, fold))
    return tuple(made)


@functools.cache
def trained() -> TrainingResult:
    return train(samples(), NAMES, FAST)


def test_family_keeps_the_protocol() -> None:
    assert isinstance(DISC_NETWORK, ClassifierFamily)
    network = DISC_NETWORK.build(3)
    crops = torch.zeros(2, *DISC_NETWORK.input_shape)
    assert network(crops).shape == (2, 3)
    assert sum(p.numel() for p in network.parameters()) < 300_000


def test_training_changes_are_determined_by_the_seed() -> None:
    crop = torch.rand(DISC_NETWORK.input_shape)
    first, second = (DISC_NETWORK.training_transform(5)(crop) for _ in range(2))
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(second))
    assert first.shape == crop.shape


def test_same_seed_gives_the_same_weights() -> None:
    again = train(samples(), NAMES, FAST)
    for name, value in trained().state.items():
        assert torch.equal(value, again.state[name]), name
    assert np.array_equal(trained().probabilities, again.probabilities)


def test_result_describes_itself() -> None:
    result = trained()
    assert result.probabilities.shape == (40, 2)
    assert ((result.probabilities >= 0) & (result.probabilities <= 1)).all()
    assert [each.epoch for each in result.curve] == [1, 2, 3]
    assert 1 <= result.best_epoch <= 3
    assert set(result.thresholds) == set(NAMES)
    assert result.counts == {"train": 24, "validation": 8}


def test_test_fold_is_not_looked_at() -> None:
    hidden = [
        dataclasses.replace(s, targets={n: float("nan") for n in NAMES}) if s.fold == "test" else s
        for s in samples()
    ]
    again = train(hidden, NAMES, FAST)
    assert np.array_equal(trained().probabilities, again.probabilities)


def test_masked_loss_leaves_missing_targets_out() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    nan = float("nan")
    weights = torch.ones(2)
    some = masked_loss(logits, torch.tensor([[1.0, nan], [nan, 0.0]]), weights)
    expected = (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(3.0))) / 2
    assert float(some) == pytest.approx(expected, rel=1e-5)
    assert float(masked_loss(logits, torch.full((2, 2), nan), weights)) == 0.0


def test_operating_point_lies_between_the_classes() -> None:
    probabilities = np.asarray([[0.1, 0.5], [0.2, 0.6], [0.7, 0.1], [0.9, 0.9]])
    targets = np.asarray([[0.0, 1.0], [0.0, np.nan], [1.0, 1.0], [1.0, np.nan]])
    points = operating_points(probabilities, targets, ("a", "b"))
    assert points == pytest.approx({"a": 0.45, "b": 0.5})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fold": "train"}, "fold validation has no samples"),
        ({"patient_key": "one"}, "two folds"),
        ({"targets": {"bright": 1.0}}, "lacks positive or negative"),
        ({"crop": np.zeros((1, 2, 2), np.float32)}, "shape"),
    ],
)
def test_unusable_samples_are_refused(change: dict[str, object], reason: str) -> None:
    changed = [dataclasses.replace(s, **change) for s in samples()]
    with pytest.raises(Permanent, match=reason):
        train(changed, NAMES, FAST)


def test_baseline_learns_a_bright_patch_and_leaves_the_unlearnable() -> None:
    made = [
        dataclasses.replace(s, targets={"bright": s.targets["bright"], "none": 0.0})
        for s in samples()
    ]
    probabilities = logistic_baseline(made, ("bright", "none"), seed=1)
    truth = np.asarray([s.targets["bright"] for s in made])
    assert ((probabilities[:, 0] > 0.5) == truth).all()
    assert np.isnan(probabilities[:, 1]).all()


def test_weights_travel_by_digest(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    digest = save_weights(path, trained(), {"cohort": "abc"})
    weights = load_weights(path, digest)
    assert weights.observations == NAMES
    assert weights.provenance == {"cohort": "abc"}
    assert weights.thresholds == trained().thresholds
    assert all(torch.equal(v, trained().state[k]) for k, v in weights.state.items())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_weights_with_another_digest_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    digest = save_weights(path, trained(), {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Permanent, match="not the expected one"):
        load_weights(path, digest)
    with pytest.raises(Transient):
        load_weights(tmp_path / "absent", digest)
    with pytest.raises(Permanent, match="JSON"):
        save_weights(path, trained(), {"value": object()})


def test_a_file_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "other"
    path.write_bytes(b"not weights")
    with pytest.raises(Permanent, match="no classifier"):
        load_weights(path, hashlib.sha256(b"not weights").hexdigest())

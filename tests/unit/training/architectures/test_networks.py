"""The two architectures that look at one array: shapes, losses, changes, features, weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from training.architectures import registry
from training.architectures.protocol import Architecture, Heads
from training.architectures.resnet50_multilabel import ResNet50MultiLabel
from training.architectures.volume3d import Volume3D
from training.errors import Permanent
from training.learning.example import Example, InputKind

HEADS = Heads(("a", "b", "c"), positive_weights={"a": 2.0})
PICTURE = ResNet50MultiLabel().with_input_shape((32, 40))
VOLUME = Volume3D().with_input_shape((4, 24, 16))


def example(architecture: Architecture, number: int = 0) -> Example:
    rng = np.random.default_rng(number)
    given = rng.random(architecture.input_shape, dtype=np.float32)
    return Example(str(number), "p", "train", given, {"a": 1.0, "b": 0.25})


@pytest.mark.parametrize("architecture", [PICTURE, VOLUME], ids=lambda each: each.name)
def test_an_architecture_learns_from_what_is_known(architecture: Architecture) -> None:
    assert isinstance(architecture, Architecture)
    torch.manual_seed(0)
    network = architecture.build(HEADS)
    batch = architecture.collate([example(architecture, n) for n in range(2)], HEADS)
    assert batch["input"].shape == (2, *architecture.input_shape)
    assert torch.isnan(batch["presence"]).tolist() == [[False, False, True]] * 2
    outputs = network(batch)
    assert outputs["presence"].shape == (2, 3)
    architecture.loss(outputs, batch, HEADS).backward()
    last = network.trunk.fc.weight.grad
    assert last[2].abs().sum() == 0 < last[1].abs().sum()
    wrong = Example("x", "p", "train", np.zeros((1, 4), np.float32), {})
    with pytest.raises(Permanent, match="shape"):
        architecture.collate([wrong], HEADS)


@pytest.mark.parametrize("architecture", [PICTURE, VOLUME], ids=lambda each: each.name)
def test_changes_are_those_of_the_seed_and_evaluation_has_none(architecture: Architecture) -> None:
    given = torch.from_numpy(example(architecture).input)
    one, again, other = (architecture.training_transform(seed)(given) for seed in (1, 1, 2))
    assert one.shape == given.shape
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(architecture.evaluation_transform()(given), given)


@pytest.mark.parametrize("architecture", [PICTURE, VOLUME], ids=lambda each: each.name)
def test_features_are_fixed_and_tell_inputs_apart(architecture: Architecture) -> None:
    given = [example(architecture, n) for n in range(3)]
    features = architecture.features(given)
    assert features.shape[0] == 3
    assert torch.isfinite(features).all()
    assert torch.equal(features, architecture.features(given))
    assert torch.equal(features[1:2], architecture.features(given[1:2]))
    assert not torch.equal(features[0], features[1])


def test_a_size_that_a_network_cannot_take_is_refused() -> None:
    with pytest.raises(Permanent, match="at least 32"):
        ResNet50MultiLabel().with_input_shape((16, 224))
    with pytest.raises(Permanent, match="slices, rows, and columns"):
        Volume3D().with_input_shape((32, 32))


def test_weights_of_a_local_file_begin_and_grey_is_the_sum_of_the_channels(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = PICTURE.build(HEADS).trunk.state_dict()
    coloured = {
        **state,
        "conv1.weight": state["conv1.weight"].repeat(1, 3, 1, 1) / 3,
        "fc.weight": torch.zeros(1000, 2048),
        "fc.bias": torch.zeros(1000),
    }
    path = tmp_path / "weights.safetensors"
    save_file(coloured, path)
    begun = PICTURE.with_weights(path)
    network = begun.build(HEADS)
    found = network.trunk.state_dict()
    for name, value in state.items():
        if not name.startswith("fc."):
            torch.testing.assert_close(found[name], value)
    assert found["fc.weight"].abs().sum() > 0
    assert len(begun.weights_digest) == 64
    save_file({"conv1.weight": state["conv1.weight"]}, path)
    with pytest.raises(Permanent, match="changed"):
        begun.build(HEADS)
    with pytest.raises(Permanent, match="missing"):
        PICTURE.with_weights(path).build(HEADS)
    path.write_bytes(b"no tensors")
    with pytest.raises(Permanent, match="no safetensors"):
        PICTURE.with_weights(path).build(HEADS)


def test_the_registry_gives_architectures_in_the_wanted_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    offered = EntryPoints(
        EntryPoint(name, f"training.architectures.{name}:ARCHITECTURE", registry.GROUP)
        for name in ("resnet50_multilabel", "volume3d")
    )
    offered = EntryPoints([*offered, EntryPoint("odd", "math:pi", registry.GROUP)])
    monkeypatch.setattr(registry, "entry_points", lambda **given: offered.select(**given))
    assert registry.names() == ["odd", "resnet50_multilabel", "volume3d"]
    found = registry.load("volume3d", (4, 32, 48))
    assert (found.kind, found.input_shape) == (InputKind.VOLUME, (1, 4, 32, 48))
    with pytest.raises(Permanent, match="takes no weights"):
        registry.load("volume3d", weights=tmp_path)
    with pytest.raises(Permanent, match="one shape only"):
        registry.load("odd", (3,))
    with pytest.raises(Permanent, match="is no architecture"):
        registry.load("odd")
    with pytest.raises(Permanent, match="installed: odd, resnet50"):
        registry.load("stranger")

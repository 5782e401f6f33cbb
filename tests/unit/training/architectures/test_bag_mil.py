"""Bags: padding, attention, masks, soft targets, and that one instance decides."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.acceptance.learning_loop import Plan, learn, outputs_of
from training.architectures.bag_mil import ARCHITECTURE, BagMil
from training.architectures.protocol import Architecture, Heads
from training.errors import Permanent
from training.learning.example import Example, InputKind

SHAPE = (1, 24, 32)
HEADS = Heads(("slip", "stenosis"), locations={"slip": ("left",)}, severities={"stenosis": 3})
BOTH = pytest.mark.parametrize("pooling", ["attention", "mean"])


def bag(size, seed=0, at=None, presence=None, fold="train"):
    """Return a bag of noise; the instance ``at`` has a bright middle."""
    pixels = np.random.default_rng(seed).normal(0.5, 0.1, (size, *SHAPE)).astype(np.float32)
    if at is not None:
        pixels[at, :, 8:16, 8:24] += 0.8
    given = {"slip": float(at is not None)} if presence is None else presence
    return Example(f"{fold} {seed}", f"{fold} {seed}", fold, pixels, given)


def network_of(architecture, seed=0):
    torch.manual_seed(seed)
    return architecture.build(HEADS)


def test_it_is_an_architecture_for_bags():
    assert isinstance(ARCHITECTURE, Architecture)
    assert ARCHITECTURE.kind is InputKind.BAG


@BOTH
def test_bags_of_different_size_stand_side_by_side(pooling):
    architecture = BagMil(SHAPE, pooling)
    batch = architecture.collate([bag(2), bag(5, 1)], HEADS)
    assert batch["input"].shape == (2, 5, *SHAPE)
    assert batch["mask"].tolist() == [[True] * 2 + [False] * 3, [True] * 5]
    outputs = network_of(architecture)(batch)
    shapes = {name: tuple(each.shape) for name, each in outputs.items()}
    assert shapes == {
        "presence": (2, 2),
        "location": (2, 1),
        "severity": (2, 2),
        "attention": (2, 2, 5),
    }


@BOTH
@pytest.mark.parametrize("training", [True, False])
def test_padding_gets_no_attention_and_changes_nothing(pooling, training):
    architecture = BagMil(SHAPE, pooling)
    batch = architecture.collate([bag(2), bag(3, 1)], HEADS)
    wider = dict(batch)
    wider["input"] = torch.cat([batch["input"], torch.full((2, 4, *SHAPE), 1e6)], dim=1)
    wider["input"][0, 2] = torch.nan
    wider["mask"] = torch.cat([batch["mask"], torch.zeros(2, 4, dtype=torch.bool)], dim=1)
    found, padded = (network_of(architecture).train(training)(b) for b in (batch, wider))
    torch.testing.assert_close(found["presence"], padded["presence"])
    assert torch.all(padded["attention"][~wider["mask"][:, None].expand(-1, 2, -1)] == 0)
    torch.testing.assert_close(padded["attention"].sum(dim=2), torch.ones(2, 2))


@BOTH
def test_the_order_of_the_instances_does_not_matter(pooling):
    architecture = BagMil(SHAPE, pooling)
    network = network_of(architecture).eval()
    forward, backward = bag(4), bag(4)
    backward = Example("1", "1", "train", backward.input[::-1].copy(), backward.presence)
    outputs = [network(architecture.collate([each], HEADS)) for each in (forward, backward)]
    torch.testing.assert_close(outputs[0]["presence"], outputs[1]["presence"])
    torch.testing.assert_close(outputs[0]["attention"], outputs[1]["attention"].flip(2))


def test_the_mean_is_that_of_the_probabilities_of_single_instances():
    architecture = BagMil(SHAPE, "mean")
    network = network_of(architecture).eval()
    whole = bag(3)
    singles = [Example("1", "1", "train", whole.input[i : i + 1], whole.presence) for i in range(3)]
    together = torch.sigmoid(network(architecture.collate([whole], HEADS))["presence"])
    apart = torch.sigmoid(network(architecture.collate(singles, HEADS))["presence"])
    torch.testing.assert_close(together[0], apart.mean(dim=0), atol=1e-5, rtol=1e-4)


def test_an_unknown_label_teaches_nothing_and_a_soft_one_its_probability():
    architecture = BagMil(SHAPE)
    network = network_of(architecture)
    batch = architecture.collate([bag(2, presence={"slip": 0.75}), bag(3, 1, presence={})], HEADS)
    outputs = network(batch)
    outputs["presence"].retain_grad()
    architecture.loss(outputs, batch, HEADS).backward()
    gradient = outputs["presence"].grad
    expected = torch.sigmoid(outputs["presence"].detach()[0, 0]) - 0.75
    torch.testing.assert_close(gradient[0, 0], expected)
    assert gradient[0, 1] == 0
    assert torch.all(gradient[1] == 0)


def bags_to_learn(count):
    rng = np.random.default_rng(5)
    sizes = rng.integers(3, 6, count)
    return [
        bag(int(size), seed, int(rng.integers(size)) if seed % 2 else None)
        for seed, size in enumerate(sizes)
    ]


def test_it_finds_the_instance_that_the_label_is_about():
    architecture, heads = BagMil(SHAPE), Heads(("slip",))
    tested = [bag(4, 100 + n, 2 if n % 2 else None, fold="test") for n in range(20)]
    plan = Plan(epochs=10, batch_size=8, variants=1)
    network = learn(architecture, bags_to_learn(48) + tested, heads, plan, seed=1)
    presence = outputs_of(architecture, network, tested, heads)[:, 0]
    assert roc_auc_score(np.arange(20) % 2, presence) > 0.9
    shown = [architecture.attention(network, each, heads) for each in tested[1::2]]
    assert all(each.shape == (1, 4) for each in shown)
    assert np.mean([each[0].argmax() == 2 for each in shown]) > 0.8


def test_the_seed_determines_the_weights():
    plan, architecture = Plan(epochs=1, batch_size=8, variants=1), BagMil(SHAPE)
    networks = [learn(architecture, bags_to_learn(12), HEADS, plan, seed) for seed in (1, 1, 2)]
    first, again, other = (each.state_dict() for each in networks)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["content.weight"], other["content.weight"])


def test_empty_bags_and_other_shapes_are_refused():
    architecture = BagMil(SHAPE)
    with pytest.raises(Permanent, match="no instance"):
        architecture.collate([bag(0)], HEADS)
    with pytest.raises(Permanent, match="shape"):
        BagMil((2, 24, 32)).collate([bag(2)], HEADS)
    with pytest.raises(Permanent, match="channels, rows and columns"):
        architecture.with_input_shape((24, 32))


def test_each_instance_changes_by_itself_and_features_do_not_hang_on_the_order():
    architecture = BagMil(SHAPE)
    same = torch.from_numpy(np.repeat(bag(1).input, 3, axis=0))
    changed = [architecture.training_transform(seed)(same) for seed in (1, 1)]
    assert torch.equal(changed[0], changed[1])
    assert not torch.equal(changed[0][0], changed[0][1])
    given = bag(4)
    turned = Example("1", "1", "train", given.input[::-1].copy(), given.presence)
    features = architecture.features([given, turned])
    torch.testing.assert_close(features[0], features[1])

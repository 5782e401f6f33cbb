"""Columns, targets and losses of presence, location and severity heads."""

import math

import numpy as np
import pytest
import torch

from training.architectures.heads import (
    location_columns,
    loss_of_heads,
    observation_of_columns,
    severity_columns,
    split_columns,
    step_probabilities,
    target_columns,
)
from training.architectures.masked import masked_bce
from training.architectures.protocol import Heads
from training.errors import Permanent
from training.learning.example import Example

NAN = float("nan")
HEADS = Heads(
    ("effusion", "heart"),
    locations={"effusion": ("left", "right")},
    severities={"heart": 3},
)
EVEN = {"presence": 1.0, "location": 1.0, "severity": 1.0}


def example(presence=None, locations=None, severities=None):
    pixels = np.zeros((1, 4, 4), dtype=np.float32)
    return Example("1", "p", "train", pixels, presence or {}, locations or {}, severities or {})


def zeros():
    return {n: torch.zeros(1, 2, requires_grad=True) for n in ("presence", "location", "severity")}


def test_columns_stand_in_the_order_of_the_observations():
    assert location_columns(HEADS) == [("effusion", "left"), ("effusion", "right")]
    assert severity_columns(HEADS) == [("heart", 1), ("heart", 2)]
    assert observation_of_columns(HEADS) == [0, 1, 0, 0, 1, 1]
    parts = split_columns(torch.arange(6.0)[None], HEADS)
    assert {name: part.tolist() for name, part in parts.items()} == {
        "presence": [[0, 1]],
        "location": [[2, 3]],
        "severity": [[4, 5]],
    }


def test_targets_keep_the_unmentioned_apart_from_the_contradicted():
    targets = target_columns(
        [
            example({"effusion": 0.7}, {"effusion": {"left": 1.0, "right": 0.0}}, {"heart": 1}),
            example({"heart": 1.0}),
        ],
        HEADS,
    )
    torch.testing.assert_close(
        targets["presence"], torch.tensor([[0.7, NAN], [NAN, 1.0]]), equal_nan=True
    )
    torch.testing.assert_close(
        targets["location"], torch.tensor([[1.0, 0.0], [NAN, NAN]]), equal_nan=True
    )
    torch.testing.assert_close(
        targets["severity"], torch.tensor([[1.0, 0.0], [NAN, NAN]]), equal_nan=True
    )


def test_a_severity_beyond_its_scale_is_refused():
    with pytest.raises(Permanent, match="no step of its scale"):
        target_columns([example(severities={"heart": 3})], HEADS)


def test_what_is_not_mentioned_gives_no_gradient_and_what_is_contradicted_counts_as_absent():
    outputs = zeros()
    batch = target_columns([example({"effusion": 1.0}, {"effusion": {"right": 0.0}})], HEADS)
    loss_of_heads(outputs, batch, HEADS, EVEN).backward()
    # The derivative of the cross-entropy by a logit of 0 is 0.5 - target.
    assert outputs["presence"].grad.tolist() == [[-0.5, 0.0]]
    assert outputs["location"].grad.tolist() == [[0.0, 0.5]]
    assert outputs["severity"].grad.tolist() == [[0.0, 0.0]]


def test_a_batch_without_targets_costs_nothing_whatever_the_logits():
    outputs = {name: each.detach() + math.inf for name, each in zeros().items()}
    assert float(loss_of_heads(outputs, target_columns([example()], HEADS), HEADS, EVEN)) == 0.0


def test_a_head_without_weight_learns_nothing():
    outputs = zeros()
    batch = target_columns([example({"effusion": 1.0}, {"effusion": {"left": 1.0}})], HEADS)
    heads = Heads(HEADS.observations, HEADS.locations, HEADS.severities, weights={"location": 0.0})
    loss_of_heads(outputs, batch, heads, EVEN).backward()
    assert outputs["location"].grad is None
    assert outputs["presence"].grad.tolist() == [[-0.5, 0.0]]


def test_the_loss_is_the_weighted_sum_of_the_heads():
    batch = target_columns([example({"effusion": 1.0}, {"effusion": {"left": 1.0}})], HEADS)
    weights = {"presence": 2.0, "location": 0.5}
    heads = Heads(HEADS.observations, HEADS.locations, HEADS.severities, weights=weights)
    loss = loss_of_heads(zeros(), batch, heads, EVEN)
    assert float(loss.detach()) == pytest.approx(2.5 * math.log(2))


@pytest.mark.parametrize("target", [0.0, 0.25, 0.9, 1.0])
def test_a_soft_target_is_best_met_by_its_own_probability(target):
    given = torch.logit(torch.linspace(0.005, 0.995, 199))
    losses = [float(masked_bce(each.reshape(1, 1), torch.tensor([[target]]))) for each in given]
    best = torch.sigmoid(given[int(np.argmin(losses))])
    assert float(best) == pytest.approx(min(max(target, 0.005), 0.995), abs=0.004)


def test_positives_weigh_what_the_heads_say():
    loss = masked_bce(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([3.0, 3.0]))
    assert float(loss) == pytest.approx((3 + 1) / 2 * math.log(2))


def test_steps_have_probabilities_that_sum_to_one_even_where_columns_contradict():
    steps = step_probabilities(torch.logit(torch.tensor([[0.8, 0.3], [0.2, 0.9]])), HEADS)["heart"]
    torch.testing.assert_close(steps, torch.tensor([[0.2, 0.5, 0.3], [0.8, 0.0, 0.2]]))

"""The loop learns what can be learned, the same for a seed, and never looks at the test fold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.tiny_architecture import OBSERVATIONS, Tiny, examples, heads, options
from training.errors import Permanent
from training.learning.loop import Learned, learn
from training.learning.losses import bounded_weights, masked_bce
from training.learning.predicting import logits_of, probabilities_of
from training.learning.targets import heads_for, presence_matrix
from training.samples import hard


def trained(**changes: object) -> Learned:
    given = examples()
    return learn(Tiny(), given, heads(given), options(**changes))


def same(one: Learned, other: Learned) -> bool:
    return all(torch.equal(value, other.state[name]) for name, value in one.state.items())


def test_what_can_be_seen_is_learned_and_told_as_a_probability() -> None:
    given, lines = examples(120), []
    found = learn(Tiny(), given, heads(given), options(epochs=12), progress=lines.append)
    network = Tiny().build(found.heads)
    network.load_state_dict(found.state)
    test = [each for each in given if each.fold == "test"]
    logits = logits_of(Tiny(), network, test, found.heads)
    given_probabilities = probabilities_of(logits, found.offsets, found.temperature)
    truth = hard(presence_matrix(test, OBSERVATIONS))
    for column in range(2):
        known = ~np.isnan(truth[:, column])
        assert roc_auc_score(truth[known, column], given_probabilities[known, column]) > 0.9
    assert found.curve[-1].training_loss < found.curve[0].training_loss
    assert len(lines) == len(found.curve)
    assert lines[0].startswith("epoch 1 of 12: training loss ")
    assert all(part in lines[0] for part in ("validation loss", "mean AUROC", "min left"))


def test_a_seed_determines_the_weights_and_another_gives_others() -> None:
    once, again, other = trained(epochs=2), trained(epochs=2), trained(epochs=2, seed=1)
    assert same(once, again)
    assert not same(once, other)


def test_workers_that_fetch_inputs_change_nothing() -> None:
    assert same(trained(epochs=2), trained(epochs=2, workers=1))


def test_the_test_fold_changes_nothing() -> None:
    given = examples()
    changed = [
        replace(each, input=each.input * np.nan, presence=dict.fromkeys(OBSERVATIONS, 1.0))
        if each.fold == "test"
        else each
        for each in given
    ]
    assert heads(given) == heads(changed)
    one, other = (learn(Tiny(), e, heads(e), options(epochs=2)) for e in (given, changed))
    assert same(one, other)


def test_training_stops_where_validation_no_longer_gains_and_keeps_the_best() -> None:
    rng = np.random.default_rng(0)
    noise = [
        replace(e, presence={name: float(rng.random() < 0.5) for name in OBSERVATIONS})
        for e in examples()
    ]
    found = learn(Tiny(), noise, heads(noise), options(epochs=60, patience=3))
    assert len(found.curve) == found.best_epoch + 3 < 60
    losses = [each.validation_loss for each in found.curve]
    assert losses.index(min(losses)) + 1 == found.best_epoch


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    given = examples()
    broken = [replace(given[0], input=given[0].input * np.nan), *given[1:]]
    with pytest.raises(Permanent, match="no number"):
        learn(Tiny(), broken, heads(given), options())


def test_folds_must_hold_examples_and_share_no_patient() -> None:
    given = examples()
    with pytest.raises(Permanent, match="fold validation"):
        learn(Tiny(), [e for e in given if e.fold == "train"], heads(given), options())
    twice = [*given, replace(given[0], id="again", fold="validation")]
    with pytest.raises(Permanent, match="two folds"):
        learn(Tiny(), twice, heads(given), options())


def test_the_loss_is_the_mean_over_what_is_known_and_takes_probabilities() -> None:
    nan = float("nan")
    logits = torch.tensor([[0.0, 2.0], [float("inf"), -1.0]], requires_grad=True)
    targets = torch.tensor([[0.25, nan], [nan, 0.0]])
    loss = masked_bce(logits, targets)
    wanted = (np.log(2.0) + np.log1p(np.exp(-1.0))) / 2
    assert loss.item() == pytest.approx(wanted)
    loss.backward()
    assert torch.equal(logits.grad != 0, ~torch.isnan(targets))
    assert logits.grad[0, 0].item() == pytest.approx((0.5 - 0.25) / 2)
    assert masked_bce(logits, torch.full((2, 2), nan)).item() == 0.0
    weighted = masked_bce(torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([3.0]))
    assert weighted.item() == pytest.approx(3 * np.log(2.0))


def test_rare_positives_weigh_more_within_bounds() -> None:
    assert bounded_weights([10, 1, 5, 0], [10, 30, 1, 9], 8.0) == [1.0, 8.0, 1.0, 8.0]
    given = [e for e in examples() if e.fold == "train"]
    rare = [replace(e, presence={"left": float(i < 5)}) for i, e in enumerate(given)]
    assert heads_for(rare, ["left"]).positive_weights["left"] == (len(given) - 5) / 5

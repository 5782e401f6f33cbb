"""Figures over seeds and their intervals by patient."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.acceptance.disc_grading import in_folds
from tests.acceptance.rivals import Trial
from training.learning.example import Example


def trial(patients=40, per_patient=4, resamples=300):
    rng = np.random.default_rng(0)
    keys = [str(n // per_patient) for n in range(patients * per_patient)]
    target = (rng.random(len(keys)) < 0.4).astype(float)
    good = np.stack([target + rng.normal(0, 0.8, len(keys)) for _ in range(3)])[:, :, None]
    bad = np.stack([target + rng.normal(0, 2.5, len(keys)) for _ in range(3)])[:, :, None]
    return Trial(("x",), target[:, None], keys, {"good": good, "bad": bad}, resamples)


def test_a_figure_is_the_mean_over_the_seeds_and_lies_in_its_interval():
    made = trial()
    expected = np.mean([roc_auc_score(made.targets[:, 0], s[:, 0]) for s in made.scores["good"]])
    figure = made.auroc("good", "x")
    assert figure.value == pytest.approx(expected)
    assert figure.low < figure.value < figure.high


def test_a_difference_is_paired():
    made = trial()
    ahead = made.ahead("good", "bad", "x")
    assert ahead.value == pytest.approx(
        made.auroc("good", "x").value - made.auroc("bad", "x").value
    )
    assert ahead.low > 0
    alike = made.ahead("good", "good", "x")
    assert (alike.value, alike.low, alike.high) == (0, 0, 0)


def test_cases_without_a_target_do_not_count():
    made = trial()
    made.targets[::3] = np.nan
    known = ~np.isnan(made.targets[:, 0])
    scores = {name: each[:, known] for name, each in made.scores.items()}
    kept = [key for key, each in zip(made.patients, known, strict=True) if each]
    same = Trial(("x",), made.targets[known], kept, scores, made.resamples)
    assert made.auroc("good", "x") == same.auroc("good", "x")


def test_folds_keep_patients_together_and_test_everyone_once():
    pixels = np.zeros((1, 2, 2), dtype=np.float32)
    examples = [Example(str(n), str(n // 3), "train", pixels, {}) for n in range(60)]
    folds = in_folds(examples, 5, seed=1)
    tested = [e.id for fold in folds for e in fold if e.fold == "test"]
    assert sorted(tested) == sorted(e.id for e in examples)
    for fold in folds:
        sides = {(e.patient_key, e.fold) for e in fold}
        assert len(sides) == len({key for key, _ in sides})
    assert [e.fold for e in folds[0]] != [e.fold for e in in_folds(examples, 5, seed=2)[0]]

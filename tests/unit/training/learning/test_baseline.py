"""The linear baseline fits on train, chooses on validation, and only predicts the test fold."""

from dataclasses import replace

import numpy as np
from sklearn.metrics import roc_auc_score

from tests.tiny_architecture import OBSERVATIONS, Tiny, examples
from training.learning.baseline import STRENGTHS, linear_baseline
from training.learning.classical import picture_features, volume_features
from training.learning.targets import presence_matrix
from training.samples import hard


def test_it_finds_what_can_be_seen_in_the_features() -> None:
    given = examples(160)
    found = linear_baseline(Tiny(), given, OBSERVATIONS, seed=0)
    assert found.features == 64
    assert set(found.strengths.values()) <= set(STRENGTHS)
    test = np.asarray([each.fold == "test" for each in given])
    truth = hard(presence_matrix(given, OBSERVATIONS))
    for column in range(2):
        rows = test & ~np.isnan(truth[:, column])
        assert roc_auc_score(truth[rows, column], found.probabilities[rows, column]) > 0.9


def test_targets_of_the_test_fold_are_not_looked_at_and_validation_alone_chooses() -> None:
    given = examples(80)
    plain = linear_baseline(Tiny(), given, OBSERVATIONS, seed=0)

    def flipped(fold: str) -> np.ndarray:
        changed = [
            replace(e, presence={k: 1.0 - v for k, v in e.presence.items()})
            if e.fold == fold
            else e
            for e in given
        ]
        return linear_baseline(Tiny(), changed, OBSERVATIONS, seed=0).probabilities

    assert np.array_equal(flipped("test"), plain.probabilities)
    assert not np.allclose(flipped("validation"), plain.probabilities)


def test_without_both_classes_there_is_no_model() -> None:
    given = [replace(e, presence={"left": 1.0}) for e in examples(16)]
    found = linear_baseline(Tiny(), given, ("left", "right"), seed=0)
    assert np.isnan(found.probabilities).all()
    assert found.strengths == {"left": None, "right": None}


def test_classical_features_have_one_size_and_see_where_edges_are() -> None:
    rng = np.random.default_rng(0)
    sizes = {picture_features(rng.random(shape)).shape for shape in ((16, 16), (64, 48), (31, 97))}
    assert sizes == {(496,)}
    upright, lying = np.zeros((32, 32)), np.zeros((32, 32))
    upright[:, 16:] = 1.0
    lying[16:, :] = 1.0
    edges = slice(144, 144 + 288)
    assert not np.allclose(picture_features(upright)[edges], picture_features(lying)[edges])
    inverted = picture_features(1.0 - upright)[edges]
    np.testing.assert_allclose(inverted, picture_features(upright)[edges], atol=1e-5)
    tiny = picture_features(rng.random((6, 5)))
    assert np.isfinite(tiny).all()
    assert volume_features(rng.random((9, 20, 24))).shape == (4 * 496 + 512,)

"""Metrics against scikit-learn, and what must hold for any scores."""

import warnings

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    recall_score,
    roc_auc_score,
)

from labeling.evaluation.resampling import auroc
from training.metrics import evaluate, operating_point

# Few distinct scores, so that ties are common.
scores = st.integers(0, 8).map(lambda value: value / 8)


@st.composite
def cases(draw, least=4):
    size = draw(st.integers(least, 25))
    target = draw(hnp.arrays(float, size, elements=st.sampled_from([0.0, 1.0])))
    assume(0 < target.sum() < size)
    return target, draw(hnp.arrays(float, size, elements=scores))


@settings(max_examples=15, deadline=None)
@given(cases(), scores)
def test_figures_equal_those_of_scikit_learn(drawn, threshold):
    target, score = drawn
    found = evaluate({"x": target}, {"x": score}, range(len(target)), {"x": threshold}, samples=2)[
        "observations"
    ]["x"]
    called = score >= threshold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "auroc": roc_auc_score(target, score),
            "average_precision": average_precision_score(target, score),
            "sensitivity": recall_score(target, called),
            "specificity": recall_score(1 - target, ~called),
            "balanced_accuracy": balanced_accuracy_score(target, called),
            "macro_f1": f1_score(target, called, average="macro", zero_division=0),
        }
    for name, value in expected.items():
        assert np.isclose(found[name]["value"], value), name


@settings(max_examples=15, deadline=None)
@given(cases(), st.data())
def test_a_weight_counts_like_so_many_copies(drawn, data):
    target, score = drawn
    weights = data.draw(hnp.arrays(int, target.size, elements=st.integers(0, 3)))
    copies = np.repeat(target, weights)
    assume(0 < copies.sum() < copies.size)
    weighted = auroc(target, score, weights[None, :].astype(float))[0]
    assert np.isclose(weighted, roc_auc_score(copies, np.repeat(score, weights)))


@settings(max_examples=15, deadline=None)
@given(cases())
def test_no_threshold_beats_the_operating_point(drawn):
    target, score = drawn
    chosen = operating_point(target, score)

    def youden(threshold):
        called = score >= threshold
        return called[target == 1].mean() - called[target == 0].mean()

    best = max(youden(each) for each in np.unique(score))
    if chosen.threshold is None:
        assert best <= 1e-9
        assert chosen.reason
    else:
        assert np.isclose(youden(chosen.threshold), best)

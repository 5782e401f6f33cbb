import math
from dataclasses import replace

import pytest

from labeling.evaluation.agreement import Judgement, agreement, choose_labeler
from labeling.evaluation.sample_size import wilson
from labeling.thresholds import UNCALIBRATED, InvalidThresholds, Threshold, Thresholds
from labeling.vocabulary import State

P, A, U, N, F = (
    State.PRESENT,
    State.ABSENT,
    State.UNCERTAIN,
    State.NOT_MENTIONED,
    State.FAILED,
)


def judgements(pairs, observation="x", scores=None):
    return [
        Judgement(observation, f"p{i}", label, reference, None if scores is None else scores[i])
        for i, (reference, label) in enumerate(pairs)
    ]


def test_agreement_is_computed_by_hand():
    pairs = [(P, P), (P, P), (P, A), (A, A), (N, P), (A, N), (A, A), (U, P)]
    result = agreement(judgements(pairs))["x"]
    assert (result.n, result.n_present, result.n_uncertain_reference) == (7, 3, 1)
    assert result.sensitivity.value == pytest.approx(2 / 3)
    assert result.specificity.value == pytest.approx(3 / 4)
    assert result.balanced_accuracy.value == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert result.macro_f1.value == pytest.approx((4 / 6 + 6 / 8) / 2)
    assert result.confusion[(A, A)] == 2
    assert result.auroc is None
    assert result.balanced_accuracy.low <= result.balanced_accuracy.value


def test_failing_earns_nothing():
    result = agreement(judgements([(P, F), (P, F), (A, F), (A, F)]))["x"]
    assert result.n_failed == 4
    assert result.balanced_accuracy.value == 0.5


def test_saying_absent_always_is_worth_half():
    result = agreement(judgements([(P, A)] + [(A, A)] * 99), resamples=0)["x"]
    assert result.balanced_accuracy.value == 0.5
    assert math.isnan(result.balanced_accuracy.low)


def test_one_class_gives_no_number():
    result = agreement(judgements([(A, A), (A, A)]))["x"]
    assert math.isnan(result.balanced_accuracy.value)
    assert math.isnan(result.macro_f1.value)


def test_no_interval_collapses_where_all_is_right():
    """Five patients of five: Wilson's interval, for patients and not for their reports."""
    pairs = [(P, P)] * 10 + [(A, A)] * 20
    found = [
        replace(each, patient=f"p{i // 2}")
        for i, each in enumerate(judgements(pairs, scores=[2.0] * 10 + [1.0] * 20))
    ]
    result = agreement(found)["x"]
    few, more = wilson(5, 5)[0], wilson(10, 10)[0]
    assert (result.sensitivity.low, result.specificity.low) == (few, more)
    assert result.sensitivity.high == result.balanced_accuracy.high == 1.0
    assert result.balanced_accuracy.low == (few + more) / 2
    assert (result.precision.low, result.f1.low, result.auroc.low) == (few, few, few)
    # Unequal weights make the same patients worth less.
    weighted = [
        replace(each, weight=1.0 + 3 * (i % 4 < 2), stratum="s") for i, each in enumerate(found)
    ]
    assert agreement(weighted)["x"].sensitivity.low < few


def test_intervals_are_wider_where_reports_share_a_patient():
    pairs = [(P, P), (P, A), (A, A), (A, P)] * 10
    alone = agreement(judgements(pairs))["x"].balanced_accuracy
    shared = [
        Judgement("x", f"p{i // 10}", label, reference)
        for i, (reference, label) in enumerate(sorted(pairs, key=str))
    ]
    together = agreement(shared)["x"].balanced_accuracy
    assert together.high - together.low > alone.high - alone.low


def test_a_margin_gives_an_area():
    result = agreement(judgements([(P, P), (A, A)], scores=[2.0, 1.0]))["x"]
    assert result.auroc is not None
    assert result.auroc.value == 1.0


def test_silence_that_nobody_weighed_lies_below_every_margin():
    pairs = [(P, P), (A, P), (A, N), (P, N)]
    given = judgements(pairs, scores=[2.0, 1.0, None, None])
    assert agreement(given)["x"].auroc is None
    left_out = [replace(each, asked=each.score is not None, probability=0.8) for each in given]
    left_out[2:] = [replace(each, probability=None) for each in left_out[2:]]
    result = agreement(left_out)["x"]
    assert result.auroc is not None
    assert result.auroc.value == 0.625
    assert result.n_not_asked == 2
    assert result.brier is not None
    assert result.brier.value == pytest.approx((0.2**2 + 0.8**2) / 2)
    lacking = agreement(judgements([(P, P), (A, A)], scores=[2.0, None]))["x"]
    assert lacking.auroc is None
    silent = agreement(judgements([(P, N), (A, N)], scores=[None, None]))["x"]
    assert silent.auroc is None


def test_the_better_labeler_is_chosen_and_ties_go_to_the_rules():
    good = judgements([(P, P), (A, A)])
    poor = judgements([(P, A), (A, A)])
    assert choose_labeler({"rules": poor, "token_scores": good}).labeler == "token_scores"
    choice = choose_labeler({"token_scores": good, "rules": good})
    assert choice.labeler == "rules"
    assert "rules 1.000, token_scores 1.000" in choice.sentence
    with pytest.raises(ValueError, match="no observation"):
        choose_labeler({"rules": judgements([(A, A)])})


def test_thresholds_decide_with_a_band():
    threshold = Threshold(low=0.5, high=1.5)
    assert [threshold.decide(m) for m in (1.6, 1.5, 0.5, 0.4)] == [P, U, U, A]
    assert UNCALIBRATED.of("x") == Threshold()
    assert UNCALIBRATED.digest == ""


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', '{"x": {"cat": 1}}'])
def test_other_text_is_no_thresholds(text):
    with pytest.raises(InvalidThresholds):
        Thresholds.from_json(text)

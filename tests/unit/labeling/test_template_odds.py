import math

import pytest

from labeling.llm.interface import Step
from labeling.template.odds import log_odds, log_sum, odds_at

VALUES = {
    "present": ("true",),
    "absent": ("false",),
    "uncertain": ('"uncertain"',),
    "silent": ('"not_mentioned"',),
}


def step(text, **shares):
    return Step(text, {name: math.log(share) for name, share in shares.items()})


def shares(odds):
    return {name: round(math.exp(log), 6) for name, log in odds.of.items()}


def test_the_alternatives_of_one_token_are_compared():
    steps = [Step('{"a": '), Step("true", {"true": math.log(0.6), "false": math.log(0.3),
                                           '"': math.log(0.1)})]  # fmt: skip
    odds = odds_at(steps, 6, VALUES)
    assert shares(odds) == {"present": 0.6, "absent": 0.3, "uncertain": 0.05, "silent": 0.05}
    assert not odds.bounded


def test_a_token_that_answers_share_is_parted_by_the_next():
    first = {' "': math.log(0.5), " true": math.log(0.3), " false": math.log(0.2)}
    second = {"unc": math.log(0.8), "not": math.log(0.2)}
    steps = [Step('{"a":'), Step(' "', first), Step("unc", second), Step('ertain"}')]
    assert shares(odds_at(steps, 6, VALUES)) == {
        "present": 0.3, "absent": 0.2, "uncertain": 0.4, "silent": 0.1,
    }  # fmt: skip


def test_a_token_with_what_stands_before_the_value_counts():
    steps = [Step('{"a'), Step('":true', {'":true': math.log(0.9), '": false': math.log(0.1)})]
    odds = odds_at(steps, 5, {"present": ("true",), "absent": ("false",)})
    assert shares(odds) == {"present": 0.9, "absent": 0.1}


def test_tokens_that_a_grammar_forces_are_passed_over():
    lists = {"some": tuple(f"[{digit}" for digit in range(1, 10)), "none": ("[]",)}
    chosen = {"1": math.log(0.4), "7": math.log(0.2), "]": math.log(0.4)}
    odds = odds_at([Step("["), Step("1", chosen), Step("]")], 0, lists)
    assert shares(odds) == {"some": 0.6, "none": 0.4}


def test_an_answer_outside_the_alternatives_counts_with_what_it_can_have_at_most():
    steps = [Step("true", {"true": math.log(0.9), "x": math.log(0.04)})]
    odds = odds_at(steps, 0, {"present": ("true",), "absent": ("false",)})
    assert odds.bounded
    assert shares(odds) == {"present": round(0.9 / 0.94, 6), "absent": round(0.04 / 0.94, 6)}


@pytest.mark.parametrize(
    "steps", [[], [Step("true")], [Step("tr"), Step("ue")], [Step("maybe", {"maybe": -0.1})]]
)
def test_without_alternatives_there_are_no_odds(steps):
    assert odds_at(steps, 0, VALUES) is None


def test_sums_and_differences_of_logarithms_stay_finite():
    assert log_sum(-math.inf, 0.0) == 0.0
    assert log_sum(-math.inf, -math.inf) == -math.inf
    assert log_odds(0.0, -math.inf) == 700.0

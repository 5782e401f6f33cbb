import copy
from typing import Any

import pytest

from labeling.vocabulary import State
from plugin.demo.checks import _agreement
from plugin.demo.run import find_problems

GOOD: dict[str, Any] = {
    "instances": 10,
    "messages": 3,
    "sent": {"instances": 10, "messages": 3},
    "links": {"wrong": 0, "missing": 0},
    "reports": {"unlinked_expected": 2, "sent_to_stay_unlinked": 2},
    "labels": {"rules": {"stenosis": {}}, "token_scores": {"stenosis": {}}},
    "cohort": {"members": 5},
    "classifier": {"auroc": {"stenosis": 0.9}},
    "sr": {"predicted_studies": 2, "delivered": 2, "outside_their_study": 0},
}


def test_a_loop_that_ran_has_no_problems() -> None:
    assert find_problems(GOOD) == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("sent", "instances", 11),
        ("sent", "messages", 4),
        ("links", "wrong", 1),
        ("links", "missing", 1),
        ("reports", "unlinked_expected", 1),
        ("labels", "token_scores", {}),
        ("cohort", "members", 0),
        ("classifier", "auroc", {}),
        ("sr", "delivered", 1),
        ("sr", "outside_their_study", 1),
    ],
)
def test_every_failure_is_a_problem(section: str, key: str, value: object) -> None:
    summary = copy.deepcopy(GOOD)
    summary[section][key] = value
    assert len(find_problems(summary)) == 1


def test_agreement_counts_states_and_never_accuracy_alone() -> None:
    truth = [State.PRESENT, State.PRESENT, State.ABSENT, State.NOT_MENTIONED]
    given = [State.PRESENT, State.ABSENT, State.ABSENT, State.NOT_MENTIONED]
    found = _agreement(truth, given)
    assert found["states"] == {"present": 1, "absent": 2, "not_mentioned": 1}
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)

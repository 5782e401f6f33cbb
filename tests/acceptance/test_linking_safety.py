"""Adversarial hospitals, small: the same programs that run with a million pairs."""

from __future__ import annotations

import pytest

from tests.acceptance import linking, order_independence


@pytest.mark.timeout(120)
def test_no_report_meets_the_wrong_patient() -> None:
    total = linking.run(pairs=2000, seed=1)
    verdict = total.verdict
    assert verdict.pairs >= 2000
    assert verdict.with_fault >= 0.4 * verdict.pairs
    assert verdict.wrong_links == 0, verdict.examples
    assert not verdict.broken, verdict.examples
    for name, baseline in total.baselines.items():
        assert baseline.wrong_links > 0, name


@pytest.mark.timeout(120)
def test_order_of_arrival_leaves_no_trace() -> None:
    outcome = order_independence.run(events=400, permutations=3, seed=1)
    assert outcome.events == 400
    assert len(outcome.states) == 1, outcome.difference
    assert outcome.contents["confirmed-link"] > 20

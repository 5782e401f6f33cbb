"""Injected uncertainty, what policies make of it, and where it is said to matter."""

import math

import numpy as np
import pytest

from plugin.simulation.chest_phantom import OBSERVATIONS
from tests.benchmarks.uncertainty_policies import POLICIES, starts_to_matter
from tests.parity.doubts import Chests, doubted, draw_chests, labelled


@pytest.fixture(scope="module")
def chests() -> Chests:
    return draw_chests(120, 10, 32)


def test_uncertain_labels_have_the_rate_and_share_that_were_asked_for(chests):
    for rate in (0.1, 0.3):
        found = doubted(chests, rate, 0.4, 0)
        assert not found[120:].any()
        assert found[:120].mean() == pytest.approx(rate, abs=0.01)
        assert chests.truth[found].mean() == pytest.approx(0.4, abs=0.05)


def test_harder_cases_are_doubted_more_often_and_a_higher_rate_adds_to_a_lower(chests):
    few, many = (doubted(chests, rate, 0.4, 0)[:120] for rate in (0.05, 0.3))
    hardness = chests.hardness[:120]
    assert hardness[many].mean() > hardness[~many].mean() + 0.05
    assert not (few & ~many).any()


def test_policies_change_uncertain_training_labels_alone(chests):
    uncertain = doubted(chests, 0.3, 0.4, 0)
    for policy in POLICIES:
        given = labelled(chests, uncertain, policy)
        said = np.asarray([[each.presence[o] for o in OBSERVATIONS] for each in given])
        assert np.array_equal(said[~uncertain], chests.truth[~uncertain])
        values = said[uncertain]
        if policy == "mask":
            assert all(map(math.isnan, values))
        elif policy == "soft":
            assert values.mean() == pytest.approx(chests.truth[uncertain].mean())
            assert ((values > 0) & (values < 1)).all()
        else:
            assert set(values) == {1.0 if policy == "inclusive" else 0.0}


def test_a_policy_matters_from_the_lowest_rate_at_which_a_finding_differs():
    p = {f"{policy} {rate:g}": dict.fromkeys(OBSERVATIONS, 0.5)
         for policy in POLICIES for rate in (0.05, 0.15, 0.3)}  # fmt: skip
    p["inclusive 0.15"] = p["inclusive 0.3"] = {**p["mask 0.3"], OBSERVATIONS[0]: 0.001}
    p["exclusive 0.3"] = dict.fromkeys(OBSERVATIONS, 0.03)  # not by the level for three findings
    found = starts_to_matter(p, [0.3, 0.05, 0.15])
    assert found == {"mask": None, "inclusive": 0.15, "exclusive": None, "soft": None}

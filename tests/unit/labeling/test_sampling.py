"""Drawing: known probabilities that add up, one of each patient, the same for the same seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.evaluation.sampling import (
    REST,
    Unit,
    allocated,
    candidates,
    draw,
    sizes_of,
    stratified,
)

UNITS = [
    Unit(f"A{number}", f"P{number // 3 if number < 60 else number}", frozenset(said))
    for number in range(200)
    for said in [{"rare"} if number % 40 == 0 else {"common"} if number % 5 == 0 else set()]
]


def drawn_from(seed, n=60, *, one=True):
    chosen = stratified(candidates(UNITS, seed, one_per_patient=one), ["rare", "common"])
    return draw(chosen, allocated(sizes_of(chosen), n, 0.5), seed)


def test_the_same_seed_draws_the_same_whatever_the_order():
    again = stratified(candidates(reversed(UNITS), 4), ["rare", "common"])
    assert draw(again, allocated(sizes_of(again), 60, 0.5), 4) == drawn_from(4)
    assert drawn_from(4) != drawn_from(5)


def test_one_of_each_patient_and_enriched():
    drawn = drawn_from(1)
    assert max(Counter(each.patient for each in drawn).values()) == 1
    strata = Counter(each.stratum for each in drawn)
    assert strata["rare"] >= 3
    assert sum(strata.values()) == 60
    assert strata[REST] == 30


def test_a_subject_comes_into_the_sample_as_often_as_its_probability_says():
    times: Counter[str] = Counter()
    said: dict[str, list[float]] = {}
    rounds = 300
    for seed in range(rounds):
        for each in drawn_from(seed):
            times[each.subject] += 1
            said.setdefault(each.subject, []).append(each.probability)
    # The second phase's probabilities depend on the first; so do the weights, whose mean is 1.
    for subject in ("A0", "A1", "A80", "A101", "A199"):
        mean_of_weights = sum(1 / each for each in said[subject]) / rounds
        assert mean_of_weights == pytest.approx(1.0, abs=0.4)
        assert times[subject] > 5


def test_all_of_a_patient_can_take_part():
    drawn = drawn_from(1, n=200, one=False)
    assert len(drawn) == 200
    assert {each.probability for each in drawn} == {1.0}


@given(
    sizes=st.dictionaries(st.sampled_from(["a", "b", "c", REST]), st.integers(1, 50), min_size=1),
    n=st.integers(1, 250),
    enriched=st.floats(0, 1),
)
def test_allocations_fill_strata_and_no_more(sizes, n, enriched):
    found = allocated(sizes, n, enriched)
    least = sum(min(size, 2) for size in sizes.values())
    assert found.keys() == sizes.keys()
    assert all(min(size, 2) <= found[name] <= size for name, size in sizes.items())
    assert sum(found.values()) == min(max(n, least), sum(sizes.values()))

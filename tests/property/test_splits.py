"""Splits: nobody on two sides, nobody lost without a reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import Permanent
from training.evaluation.splits import (
    SEVERAL,
    UNKNOWN,
    Split,
    StudyFacts,
    leave_one_site_out,
    placed,
)

dates = st.sampled_from(["20230101", "20231231", "20240101", "20250606", "", "2024"])
sites = st.sampled_from(["North", "South", "West", UNKNOWN, SEVERAL])
studies = st.lists(st.tuples(st.sampled_from("abcdef"), dates, sites), max_size=25).map(
    lambda rows: [StudyFacts(str(i), *row) for i, row in enumerate(rows)]
)
splits = st.one_of(
    st.just(Split("temporal", "20240101")),
    st.sampled_from(["North", "South"]).map(lambda site: Split("site", site)),
)


TEMPORAL = Split("temporal", "20240101")


def check(facts, found, split):
    by_side = {"train": set(), "test": set()}
    for each in facts:
        side, reason = found[each.study].side, found[each.study].reason
        assert (side is None) == bool(reason)
        if side:
            by_side[side].add(each.patient)
            assert split.side(each.date, each.site) == side
    assert not by_side["train"] & by_side["test"]
    # Whoever has a study on the test side is tested with it.
    tested = {each.patient for each in facts if split.side(each.date, each.site) == "test"}
    assert by_side["test"] == tested


@settings(max_examples=60, deadline=None)
@given(studies, splits)
def test_no_patient_on_two_sides_and_every_study_is_accounted_for(facts, split):
    check(facts, placed(facts, split), split)


@settings(max_examples=30, deadline=None)
@given(studies)
def test_each_site_is_left_out_once(facts):
    found = leave_one_site_out(facts)
    assert set(found) == {each.site for each in facts} - {UNKNOWN, SEVERAL}
    for site, own in found.items():
        check(facts, own, Split("site", site))


def test_a_study_of_nobody_known_is_on_no_side():
    found = placed([StudyFacts("1", "", "20250101"), StudyFacts("2", "", "20200101")], TEMPORAL)
    assert {each.reason for each in found.values()} == {"patient unknown"}


def test_sites_are_compared_without_case_and_blanks():
    facts = [StudyFacts("1", "a", "", "North  Clinic"), StudyFacts("2", "b", "", "NORTH CLINIC ")]
    facts.append(StudyFacts("3", "c", "", "South"))
    (north, south) = leave_one_site_out(facts).values()
    assert [north[each.study].side for each in facts] == ["test", "test", "train"]
    assert [south[each.study].side for each in facts] == ["train", "train", "test"]


def test_a_day_that_no_calendar_has_is_no_date():
    for value in ("99999999", "20250231"):
        with pytest.raises(Permanent, match="needs a date"):
            Split("temporal", value)
    assert TEMPORAL.side("20251301", "") is None

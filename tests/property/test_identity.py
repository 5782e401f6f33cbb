"""Identities are a function of what was said: neither arrival nor repetition matters."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.identity import Identities
from dicom_node.linking.identity_fold import Event

IDS = [Identifier(value, "HOSP") for value in "ABCD"]
TIMES = ["", *(f"2026010{day}0{hour}0000000000" for day in (1, 2, 3) for hour in (0, 5))]
PEOPLE = [("", "", ""), ("DOE^JANE", "19700101", "F"), ("ROE^JO", "19800101", "M")]


@st.composite
def events(draw: st.DrawFn) -> Event:
    action = draw(st.sampled_from(["seen", "update", "change", "merge", "merge", "move", "unlink"]))
    name, birth_date, sex = draw(st.sampled_from(PEOPLE))
    alone = action in ("seen", "update")
    return Event(
        action=action,
        time=draw(st.sampled_from(TIMES)),
        patient=draw(st.sampled_from(IDS)),
        prior=Identifier("") if alone else draw(st.sampled_from(IDS)),
        name=name,
        birth_date=birth_date,
        sex=sex,
        decided_by=draw(st.sampled_from(["", "alice"])),
    )


def _state(said: list[Event]) -> list[object]:
    found = Identities(said)
    return [
        (found.surviving(each), found.same(each), found.suspended(each), found.digest(each))
        for each in IDS
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(events(), max_size=7), st.randoms(use_true_random=False))
def test_arrival_and_repetition_do_not_matter(said: list[Event], order: random.Random) -> None:
    expected = _state(said)
    again = said + order.sample(said, len(said) // 2)
    order.shuffle(again)
    assert _state(again) == expected


def test_an_un_merge_that_is_sent_again_suspends_nobody_else() -> None:
    a, b, c, _ = IDS
    said = [
        Event("change", "", a, b),
        Event("change", "", a, c),
        Event("change", "", b, c),
        Event("unlink", "", a, b),
    ]
    assert _state([*said, said[-1]]) == _state(said)


@settings(max_examples=100, deadline=None)
@given(st.lists(events(), max_size=7))
def test_everybody_belongs_to_exactly_one_patient(said: list[Event]) -> None:
    found = Identities(said)
    for each in IDS:
        same = found.same(each)
        assert each in same
        assert {found.same(other) for other in same} == {same}
        assert {found.surviving(other) for other in same} == {found.surviving(each)}
        assert found.surviving(each) in same


@settings(max_examples=150, deadline=None)
@given(
    st.lists(events().filter(lambda each: each.action not in ("unlink", "move")), max_size=5),
    st.permutations(IDS),
    st.sampled_from(TIMES[1:]),
)
def test_an_un_merge_restores_exactly(said: list[Event], ids: list[Identifier], time: str) -> None:
    prior, survivor = ids[:2]
    pair = {prior, survivor}
    others = [each for each in said if {each.prior, each.patient} != pair]
    undone = [Event("merge", time, survivor, prior), Event("unlink", "2027", survivor, prior)]
    assert _state(others + undone)[: len(IDS)] == _state(others) or _unclear(others, pair)


def _unclear(others: list[Event], pair: set[Identifier]) -> bool:
    """Tell whether the two are one patient by other merges, which an un-merge cannot take back."""
    one, other = pair
    return other in Identities(others).same(one)

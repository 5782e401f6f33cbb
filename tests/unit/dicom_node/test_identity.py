from __future__ import annotations

from itertools import permutations

import pytest

from dicom_node.hl7.parsed import PatientAction
from dicom_node.linking.identifiers import Identifier, Issuers
from dicom_node.linking.identity import Identities
from dicom_node.linking.identity_fold import _RANK, REASONS, SEEN, Event

A, B, C, D = (Identifier(value, "HOSP") for value in "ABCD")


def _at(day: int, hour: int = 0) -> str:
    return f"202601{day:02}{hour:02}0000000000"


def _merge(prior: Identifier, survivor: Identifier, time: str = _at(1), **said: str) -> Event:
    return Event("merge", time, survivor, prior, **said)


def _unlink(one: Identifier, other: Identifier, time: str, by: str = "") -> Event:
    return Event("unlink", time, other, one, decided_by=by)


def _update(who: Identifier, time: str, name: str, birth_date: str, sex: str) -> Event:
    return Event("update", time, who, name=name, birth_date=birth_date, sex=sex)


def _remarks(events: list[Event]) -> list[str]:
    return [each.text for each in Identities(events).remarks]


def test_every_action_of_a_message_has_its_place() -> None:
    assert _RANK.keys() == {each.value for each in PatientAction} | {SEEN}


def test_nothing_said_leaves_everybody_alone() -> None:
    identities = Identities(())
    assert identities.surviving(A) == A
    assert identities.same(A) == {A}
    assert identities.suspended(A) == ""
    assert identities.digest(A) == ""


def test_merges_chain_to_the_one_that_is_left() -> None:
    identities = Identities([_merge(A, B), _merge(B, C, _at(2)), _merge(D, A, _at(3))])
    assert {identities.surviving(each) for each in (A, B, C, D)} == {C}
    assert identities.same(D) == {A, B, C, D}
    assert identities.suspended(A) == ""


def test_a_declared_and_an_assumed_issuer_are_two_patients() -> None:
    assumed = Identifier("A", "HOSP", True)
    identities = Identities([_merge(A, B)])
    assert identities.surviving(assumed) == assumed


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (_merge(A, A), "with itself"),
        (_merge(Identifier("A"), B), "without its issuer"),
        (_merge(A, Identifier("B")), "without its issuer"),
    ],
)
def test_a_merge_that_cannot_be_is_refused(event: Event, words: str) -> None:
    identities = Identities([event])
    assert identities.surviving(event.prior) == event.prior
    assert words in identities.remarks[0].text


def test_a_repeated_merge_changes_nothing() -> None:
    again = [_merge(A, B), _merge(A, B, _at(5))]
    assert Identities(again).same(A) == Identities(again[:1]).same(A)
    assert _remarks(again) == ["the merge was made before"]


@pytest.mark.parametrize(("hour", "suspended"), [(1, True), (24, True), (25, False)])
def test_a_merge_reversed_within_a_day_suspends_both(hour: int, suspended: bool) -> None:
    day, hour = divmod(hour, 24)
    identities = Identities([_merge(A, B), _merge(B, A, _at(1 + day, hour))])
    assert {identities.surviving(A), identities.surviving(B)} == {B}
    for each in (A, B):
        assert (identities.suspended(each) == REASONS["reversed"]) is suspended
    assert "reverses" in identities.remarks[0].text


def test_a_reversal_at_an_unknown_time_counts_as_within_a_day() -> None:
    assert Identities([_merge(A, B, _at(9)), _merge(B, A, "")]).suspended(A)


def test_a_cycle_over_several_is_refused() -> None:
    events = [_merge(A, B), _merge(B, C, _at(5)), _merge(C, A, _at(9))]
    identities = Identities(events)
    assert {identities.surviving(each) for each in (A, B, C)} == {C}
    assert identities.suspended(A) == ""
    assert Identities([*events[:2], _merge(C, A, _at(5, 3))]).suspended(B)


def test_a_merge_of_what_is_one_already_changes_nothing() -> None:
    events = [_merge(A, C), _merge(B, C, _at(2)), _merge(A, B, _at(3))]
    assert Identities(events).surviving(A) == C
    assert _remarks(events) == ["the identities were one patient before"]


def test_one_identity_in_two_patients_suspends_all_until_they_are_one() -> None:
    events = [_merge(A, B), _merge(A, C, _at(2))]
    identities = Identities(events)
    assert identities.surviving(A) == C
    assert identities.surviving(B) == B
    assert all(identities.suspended(each) == REASONS["two survivors"] for each in (A, B, C))
    settled = Identities([*events, _merge(B, C, _at(3))])
    assert not any(settled.suspended(each) for each in (A, B, C))


@pytest.mark.parametrize("pair", [(A, B), (B, A)])
def test_an_un_merge_restores_exactly(pair: tuple[Identifier, Identifier]) -> None:
    others = [_merge(B, C, _at(2)), _merge(D, A, _at(3))]
    before, after = Identities(others), Identities([*others, _merge(A, B), _unlink(*pair, _at(9))])
    for each in (A, B, C, D):
        assert after.surviving(each) == before.surviving(each)
        assert after.same(each) == before.same(each)
        assert after.suspended(each) == before.suspended(each)


def test_an_un_merge_before_the_merge_undoes_nothing() -> None:
    events = [_unlink(A, B, _at(1)), _merge(A, B, _at(2))]
    assert Identities(events).surviving(A) == B
    assert _remarks(events) == ["there is no merge of these two to take back"]


def test_an_un_merge_of_a_reversed_pair_lifts_the_suspension() -> None:
    events = [_merge(A, B), _merge(B, A, _at(1, 2)), _unlink(A, B, _at(2))]
    identities = Identities(events)
    assert identities.suspended(A) == ""
    assert identities.surviving(A) == A


def test_an_un_merge_of_patients_merged_by_way_of_others_suspends() -> None:
    events = [_merge(A, B), _merge(B, C, _at(2)), _unlink(A, C, _at(3))]
    assert Identities(events).suspended(B) == REASONS["unclear un-merge"]


def test_a_merge_after_a_person_took_it_back_suspends() -> None:
    events = [_merge(A, B), _unlink(A, B, _at(2), by="alice"), _merge(A, B, _at(3))]
    assert Identities(events).suspended(A) == REASONS["merged again"]
    assert (
        Identities([_merge(A, B), _unlink(A, B, _at(2)), _merge(A, B, _at(3))]).suspended(A) == ""
    )


def test_a_move_suspends_and_replaces_earlier_merges() -> None:
    move = Event("move", _at(2), C, A)
    identities = Identities([_merge(A, B), move])
    assert identities.surviving(A) == C
    assert identities.surviving(B) == B
    assert identities.suspended(A) == REASONS["moved"]
    assert identities.suspended(B) == ""
    restored = Identities([_merge(A, B), move, _unlink(A, C, _at(3))])
    assert restored.surviving(A) == B
    assert restored.suspended(A) == ""


def test_an_identifier_changed_to_a_new_one_of_its_issuer_is_followed() -> None:
    change = Event("change", _at(2), B, A)
    assert Identities([change]).surviving(A) == B
    assert Identities([change, Event("change", _at(3), B, A)]).suspended(A) == ""


@pytest.mark.parametrize(
    "events",
    [
        [_update(B, _at(1), "ROE^JO", "19800101", "M"), Event("change", _at(2), B, A)],
        [Event("change", _at(2), Identifier("B", "OTHER"), A)],
    ],
)
def test_a_change_to_an_identifier_in_use_or_of_another_issuer_suspends(
    events: list[Event],
) -> None:
    assert REASONS["id in use"] in Identities(events).suspended(A)


JANE = ("DOE^JANE", "19700101", "F")


@pytest.mark.parametrize(
    ("after", "suspended"),
    [
        (("DOE^JANE", "19700101", "F"), False),
        (("DOE^JANE", "19700102", "F"), False),
        (("DOE^JANE", "19700101", "M"), False),
        (("ROE^JANE", "19700101", "F"), False),
        (("ROE^JANE", "19700101", "M"), False),
        (("DOE^JANE", "19710101", "M"), True),
        (("ROE^JANE", "19710101", "F"), True),
        (("Doe^Jane", "19710101", ""), False),
        (("", "19710101", ""), False),
    ],
)
@pytest.mark.parametrize("first", ["update", SEEN])
def test_an_update_that_makes_somebody_else_suspends(
    after: tuple[str, str, str], suspended: bool, first: str
) -> None:
    name, birth_date, sex = JANE
    before = Event(first, _at(1), A, name=name, birth_date=birth_date, sex=sex)
    identities = Identities([before, _update(A, _at(2), *after)])
    assert identities.suspended(A) == (REASONS["overwritten"] if suspended else "")
    assert identities.suspended(B) == ""


def test_a_record_overwritten_in_two_steps_suspends_too() -> None:
    events = [
        _update(A, _at(1), *JANE),
        _update(A, _at(2), "DOE^JANE", "19800101", "F"),
        _update(A, _at(3), "DOE^JANE", "19800101", "M"),
    ]
    assert Identities(events[:2]).suspended(A) == ""
    assert Identities(events).suspended(A)


def test_what_is_seen_twice_differently_is_no_word_about_the_patient() -> None:
    wrong = Event(SEEN, _at(1), A, name="ROE^JO", birth_date="19800101", sex="M")
    right = Event(SEEN, _at(2), A, name="DOE^JANE", birth_date="19700101", sex="F")
    assert Identities([wrong, _update(A, _at(3), *JANE)]).suspended(A)
    assert not Identities([wrong, right, _update(A, _at(3), *JANE)]).suspended(A)
    assert not Identities([_update(A, "20250101", *JANE), wrong]).suspended(A)


def test_merging_different_people_suspends_them() -> None:
    said = dict(zip(("name", "birth_date", "sex"), JANE, strict=True))
    update = _update(A, _at(1), "ROE^RICHARD", "19500505", "M")
    identities = Identities([update, _merge(A, B, _at(2), **said)])
    assert identities.suspended(A) == REASONS["different people"]
    taken_back = Identities([update, _merge(A, B, _at(2), **said), _unlink(A, B, _at(3))])
    assert taken_back.suspended(A) == ""


def test_a_review_lifts_what_was_seen_and_nothing_more() -> None:
    events = [_update(A, _at(1), *JANE), _update(A, _at(2), "ROE^JO", "19800101", "M")]
    digest = Identities(events).digest(A)
    assert Identities(events, [digest]).suspended(A) == ""
    again = [*events, _update(A, _at(5), "ROE^JO", "19800101", "M")]
    assert Identities(again, [digest]).suspended(A) == ""
    more = [*events, _update(A, _at(5), "POE^ED", "19900101", "M")]
    assert Identities(more, [digest]).suspended(A)
    assert Identities(more, [digest, Identities(more).digest(A)]).suspended(A) == ""


def test_the_order_of_arrival_does_not_matter() -> None:
    events = [_merge(A, B), _merge(A, C, _at(2)), _merge(B, A, _at(1, 3)), _unlink(A, C, _at(4))]
    found = {
        (each.surviving(A), each.surviving(B), each.suspended(A), each.digest(C))
        for each in (Identities(order) for order in permutations(events))
    }
    assert len(found) == 1


def test_no_remark_or_reason_tells_a_value() -> None:
    events = [_merge(A, A), _merge(A, B), _merge(B, A, _at(1, 1)), _unlink(C, D, _at(2))]
    identities = Identities(events)
    text = " ".join([*(each.text for each in identities.remarks), identities.suspended(A)])
    assert "HOSP" not in text


def test_equivalent_issuers_get_one_name() -> None:
    issuers = Issuers([("HOSP", "1.2.3"), ("1.2.3", "GENERAL"), ()])
    names = ("HOSP", "1.2.3", "GENERAL")
    assert {issuers.normal(Identifier("A", name)) for name in names} == {A}
    assert issuers.normal(Identifier("A", "OTHER")) == Identifier("A", "OTHER")
    assert issuers.normal(Identifier("A")) == Identifier("A")


def test_an_empty_name_makes_no_issuer_equivalent() -> None:
    issuers = Issuers([("HOSP", "")])
    assert issuers.normal(Identifier("A")) == Identifier("A")


def test_an_assumed_issuer_is_declared_only_where_it_is_trusted() -> None:
    assumed = Identifier("A", "1.2.3", True)
    assert Issuers([("HOSP", "1.2.3")]).normal(assumed) == Identifier("A", "HOSP", True)
    assert Issuers([("HOSP", "1.2.3")], ["1.2.3"]).normal(assumed) == A


def test_the_names_of_one_feed_hold_for_that_feed() -> None:
    general = Issuers([("HOSP", "1.2.3")], ["HOSP"])
    feed = Issuers([("1.2.3", "LOCAL")], (), general)
    assert feed.normal(Identifier("A", "LOCAL")) == A
    assert feed.normal(Identifier("A", "1.2.3", True)) == A
    assert general.normal(Identifier("A", "LOCAL")) == Identifier("A", "LOCAL")

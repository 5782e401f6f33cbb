"""Whether members stand: one line for each way to fall, and which of them stop a training."""

from dataclasses import replace

import pytest

from training.standing import CONSEQUENCES, Facts, Fault, fault_of, in_words

STANDS = Facts(needs_report=True)
OLD = {"is_current": False, "link_state": "withdrawn"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"result_status": "C"}, None),
        ({"link_state": "suspended"}, Fault.LINK),
        ({"link_state": "withdrawn"}, Fault.LINK),
        ({"link_state": "refused"}, Fault.LINK),
        ({"link_state": ""}, Fault.LINK),
        ({"result_status": "P"}, Fault.NOT_FINAL),
        ({"final_reports": 2}, Fault.SEVERAL),
        ({**OLD, "current_status": "C", "current_link": "confirmed"}, Fault.CORRECTED),
        ({**OLD, "current_status": "F", "current_link": "confirmed"}, Fault.CORRECTED),
        ({**OLD, "current_status": "P", "current_link": "confirmed"}, Fault.NOT_FINAL),
        ({**OLD, "current_status": "C", "current_link": "suspended"}, Fault.LINK),
        ({**OLD, "current_status": "C", "current_link": ""}, Fault.LINK),
        ({**OLD, "current_status": "W"}, Fault.WITHDRAWN),
        ({**OLD, "current_status": "X"}, Fault.WITHDRAWN),
        (OLD, Fault.LINK),  # no version is current any more
        ({"frozen": True}, Fault.FROZEN),
        ({"frozen": True, "link_state": "suspended"}, Fault.LINK),
        ({"frozen": True, "final_reports": 2}, Fault.FROZEN),
        ({"same_images": False}, Fault.IMAGES),
        ({"same_key": False}, Fault.MOVED),
        ({"same_key": False, "folds": 2}, Fault.TWO_FOLDS),
    ],
)
def test_the_gravest_fault_is_named(changes, fault):
    assert fault_of(replace(STANDS, **changes)) is fault


def test_a_test_member_whose_truth_is_a_readers_needs_no_link():
    facts = Facts(needs_report=False, link_state="withdrawn")
    assert fault_of(facts) is None
    assert fault_of(replace(facts, frozen=True)) is Fault.FROZEN


def test_every_fault_has_its_consequences_and_what_spoils_also_stops():
    assert set(CONSEQUENCES) == set(Fault)
    for each in CONSEQUENCES.values():
        assert each.stops or not each.spoils
        assert each.taints or not each.stops


def test_the_sentence_counts_by_reason():
    assert in_words({}, 3) == ""
    said = in_words({Fault.LINK: 2, Fault.CORRECTED: 1}, 40)
    assert said.startswith("3 of 40 members do not stand any more (2: its link is not confirmed")

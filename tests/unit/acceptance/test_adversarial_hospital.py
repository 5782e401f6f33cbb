"""The generated hospitals keep their written rates, and the truth that they tell is true."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any

from tests.acceptance.adversarial.baselines import link_by_numbers
from tests.acceptance.adversarial.drafts import Lost, Pair
from tests.acceptance.adversarial.hospital import Arrival, Hospital
from tests.acceptance.adversarial.rates import LEAST_SHARE, load_rates
from tests.acceptance.adversarial.sites import NORTH, SOUTH
from tests.acceptance.adversarial.verdict import Found, judge

PAIRS = 2000


@lru_cache(maxsize=1)
def _made() -> tuple[Hospital, list[Arrival]]:
    hospital = Hospital(PAIRS, seed=7)
    return hospital, [each for arrivals in hospital.arrivals() for each in arrivals]


def test_every_fault_is_as_frequent_as_was_written_down() -> None:
    hospital, _ = _made()
    rates = load_rates()
    count = Counter(fault for pair in hospital.pairs for fault in pair.faults)
    assert len(hospital.pairs) >= PAIRS
    assert set(count) == set(rates.faults)
    for fault, share in rates.faults.items():
        assert count[fault] / len(hospital.pairs) >= max(share, LEAST_SHARE), fault
    faulty = sum(bool(pair.faults) for pair in hospital.pairs)
    assert faulty / len(hospital.pairs) >= rates.pairs["faulty"]


def test_the_sites_share_numbers_as_was_written_down() -> None:
    sites, shared = load_rates().sites, _made()[0].shared()
    assert shared["accession"] >= 0.9 * sites["shared_accession_numbers"]
    assert shared["patient_id"] >= 0.9 * sites["shared_patient_ids"]


def test_a_seed_gives_one_hospital() -> None:
    first, again, other = (
        [each for arrivals in Hospital(200, seed).arrivals() for each in arrivals]
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def _fields(message: bytes, name: str) -> list[list[str]]:
    """The fields of every segment of a name, split without any help of the product."""
    text = message.decode("iso8859_1" if b"8859/1" in message[:200] else "utf-8", "replace")
    segments = (line.split("|") for line in text.split("\r"))
    return [fields for fields in segments if fields[0] == name]


def _said(message: bytes) -> dict[str, Any]:
    """What a report says about whose it is, and about which study."""
    site = NORTH if b"|NORTH|" in message[:60] else SOUTH
    groups = _fields(message, "OBR")
    assumed = site.accession_issuer if site.trusts_assumed_issuers else ""
    numbers = [([*group[18].split("^"), assumed])[:2] for group in groups if group[18]]
    patients = [each.split("^") for each in _fields(message, "PID")[0][3].split("~")]
    uids = [fields[1].split("^")[0] for fields in _fields(message, "ZDS")]
    uids += [obx[5] for obx in _fields(message, "OBX") if obx[3].startswith("113014")]
    assumed = site.patient_issuer if site.trusts_assumed_issuers else ""
    return {
        "key": (f"RIS|{site.name}", groups[0][3].split("^")[0]),
        "uids": set(uids),
        "accessions": {(value, issuer) for value, issuer in numbers if issuer},
        "patients": {(each[0], each[3] or assumed) for each in patients if each[3] or assumed},
        "born": _fields(message, "PID")[0][7],
        "observed": groups[0][7][:8],
    }


def _ordered(message: bytes) -> tuple[str, str]:
    """Sender of the reports and filler order number that an order is about."""
    fields = _fields(message, "ORC")[0]
    return f"RIS|{message.split(b'|')[3].decode()}", fields[3].split("^")[0]


def _agrees(said: dict[str, Any], study: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a key and whether the patient agree, by plain comparison."""
    accession = (study["accession_number"], study["issuer_of_accession_number"])
    patient = (study["patient_id"], study["issuer_of_patient_id"])
    key = study["study_instance_uid"] in said["uids"] or accession in said["accessions"]
    return key, patient in said["patients"]


def test_what_is_left_of_the_data_is_what_the_truth_says() -> None:
    """Another reading of the bytes finds both agreements, or not, as the generator claims."""
    hospital, arrivals = _made()
    studies = {each.study["study_instance_uid"]: each.study for each in arrivals if each.study}
    said: dict[tuple[str, str], dict[str, Any]] = {}
    for each in arrivals:
        if b"|ORU^R01" in each.message:
            found = _said(each.message)
            said[found["key"]] = found
    ordered = {_ordered(each.message) for each in arrivals if b"|ORDERS|" in each.message[:20]}
    joined = {"merge", "unmerge", "reversed_merge"}
    checked: Counter[str] = Counter()
    for pair in hospital.pairs:
        own = said[pair.sender, pair.filler]
        agreements = [_agrees(own, studies[uid]) for uid in pair.studies]
        key, patient = (all(each) for each in zip(*agreements, strict=True))
        if not joined & set(pair.faults):
            assert patient == (Lost.PATIENT not in pair.lost), pair
            checked["patient"] += 1
        if "wrong_study_uid" not in pair.faults and (pair.sender, pair.filler) not in ordered:
            assert key == (Lost.KEY not in pair.lost), pair
            checked["key"] += 1
        if {"wrong_study_uid"} & set(pair.faults):
            assert not own["uids"] & set(pair.studies)
            assert Lost.CONTRADICTION in pair.lost
    assert min(checked.values()) > 0.5 * len(hospital.pairs)


def test_an_order_carries_both_agreements() -> None:
    """Reports that lean on their order find in it the study and the patient, unless it says so."""
    hospital, arrivals = _made()
    studies = {each.study["study_instance_uid"]: each.study for each in arrivals if each.study}
    orders = {
        _ordered(each.message): each.message.decode("iso8859_1")
        for each in arrivals
        if b"|ORDERS|" in each.message[:20]
    }
    leaning = [pair for pair in hospital.pairs if "order_only" in pair.faults]
    assert leaning
    for pair in leaning:
        order = orders.get((pair.sender, pair.filler))
        assert (order is None) == (Lost.KEY in pair.lost), pair
        assert order is None or pair.studies[0] in order
        if order is not None and not pair.lost and len(pair.faults) == 1:
            assert f"|{studies[pair.studies[0]]['patient_id']}^" in order


def test_no_fault_takes_back_the_messages_of_another() -> None:
    """Where two faults meet in one pair, the merge or update of the first is still sent."""
    hospital, arrivals = _made()
    sent = b"".join(each.message for each in arrivals if b"|ADT|" in each.message[:20])
    reports = [_said(each.message) for each in arrivals if b"|ORU^R01" in each.message]
    said = {each["key"]: each for each in reports}
    for pair in hospital.pairs:
        if {"merge", "reversed_merge", "patient_overwritten"} & set(pair.faults):
            ids = [value for value, _ in said[pair.sender, pair.filler]["patients"]]
            assert any(f"|{each}^".encode() in sent for each in ids), pair


def test_swapped_dates_contradict() -> None:
    hospital, arrivals = _made()
    studies = {each.study["study_instance_uid"]: each.study for each in arrivals if each.study}
    reports = [_said(each.message) for each in arrivals if b"|ORU^R01" in each.message]
    said = {each["key"]: each for each in reports}
    for pair in hospital.pairs:
        own, study = said[pair.sender, pair.filler], studies[pair.studies[0]]
        if "swapped_birth_date" in pair.faults:
            assert own["born"] != study["patient_birth_date"]
        if "swapped_exam_date" in pair.faults:
            assert own["observed"][:6] != study["study_date"][:6]


def test_bytes_that_cannot_be_decoded_cannot_be_decoded() -> None:
    hospital, arrivals = _made()
    faulty = {(p.sender, p.filler) for p in hospital.pairs if "charset" in p.faults}
    wrong = set()
    for each in arrivals:
        if b"UNICODE UTF-8" in each.message:
            try:
                each.message.decode()
            except UnicodeDecodeError:
                site = each.message.split(b"|")[3].decode()
                match = re.search(rb"OBR\|1\|[^|]*\|(\d+)", each.message)
                assert match is not None
                wrong.add((f"RIS|{site}", match.group(1).decode()))
    assert wrong == faulty


def test_the_usual_baselines_meet_the_wrong_patient() -> None:
    hospital, _ = _made()
    truth = (hospital.pairs, hospital.people, hospital.bare)
    bare = link_by_numbers(*truth, with_patient=False)
    both = link_by_numbers(*truth, with_patient=True)
    assert bare.wrong_person > both.wrong_person > 0


def _pair(**changes: Any) -> Pair:
    values: dict[str, Any] = {
        "key": 1,
        "sender": "RIS|NORTH",
        "filler": "1",
        "studies": ("1.1", "1.2"),
        "faults": (),
        "lost": frozenset(),
        "contested": False,
        "text": ("new",),
        "appended": (),
        "superseded": ("old",),
        "said": (("A",), "P"),
    }
    return Pair(**(values | changes))


PEOPLE = {"1.1": 1, "1.2": 1, "1.3": 1, "1.4": 2}


def _judged(pair: Pair, *found: Found) -> Any:
    return judge([pair], PEOPLE, {("RIS|NORTH", "1"): list(found)} if found else {}, {})


def test_a_perfect_node_is_found_perfect() -> None:
    verdict = _judged(_pair(), Found("new", frozenset({"1.1", "1.2"})))
    assert verdict.broken == ["faulty_recall"]  # there was no faulty pair to find
    assert (verdict.clean_linked, verdict.confirmed_links, verdict.texts) == (1, 2, 1)


def test_every_broken_promise_is_seen() -> None:
    linked = frozenset({"1.1", "1.2"})
    lost = _pair(lost=frozenset({Lost.WITHDRAWN}), text=None, faults=("cancelled",))
    assert _judged(_pair(), Found("new", linked | {"1.4"})).wrong_person == 1
    assert _judged(_pair(), Found("new", linked | {"1.3"})).wrong_links == 1
    assert _judged(_pair(), Found("new", linked | {"9.9"})).wrong_links == 1
    assert _judged(_pair(), Found("new", frozenset({"1.1"}))).clean_linked == 0
    assert _judged(_pair(), Found("old", linked)).texts_wrong == 1
    assert _judged(_pair(), Found("new")).unlinked_without_reason == 1
    assert _judged(_pair(), Found("new", reason="why")).unlinked_without_reason == 0
    false = Found("new", reason="no study has arrived", open_reasons=frozenset({"suspended"}))
    assert _judged(_pair(), false).unlinked_without_reason == 1
    assert _judged(_pair()).reports_missing == 1
    assert _judged(_pair(), Found("new", linked), Found("new")).reports_doubled == 1
    assert _judged(lost, Found("", linked)).withdrawn_linked == 1
    assert _judged(lost, Found("", linked)).linked_without_agreement == 1
    stray = judge([], PEOPLE, {("X|Y", "1"): [Found("", linked)]}, {})
    assert stray.wrong_links == 2

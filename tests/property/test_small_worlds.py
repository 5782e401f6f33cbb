"""Every small world: no report meets another patient's study, whatever comes in whatever order.

A world is up to six events out of a catalogue about two people at two sites: images, reports,
merges, un-merges, updates and confirmations, right ones and wrong ones. What holds is a function of
what has arrived and of the events' own times. So the states that all interleavings of six events
can reach are: every set of up to six of them, in every order of the own times. All are visited.

The oracle knows who is who, because it wrote the catalogue; it shares nothing with the rules.
Two people and two sites are twins in everything but their first names: birth date and sex agree,
both sites use the same numbers for patients and orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations, permutations

import pytest

from dicom_node.linking.decision import CONFIRMED, Decision
from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.identity import Identities
from dicom_node.linking.identity_fold import Event
from dicom_node.linking.people import HumanDecision, settle
from dicom_node.linking.rules import decide
from dicom_node.settings import LinkingSettings

SETTINGS = LinkingSettings()
SIX = 6
ANN, BEA = "DOE^ANN", "DOE^BEATRIX"


def _id(value: str, site: str = "NORTH", *, assumed: bool = False) -> Identifier:
    return Identifier(value, site, assumed)


def _study(uid: str, accession: Identifier, patient: Identifier, name: str) -> StudyEvidence:
    return StudyEvidence(
        study_instance_uid=uid,
        accession=accession,
        patient=patient,
        name=name,
        birth_date="19700101",
        sex="F",
        study_date="20260301",
    )


def _report(accession: Identifier, patient: Identifier, name: str, *uids: str) -> ReportEvidence:
    return ReportEvidence(
        feed_accepted=True,
        study_instance_uids=frozenset(uids),
        accessions=(accession,) if accession.value else (),
        patients=frozenset({patient}),
        name=name,
        birth_date="19700101",
        sex="F",
        observation_date="20260301",
    )


# Ann is 1 in the north and 2 in the south, Bea the other way round; Ann was once 3 in the north.
STUDIES = {
    "ann north": _study("1", _id("A"), _id("1"), ANN),
    "bea south": _study("2", _id("A", "SOUTH"), _id("1", "SOUTH"), BEA),
    "bea north": _study("3", _id("B"), _id("2"), BEA),
    "ann before": _study("4", _id("C"), _id("3"), ANN),
    "ann mistyped": _study("5", _id("B"), _id("1"), ANN),
    "bea bare": _study("6", Identifier("A"), Identifier("1"), BEA),
}
REPORTS = {
    "of ann north": _report(_id("A"), _id("1"), ANN),
    "of bea south": _report(_id("A", "SOUTH"), _id("1", "SOUTH"), BEA),
    "of bea north": _report(_id("B"), _id("2"), BEA),
    "of ann before": _report(_id("C"), _id("1"), ANN),
    "wrong accession": _report(_id("A"), _id("2"), BEA),
    "wrong patient": _report(_id("A"), _id("2"), ANN),
    "wrong study uid": _report(_id("B"), _id("2"), BEA, "1"),
    "wrong in both": _report(_id("A"), _id("1"), BEA),
    "bare": _report(Identifier("A"), Identifier("1"), BEA),
    "wrong accession, bare patient": _report(_id("A"), Identifier("2"), BEA),
    "wrong default": _report(_id("A", assumed=True), _id("1", assumed=True), BEA),
}
TRUTH = {
    "of ann north": {"1"},
    "of bea south": {"2", "6"},
    "of bea north": {"3"},
    "of ann before": {"4"},
    "wrong accession": {"3"},
    "wrong patient": {"1"},
    "wrong study uid": {"3"},
    "wrong in both": {"3"},
    "bare": {"2", "6"},
    "wrong accession, bare patient": {"3"},
    "wrong default": {"2", "6"},
}
"""Which study each report is really about."""

IDENTITY = {
    "right merge": Event("merge", "", _id("1"), _id("3")),
    "wrong merge": Event("merge", "", _id("2"), _id("1")),
    "reversed": Event("merge", "", _id("1"), _id("2")),
    "un-merge": Event("unlink", "", _id("2"), _id("1")),
    "overwritten": Event(
        "update", "", _id("1"), name="ROE^RICHARD", birth_date="19500505", sex="M"
    ),
}
PEOPLE = {"alice confirms": "alice", "bob confirms": "bob"}
CONFIRMED_BY_THEM = ("wrong accession", "1")

FAULTS = frozenset(
    {"ann mistyped", "wrong accession", "wrong patient", "wrong study uid", "wrong default"}
    | {"wrong merge", "reversed", "overwritten", "wrong accession, bare patient"}
)
TWO_FAULTS = frozenset({"wrong in both"})
CATALOGUE = (*STUDIES, *REPORTS, *PEOPLE)


@cache
def _identities(order: tuple[str, ...]) -> Identities:
    """What was said about identities, at the hours of the order, after what the images showed."""
    seen = Event("seen", "2025", _id("1"), name=ANN, birth_date="19700101", sex="F")
    said = (
        replace(IDENTITY[name], time=f"20260301{hour:02}0000000000")
        for hour, name in enumerate(order)
    )
    # The last word arrives first.
    return Identities([*reversed(list(said)), seen])


@cache
def _reads(order: tuple[str, ...], name: str, named: bool) -> ReportEvidence:
    report, identities = REPORTS[name], _identities(order)
    return replace(
        report,
        patients=frozenset(identities.surviving(each) for each in report.patients),
        suspended="; ".join(filter(None, (identities.suspended(each) for each in report.patients))),
        name=report.name if named else "",
    )


@cache
def _shows(order: tuple[str, ...], name: str, named: bool) -> StudyEvidence:
    study, identities = STUDIES[name], _identities(order)
    return replace(
        study,
        patient=identities.surviving(study.patient),
        suspended=identities.suspended(study.patient),
        name=study.name if named else "",
    )


@cache
def _decided(
    order: tuple[str, ...], report: str, studies: tuple[str, ...], named: bool
) -> tuple[Decision, ...]:
    found = [_shows(order, name, named) for name in studies]
    return tuple(decide(_reads(order, report, named), found, SETTINGS))


@cache
def _same_identities(order: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first of all orders after which everybody is who they are after this one."""
    identities = _identities(order)
    people = sorted({each for some in REPORTS.values() for each in some.patients} | {_id("3")})
    known = tuple((identities.surviving(each), identities.suspended(each)) for each in people)
    return _FIRST.setdefault(known, order)


_FIRST: dict[object, tuple[str, ...]] = {}


def _confirmed(
    order: tuple[str, ...], arrived: tuple[str, ...], named: bool
) -> frozenset[tuple[str, str]]:
    if CONFIRMED_BY_THEM[0] not in arrived:  # then nobody confirms anything
        arrived = tuple(name for name in arrived if name not in PEOPLE)
    return _say(_same_identities(order), arrived, named)


@cache
def _say(
    order: tuple[str, ...], arrived: tuple[str, ...], named: bool
) -> frozenset[tuple[str, str]]:
    """What the product says, with the tables played by this test."""
    studies = tuple(name for name in arrived if name in STUDIES)
    reports = [name for name in arrived if name in REPORTS]
    decided = {name: _decided(order, name, studies, named) for name in reports}
    if not any(each.state == CONFIRMED for some in decided.values() for each in some) and not any(
        name in PEOPLE for name in arrived
    ):
        return frozenset()
    report, uid = CONFIRMED_BY_THEM
    seen = next((each for each in decided.get(report, ()) if each.study_instance_uid == uid), None)
    human = [
        HumanDecision(uid, "confirm", seen.evidence_digest, PEOPLE[name])
        for name in arrived
        if name in PEOPLE and seen is not None
    ]
    settled = settle(decided, {}, {}, {report: human} if human else {})
    return frozenset(
        (name, each.study_instance_uid)
        for name, some in settled.items()
        for each in some
        if each.state == CONFIRMED
    )


def _worlds(
    orders: Iterable[tuple[str, ...]], holding: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield orders of events about identities, each with everything else that fits beside it.

    Of the events about anything else, those of ``holding`` are always there.
    """
    rest = [name for name in CATALOGUE if name not in holding]
    return (
        (order, holding + others)
        for order in orders
        for size in range(0 if holding else 1, SIX - len(order) - len(holding) + 1)
        for others in combinations(rest, size)
    )


def _orders() -> Iterator[tuple[str, ...]]:
    sizes = range(len(IDENTITY) + 1)
    return (order for size in sizes for order in permutations(IDENTITY, size))


def _two_people_said_so(arrived: tuple[str, ...], link: tuple[str, str]) -> bool:
    """Tell whether two different people overrode a contradiction: the one way to a wrong link."""
    said = {PEOPLE[name].strip().lower() for name in arrived if name in PEOPLE}
    return link == CONFIRMED_BY_THEM and said == {"alice", "bob"}


def _wrong(arrived: tuple[str, ...], links: frozenset[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        link
        for link in links
        if link[1] not in TRUTH[link[0]] and not _two_people_said_so(arrived, link)
    ]


def test_no_small_world_has_a_wrong_link() -> None:
    # Of the orders after which everybody is the same, the shortest leaves the most room.
    different = [order for order in _orders() if order == _same_identities(order)]
    visited = linked = 0
    for order, arrived in _worlds(different):
        links = _confirmed(order, arrived, True)
        assert not _wrong(arrived, links), (order, arrived, links)
        visited += 1
        linked += bool(links)
    assert visited > 50_000
    assert linked > 10_000


def test_without_names_no_single_fault_makes_a_wrong_link() -> None:
    for order, arrived in _worlds(_orders()):
        faults = FAULTS & {*order, *arrived}
        if len(faults) <= 1 and not TWO_FAULTS & {*arrived}:
            links = _confirmed(order, arrived, False)
            assert not _wrong(arrived, links), (order, arrived, links)


DISTURBED_BY = {
    ("of ann north", "1"): {
        "wrong accession",
        "wrong patient",
        "wrong study uid",
        "wrong merge",
        "reversed",
        "overwritten",
    },
    ("of bea south", "2"): set(),
    ("of bea north", "3"): {"ann mistyped", "wrong merge", "reversed"},
}
"""By which events each right link may be held up: a link is given up only for a reason."""


@pytest.mark.parametrize("link", DISTURBED_BY)
def test_a_right_link_stands_in_every_world_without_what_disturbs_it(
    link: tuple[str, str],
) -> None:
    report, uid = link
    (study,) = (name for name, each in STUDIES.items() if each.study_instance_uid == uid)
    found = 0
    for order, arrived in _worlds(_orders(), (study, report)):
        if not DISTURBED_BY[link] & {*order, *arrived}:
            assert link in _confirmed(order, arrived, True), (order, arrived)
            found += 1
    assert found > 100


HELD_UP = [
    (("of ann north", "1"), {"wrong accession"}, {"wrong merge", "reversed"}),
    (("of ann north", "1"), {"wrong patient"}, {"wrong merge", "reversed"}),
    (("of ann north", "1"), {"wrong study uid"}, {"wrong merge", "reversed"}),
    (("of ann north", "1"), {"overwritten"}, set()),
    (("of ann north", "1"), {"wrong merge", "reversed"}, {"un-merge"}),
    (("of bea north", "3"), {"ann mistyped"}, {"wrong merge", "reversed"}),
]
"""Which right links are given up, by what, and what would make another world of it."""


@pytest.mark.parametrize(("link", "by", "without"), HELD_UP)
def test_a_right_link_waits_in_every_world_in_which_it_is_in_doubt(
    link: tuple[str, str], by: set[str], without: set[str]
) -> None:
    report, uid = link
    (study,) = (name for name, each in STUDIES.items() if each.study_instance_uid == uid)
    orders = [order for order in _orders() if by & IDENTITY.keys() <= {*order}]
    found = 0
    for order, arrived in _worlds(orders, (study, report, *(by - IDENTITY.keys()))):
        if not without & {*order, *arrived}:
            assert link not in _confirmed(order, arrived, True), (order, arrived)
            found += 1
    assert found > 100


def test_a_merge_brings_report_and_study_together_and_only_then() -> None:
    arrived = ("ann before", "of ann before")
    assert not _confirmed((), arrived, True)
    assert _confirmed(("right merge",), arrived, True) == {("of ann before", "4")}


def test_an_un_merge_leaves_every_world_as_if_there_had_been_no_merge() -> None:
    for size in range(1, 4):
        for arrived in combinations((*STUDIES, *REPORTS), size):
            before = _confirmed((), arrived, True)
            assert _confirmed(("wrong merge", "un-merge"), arrived, True) == before
            assert _confirmed(("wrong merge", "reversed", "un-merge"), arrived, True) == before


def test_what_arrives_first_does_not_matter() -> None:
    arrived = ("ann north", "ann mistyped", "bea north", "of bea north", "wrong accession")
    order = ("wrong merge", "un-merge")
    found = {_say(order, each, True) for each in permutations(arrived)}
    assert len(found) == 1


def _by_accession(report: ReportEvidence, study: StudyEvidence) -> bool:
    return study.accession.value in {each.value for each in report.accessions}


def _by_accession_and_patient(report: ReportEvidence, study: StudyEvidence) -> bool:
    same = study.patient.value in {each.value for each in report.patients}
    return same and _by_accession(report, study)


@pytest.mark.parametrize("joins", [_by_accession, _by_accession_and_patient])
def test_the_oracle_catches_the_usual_ways_of_linking(
    joins: Callable[[ReportEvidence, StudyEvidence], bool],
) -> None:
    wrong = [
        (report, study)
        for report, said in REPORTS.items()
        for study, shown in STUDIES.items()
        if joins(said, shown) and shown.study_instance_uid not in TRUTH[report]
    ]
    assert wrong

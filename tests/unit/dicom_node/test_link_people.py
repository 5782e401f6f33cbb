from __future__ import annotations

import pytest

from dicom_node.linking.decision import Decision
from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.people import HumanDecision, apply_people, different_patients, settle
from dicom_node.linking.rules import decide
from dicom_node.settings import LinkingSettings

A1 = Identifier("A1", "SITE")
P1, P2 = Identifier("P1", "HOSP"), Identifier("P2", "HOSP")


def _report(patient: Identifier = P1, **said: object) -> ReportEvidence:
    made: dict[str, object] = {
        "feed_accepted": True,
        "accessions": (A1,),
        "patients": frozenset({patient}),
    }
    return ReportEvidence(**(made | said))  # type: ignore[arg-type]


def _study(**said: object) -> StudyEvidence:
    made: dict[str, object] = {"study_instance_uid": "1", "accession": A1, "patient": P1}
    return StudyEvidence(**(made | said))  # type: ignore[arg-type]


CLEAR = (_report(), _study())
DOUBTFUL = (_report(), _study(patient=Identifier("P1")))
WRONG = (_report(P2), _study())
HELD = (_report(suspended="a reason"), _study())


def _decision(seen: tuple[ReportEvidence, StudyEvidence]) -> Decision:
    (found,) = decide(seen[0], [seen[1]], LinkingSettings())
    return found


def _say(decision: Decision, *said: str) -> list[HumanDecision]:
    """Each word is ``person: action``, or ``person: action!`` on other evidence."""
    found = []
    for word in said:
        person, action = word.split(": ")
        digest = "other" if action.endswith("!") else decision.evidence_digest
        found.append(HumanDecision("1", action.rstrip("!"), digest, person))
    return found


@pytest.mark.parametrize(
    ("seen", "said", "state", "by"),
    [
        (CLEAR, [], "confirmed", ""),
        (CLEAR, ["al: confirm"], "confirmed", ""),
        (CLEAR, ["al: withdraw"], "withdrawn", "al"),
        (CLEAR, ["al: withdraw!"], "withdrawn", "al"),
        (CLEAR, ["al: withdraw", "bo: revert"], "confirmed", ""),
        (CLEAR, ["al: withdraw", "bo: confirm"], "confirmed", ""),
        (DOUBTFUL, ["al: confirm"], "confirmed", "al"),
        (DOUBTFUL, ["al: confirm!"], "proposed", ""),
        (DOUBTFUL, ["al: confirm", "al: revert"], "proposed", ""),
        (DOUBTFUL, ["al: confirm", "bo: withdraw"], "withdrawn", "bo"),
        (WRONG, ["al: confirm"], "refused", ""),
        (WRONG, ["al: confirm", "al: confirm"], "refused", ""),
        (WRONG, ["al: confirm", " AL : confirm"], "refused", ""),
        (WRONG, ["al: confirm", "bo: confirm"], "confirmed", "al, bo"),
        (WRONG, ["al: confirm!", "bo: confirm"], "refused", ""),
        (WRONG, ["al: confirm", "bo: confirm!"], "refused", ""),
        (WRONG, ["al: confirm", "bo: revert", "bo: confirm"], "refused", ""),
        (WRONG, ["al: confirm", "al: withdraw", "bo: confirm"], "refused", ""),
        (WRONG, ["al: confirm", "bo: confirm", "cy: withdraw"], "withdrawn", "cy"),
        (HELD, ["al: confirm"], "suspended", ""),
        (HELD, ["al: confirm", "bo: confirm"], "confirmed", "al, bo"),
        ((_report(feed_accepted=False), _study()), ["al: confirm", "bo: confirm"], "proposed", ""),
        ((_report(), _study(frozen="so")), ["al: confirm", "bo: confirm"], "suspended", ""),
    ],
)
def test_r13_people_and_rules(
    seen: tuple[ReportEvidence, StudyEvidence], said: list[str], state: str, by: str
) -> None:
    decision = _decision(seen)
    (found,) = apply_people([decision], _say(decision, *said))
    assert (found.state, found.decided_by) == (state, by)
    if by:
        assert found.rule == "person"
        assert found.evidence["the rules said"] == decision.state
    else:
        assert found.rule == decision.rule


def test_r13_a_confirmation_falls_when_the_evidence_changes() -> None:
    before = _decision(WRONG)
    human = _say(before, "al: confirm", "bo: confirm")
    after = _decision((_report(P2), _study(birth_date="19700101")))
    assert apply_people([after], human) == [after]


def test_a_decision_about_another_study_changes_nothing() -> None:
    decision = _decision(CLEAR)
    assert apply_people([decision], [HumanDecision("2", "withdraw", "", "al")]) == [decision]


def _settle(
    reports: dict[str, ReportEvidence], human: dict[str, list[HumanDecision]] | None = None
) -> dict[str, tuple[str, str]]:
    study = _study()
    decided = {key: decide(each, [study], LinkingSettings()) for key, each in reports.items()}
    settled = settle(decided, reports, {"1": study}, human or {})
    return {key: (each.state, each.rule) for key, (each,) in settled.items()}


def test_r5_reports_of_two_patients_freeze_the_study() -> None:
    assert _settle({"right": _report(), "wrong": _report(P2)}) == {
        "right": ("suspended", "contested"),
        "wrong": ("refused", "contradiction"),
    }


@pytest.mark.parametrize(
    "other",
    [
        _report(),
        _report(P2, feed_accepted=False),
        _report(P2, accessions=(Identifier("A1"),)),
        _report(Identifier("P2", "OTHER")),
        _report(patients=frozenset()),
    ],
)
def test_r5_reports_of_the_same_patient_or_without_a_claim_freeze_nothing(
    other: ReportEvidence,
) -> None:
    assert _settle({"right": _report(), "other": other})["right"][0] == "confirmed"


def test_r5_ends_when_a_person_withdraws_the_wrong_report() -> None:
    reports = {"right": _report(), "wrong": _report(P2)}
    human = {"wrong": [HumanDecision("1", "withdraw", "", "al")]}
    assert _settle(reports, human)["right"][0] == "confirmed"
    human["wrong"].append(HumanDecision("1", "revert", "", "al"))
    assert _settle(reports, human)["right"][0] == "suspended"


def test_r5_two_people_may_end_it_as_well() -> None:
    decision = _decision(CLEAR)
    human = {"right": _say(decision, "al: confirm", "bo: confirm")}
    reports = {"right": _report(), "wrong": _report(P2)}
    assert _settle(reports, human)["right"] == ("confirmed", "person")
    human["right"].pop()
    assert _settle(reports, human)["right"][0] == "suspended"


def test_the_evidence_of_a_foreign_linker_is_filled_in() -> None:
    bare = Decision("1", "proposed", "foreign", "so it is")
    settled = settle({"r": [bare]}, {"r": _report()}, {"1": _study()}, {})
    assert settled["r"][0].evidence_digest == _decision(CLEAR).evidence_digest


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({P1}, {P2}, True),
        ({P1}, {P1, P2}, False),
        ({P1}, {Identifier("P2", "OTHER")}, False),
        ({P1}, {Identifier("P2", "HOSP", True)}, False),
        ({P1, Identifier("7", "N")}, {P2, Identifier("7", "N")}, False),
        (set(), {P1}, False),
    ],
)
def test_whether_two_reports_are_of_different_patients(
    one: set[Identifier], other: set[Identifier], expected: bool
) -> None:
    assert different_patients(one, other) is expected

from __future__ import annotations

import pytest

from dicom_node.linking.decision import (
    ACCESSION_VIA_ORDER,
    CONFIRMED,
    QUALIFIED_ACCESSION,
    REQUIREMENTS,
    STATES,
    STRONG_KEYS,
    STUDY_UID,
    STUDY_UID_VIA_ORDER,
    Decision,
)
from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.rules import RULES, decide
from dicom_node.settings import LinkingSettings

SETTINGS = LinkingSettings()
A1, A2 = Identifier("A1", "SITE"), Identifier("A2", "SITE")
P1, P2 = Identifier("P1", "HOSP"), Identifier("P2", "HOSP")
REPORT: dict[str, object] = {
    "feed_accepted": True,
    "accessions": (A1,),
    "patients": frozenset({P1}),
    "name": "DOE^JANE",
    "birth_date": "19700101",
    "sex": "F",
    "modality": "MR",
    "body_part": "LSPINE",
    "observation_date": "20260228101500+0100",
    "zone_known": True,
    "clock_skew_seconds": 4.0,
}
STUDY: dict[str, object] = {
    "study_instance_uid": "1.2.3",
    "accession": A1,
    "patient": P1,
    "name": "Doe^Jane",
    "birth_date": "19700101",
    "sex": "F",
    "study_date": "20260228",
    "modalities": frozenset({"MR"}),
    "body_parts": frozenset({"LSPINE"}),
}


def _report(**changes: object) -> ReportEvidence:
    return ReportEvidence(**(REPORT | changes))  # type: ignore[arg-type]


def _study(**changes: object) -> StudyEvidence:
    return StudyEvidence(**(STUDY | changes))  # type: ignore[arg-type]


def _one(report: dict[str, object], study: dict[str, object]) -> Decision:
    (decision,) = decide(_report(**report), [_study(**study)], SETTINGS)
    return decision


def _uids(*uids: str) -> dict[str, object]:
    return {"study_instance_uids": frozenset(uids)}


@pytest.mark.parametrize(
    ("report", "study", "state", "rule", "words"),
    [
        ({}, {}, "confirmed", QUALIFIED_ACCESSION, "patient agree"),
        (_uids("1.2.3"), {}, "confirmed", STUDY_UID, "Study Instance UID"),
        (_uids("1.2.3"), {"accession": Identifier("")}, "confirmed", STUDY_UID, ""),
        (_uids("1.2.3", "1.2.4"), {}, "confirmed", STUDY_UID, ""),
        (
            {"accessions": (), "order_accessions": (A1,)},
            {},
            "confirmed",
            ACCESSION_VIA_ORDER,
            "via order",
        ),
        (
            {"accessions": (), "order_study_instance_uids": frozenset({"1.2.3"})},
            {"accession": Identifier("")},
            "confirmed",
            STUDY_UID_VIA_ORDER,
            "via order",
        ),
        ({"accessions": (A2, A1)}, {}, "confirmed", QUALIFIED_ACCESSION, ""),
        # R2: one contradiction is enough.
        ({}, {"patient": P2}, "refused", "contradiction", "patient identifier"),
        ({}, {"birth_date": "19700102"}, "refused", "contradiction", "birth date"),
        ({}, {"sex": "M"}, "refused", "contradiction", "sex"),
        ({}, {"study_date": "20260303"}, "refused", "contradiction", "study date"),
        ({}, {"modalities": frozenset({"CT"})}, "refused", "contradiction", "modality"),
        ({}, {"body_parts": frozenset({"HEAD"})}, "refused", "contradiction", "body part"),
        # R3: a name vetoes.
        ({}, {"name": "ROE^RICHARD"}, "refused", "contradiction", "patient name"),
        # R5: every accession number is listed.
        (
            _uids("1.2.3"),
            {"accession": A2},
            "refused",
            "contradiction",
            "contradiction in accession number",
        ),
        (_uids("1.2.3") | {"accessions": (A1, A2)}, {"accession": A2}, "confirmed", STUDY_UID, ""),
        (
            {"accessions": (A2,), "order_study_instance_uids": frozenset({"1.2.3"})},
            {},
            "refused",
            "contradiction",
            "accession number",
        ),
        (_uids("9.9"), {}, "proposed", "other studies named", "other studies by UID"),
        (
            _uids("9.9") | {"accessions": (), "order_accessions": (A1,)},
            {},
            "proposed",
            "other studies named",
            "",
        ),
        # R1: an issuer that is missing, assumed or another's only proposes.
        (
            {"accessions": (Identifier("A1"),)},
            {},
            "proposed",
            "accession number",
            "report does not",
        ),
        (
            {},
            {"accession": Identifier("A1")},
            "proposed",
            "accession number",
            "study does not name",
        ),
        (
            {"accessions": (Identifier("A1"),)},
            {"accession": Identifier("A1")},
            "proposed",
            "accession number",
            "neither side names",
        ),
        (
            {},
            {"accession": Identifier("A1", "SITE", True)},
            "proposed",
            "accession number",
            "declared on one side and assumed",
        ),
        (
            {},
            {"patient": Identifier("P1", "OTHER")},
            "proposed",
            "patient not agreed",
            "different issuers",
        ),
        ({}, {"patient": Identifier("P1")}, "proposed", "patient not agreed", "does not name"),
        ({}, {"patient": Identifier("")}, "proposed", "patient not agreed", "one side names no"),
        ({"patients": frozenset()}, {}, "proposed", "patient not agreed", "one side names no"),
        (
            {"patients": frozenset({P1, P2})},
            {},
            "proposed",
            "patient not agreed",
            "several patient identifiers",
        ),
        ({"feed_accepted": False}, {}, "proposed", "feed not accepted", "not accepted"),
        # R7, and frozen studies.
        ({"suspended": "a reason"}, {}, "suspended", "patient suspended", "a reason"),
        ({}, {"suspended": "a reason"}, "suspended", "patient suspended", "a reason"),
        ({}, {"frozen": "in quarantine"}, "suspended", "study frozen", "in quarantine"),
        # R10: nothing rests on the date.
        ({"zone_known": False}, {}, "confirmed", QUALIFIED_ACCESSION, ""),
        ({"clock_skew_seconds": 9999.0}, {}, "confirmed", QUALIFIED_ACCESSION, ""),
        (
            {"zone_known": False},
            {"study_date": "20260303"},
            "refused",
            "contradiction",
            "study date",
        ),
    ],
)
def test_one_report_and_one_study(
    report: dict[str, object], study: dict[str, object], state: str, rule: str, words: str
) -> None:
    decision = _one(report, study)
    assert (decision.state, decision.rule) == (state, rule)
    assert words in decision.reason
    assert bool(decision.remedy) is (state != CONFIRMED)
    said = f"{decision.reason} {decision.evidence}"
    for value in ("DOE", "Doe", "19700101", "P1", "P2", "A1", "A2", "HOSP", "SITE"):
        assert value not in said


@pytest.mark.parametrize(
    ("report", "study"),
    [
        ({}, {"accession": A2}),
        ({}, {"accession": Identifier("A1", "OTHER")}),
        ({"accessions": (Identifier(""),)}, {"accession": Identifier("")}),
        ({"accessions": ()}, {"accession": Identifier("")}),
        ({"accessions": (Identifier("", "SITE"),)}, {"accession": Identifier("", "SITE")}),
    ],
)
def test_a_study_without_a_common_key_is_no_candidate(
    report: dict[str, object], study: dict[str, object]
) -> None:
    assert decide(_report(**report), [_study(**study)], SETTINGS) == []


def test_r4_several_studies_of_one_patient_under_one_accession_all_link() -> None:
    found = decide(_report(), [_study(study_instance_uid=uid) for uid in ("2", "1")], SETTINGS)
    assert [(each.study_instance_uid, each.state) for each in found] == [
        ("1", "confirmed"),
        ("2", "confirmed"),
    ]


@pytest.mark.parametrize(
    ("report", "other"),
    [
        ({}, {"patient": P2}),
        ({}, {"patient": Identifier("P1", "OTHER")}),
        ({}, {"patient": Identifier("")}),
        (_uids("1.2.3"), {"patient": P2}),
        ({"order_study_instance_uids": frozenset({"1.2.4"})}, {"patient": P2, "accession": A2}),
    ],
)
def test_r4_candidates_of_different_patients_exclude_each_other(
    report: dict[str, object], other: dict[str, object]
) -> None:
    found = decide(
        _report(**report), [_study(), _study(study_instance_uid="1.2.4", **other)], SETTINGS
    )
    assert [(each.state, each.rule) for each in found] == [("refused", "ambiguous")] * 2
    assert all(each.evidence["candidates"] == ["1.2.3", "1.2.4"] for each in found)


def test_r4_a_bare_number_of_a_stranger_rivals_nobody() -> None:
    stranger = _study(study_instance_uid="1.2.4", accession=Identifier("A1"), patient=P2)
    found = decide(_report(), [_study(), stranger], SETTINGS)
    assert [each.state for each in found] == ["confirmed", "refused"]


def test_r4_bare_numbers_of_different_patients_propose_nothing() -> None:
    bare = {"accession": Identifier("A1"), "patient": Identifier("P1")}
    other = bare | {"study_instance_uid": "1.2.4", "patient": Identifier("P2")}
    found = decide(_report(), [_study(**bare), _study(**other)], SETTINGS)
    assert [each.rule for each in found] == ["ambiguous"] * 2


def test_a_wider_window_is_a_setting() -> None:
    wide = LinkingSettings(date_window_days=5)
    (decision,) = decide(_report(), [_study(study_date="20260303")], wide)
    assert decision.state == "confirmed"


def test_r13_a_decision_stores_its_evidence_and_the_version_of_the_rules() -> None:
    decision = _one({"zone_known": False}, {"body_parts": frozenset()})
    assert decision.evidence == {
        "patient identifier": "equal",
        "accession number": "equal",
        "birth date": "equal",
        "sex": "equal",
        "study date": "not comparable",
        "modality": "equal",
        "body part": "not comparable",
        "patient name": "equal",
        "found by": QUALIFIED_ACCESSION,
        "requirement": "R2",
        "rule version": 2,
        "clock": "not relied on",
    }


def test_the_table_of_rules_is_whole() -> None:
    assert [each.state for each in RULES].count(CONFIRMED) == 1
    assert RULES[-1].state == CONFIRMED
    assert {each.state for each in RULES} < set(STATES)
    assert {each.requirement for each in RULES} <= REQUIREMENTS.keys()
    assert list(REQUIREMENTS) == [f"R{number}" for number in range(1, 14)]
    names = [each.name for each in RULES]
    assert len(names) == len(set(names))
    assert not STRONG_KEYS.keys() & set(names)

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest
from sqlmodel import col, select

from dicom_node.database import Database
from dicom_node.errors import Permanent
from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.models import LinkDecision, LinkEvent
from dicom_node.linking.queries import explain, link_counts, unlinked_reports
from dicom_node.linking.rules import decide
from dicom_node.models import Link, Report
from dicom_node.settings import LinkingSettings
from tests.hl7_builders import LINKING, NOW, add, arrive, database, merge, oru, receive, study

REPORT: dict[str, object] = {
    "accession": Identifier("A1", "SITE"),
    "patients": frozenset({Identifier("P1", "HOSP")}),
    "name": "DOE^JANE",
    "birth_date": "19700101",
    "sex": "F",
    "observation_date": "20260228101500",
}
STUDY: dict[str, object] = {
    "study_instance_uid": "1.2.3",
    "accession": Identifier("A1", "SITE"),
    "patient": Identifier("P1", "HOSP"),
    "name": "Doe^Jane",
    "birth_date": "19700101",
    "sex": "F",
    "study_date": "20260228",
}


def _report(**changes: object) -> ReportEvidence:
    said = {"feed_accepted": True} | REPORT | changes
    said["accessions"] = (said.pop("accession"),)
    return ReportEvidence(**said)  # type: ignore[arg-type]


def _study(**changes: object) -> StudyEvidence:
    return StudyEvidence(**(STUDY | changes))  # type: ignore[arg-type]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Database]:
    opened = database(tmp_path)
    yield opened
    opened.close()


def _states(made: Database) -> dict[str, str]:
    with made.read() as session:
        rows = session.exec(
            select(Link).join(Report, col(Report.id) == col(Link.report_id)).order_by(col(Link.id))
        ).all()
        return {each.study_instance_uid: each.state for each in rows}


def _reasons(made: Database) -> list[str]:
    with made.read() as session:
        return [reason for _, reason in unlinked_reports(session)]


def _arrives(made: Database, uid: str = "1.2.3", **changes: object) -> None:
    with made.write() as session:
        arrive(session, study(uid, **changes))


@pytest.mark.parametrize(
    ("report", "found", "state", "words"),
    [
        ({}, {}, "confirmed", "agree"),
        ({"study_instance_uids": frozenset({"1.2.3"})}, {}, "confirmed", "Study Instance UID"),
        (
            {"study_instance_uids": frozenset({"1.2.3"})},
            {"accession": Identifier("")},
            "confirmed",
            "Study Instance UID",
        ),
        ({"study_instance_uids": frozenset({"9.9"})}, {}, "proposed", "other studies by UID"),
        ({}, {"patient": Identifier("P2", "HOSP")}, "refused", "patient identifier"),
        ({}, {"birth_date": "19700102"}, "refused", "birth date"),
        ({}, {"birth_date": "1970"}, "confirmed", ""),
        ({}, {"sex": "M"}, "refused", "sex"),
        ({}, {"sex": "O"}, "confirmed", ""),
        ({}, {"study_date": "20260303"}, "refused", "study date"),
        ({}, {"study_date": "20260301"}, "confirmed", ""),
        ({}, {"study_date": "rubbish"}, "confirmed", ""),
        ({}, {"name": "ROE^RICHARD"}, "refused", "patient name"),
        ({}, {"name": "SMITH^JANE"}, "confirmed", ""),
        ({"name": "MÜLLER^JANÈ"}, {"name": "Muller^J"}, "confirmed", ""),
        ({}, {"name": "山田^太郎"}, "confirmed", ""),
        ({}, {"name": ""}, "confirmed", ""),
        ({}, {"patient": Identifier("P1", "OTHER")}, "proposed", "different issuers"),
        ({}, {"patient": Identifier("P1")}, "proposed", "does not name"),
        ({}, {"patient": Identifier("")}, "proposed", "no patient identifier"),
        ({}, {"patient": Identifier("P1", "HOSP", True)}, "proposed", "declared on one side"),
        ({}, {"accession": Identifier("A1")}, "proposed", "does not name"),
        ({"accession": Identifier("A1")}, {}, "proposed", "does not name"),
        (
            {"accession": Identifier("A1")},
            {"accession": Identifier("A1")},
            "proposed",
            "neither side",
        ),
        ({}, {"accession": Identifier("A1", "SITE", True)}, "proposed", "declared on one side"),
        (
            {"accession": Identifier("A1", "SITE", True)},
            {"accession": Identifier("A1", "SITE", True)},
            "confirmed",
            "",
        ),
    ],
)
def test_one_report_and_one_study(
    report: dict[str, object], found: dict[str, object], state: str, words: str
) -> None:
    (decision,) = decide(_report(**report), [_study(**found)], LINKING)
    assert decision.state == state
    assert words in decision.reason
    said = f"{decision.reason} {decision.evidence}"
    for value in ("DOE", "Doe", "19700101", "P1", "A1"):
        assert value not in said


@pytest.mark.parametrize(
    ("report", "found"),
    [
        ({}, {"accession": Identifier("A2", "SITE")}),
        ({}, {"accession": Identifier("A1", "OTHER")}),
        ({"accession": Identifier("")}, {"accession": Identifier("")}),
    ],
)
def test_a_study_without_a_common_key_is_no_candidate(
    report: dict[str, object], found: dict[str, object]
) -> None:
    assert decide(_report(**report), [_study(**found)], LINKING) == []


def test_several_studies_of_one_patient_all_link() -> None:
    studies = [_study(), _study(study_instance_uid="1.2.4")]
    assert [each.state for each in decide(_report(), studies, LINKING)] == ["confirmed"] * 2


@pytest.mark.parametrize(
    "other", [Identifier("P2", "HOSP"), Identifier("P1", "OTHER"), Identifier("")]
)
def test_candidates_of_different_patients_are_ambiguous(other: Identifier) -> None:
    studies = [_study(), _study(study_instance_uid="1.2.4", patient=other)]
    decisions = decide(_report(), studies, LINKING)
    assert [(each.state, each.rule) for each in decisions] == [("refused", "ambiguous")] * 2
    assert "different patients" in decisions[0].reason


def test_a_bare_accession_of_another_patient_does_not_hide_the_right_study() -> None:
    other = _study(
        study_instance_uid="1.2.4", accession=Identifier("A1"), patient=Identifier("P2", "HOSP")
    )
    states = [each.state for each in decide(_report(), [_study(), other], LINKING)]
    assert states == ["confirmed", "refused"]


def test_several_contradictions_are_all_named() -> None:
    (decision,) = decide(_report(), [_study(sex="M", birth_date="20000101")], LINKING)
    assert decision.reason == "contradiction in birth date and sex"


def test_a_wider_window_is_a_setting() -> None:
    settings = LinkingSettings(date_window_days=5)
    (decision,) = decide(_report(), [_study(study_date="20260303")], settings)
    assert decision.state == "confirmed"


def test_the_report_may_come_first_or_last(made: Database) -> None:
    receive(made, oru())
    assert _reasons(made) == ["no study with this accession number has arrived"]
    _arrives(made)
    assert _states(made) == {"1.2.3": "confirmed"}
    _arrives(made, "1.2.4", accession_number="A2")
    receive(made, oru(control_id="2", filler="F2", accession="A2"))
    assert _states(made)["1.2.4"] == "confirmed"
    assert _reasons(made) == []


def test_a_report_may_name_the_study_by_uid_alone(made: Database) -> None:
    receive(made, oru(accession="", filler="F1", study_uids=["1.2.3"]))
    _arrives(made, accession_number="")
    assert _states(made) == {"1.2.3": "confirmed"}


def test_a_contradiction_is_refused_and_listed(made: Database) -> None:
    _arrives(made)
    receive(made, oru(patient="P9^^^HOSP", name="ROE^RICHARD"))
    assert _states(made) == {"1.2.3": "refused"}
    assert _reasons(made) == ["refused: contradiction in patient identifier and patient name"]


def test_a_later_study_of_another_patient_undoes_the_link(made: Database) -> None:
    _arrives(made)
    receive(made, oru())
    _arrives(made, "1.2.4", patient_id="P2")
    assert _states(made) == {"1.2.3": "refused", "1.2.4": "refused"}


def test_a_correction_takes_over_the_link(made: Database) -> None:
    _arrives(made)
    receive(made, oru(control_id="1", changed="20260301"))
    receive(made, oru(control_id="2", status="C", changed="20260302", lines=["new"]))
    with made.read() as session:
        rows = session.exec(select(Link).order_by(col(Link.report_id))).all()
        assert [each.state for each in rows] == ["withdrawn", "confirmed"]
        assert rows[0].reason == "a later version of the report is current"
        assert link_counts(session) == {
            "confirmed": 1,
            "proposed": 0,
            "refused": 0,
            "suspended": 0,
            "withdrawn": 1,
        }


def test_a_correction_that_moves_to_another_patient_leaves_the_study(made: Database) -> None:
    _arrives(made)
    receive(made, oru(control_id="1", changed="20260301"))
    receive(
        made,
        oru(control_id="2", status="C", changed="20260302", patient="P2^^^HOSP", accession="A2"),
    )
    assert _states(made) == {"1.2.3": "withdrawn"}
    assert _reasons(made) == ["no study with this accession number has arrived"]


def test_a_late_older_version_takes_no_link(made: Database) -> None:
    _arrives(made)
    receive(made, oru(control_id="2", status="C", changed="20260302"))
    receive(made, oru(control_id="1", status="F", changed="20260301"))
    with made.read() as session:
        (link,) = session.exec(select(Link)).all()
        report = session.get_one(Report, link.report_id)
        assert (link.state, report.result_status) == ("confirmed", "C")


@pytest.mark.parametrize("first", ["merge", "report", "study"])
def test_a_merge_makes_two_identifiers_one_patient(made: Database, first: str) -> None:
    steps = {
        "merge": lambda: receive(made, merge("P1^^^HOSP", "P7^^^HOSP")) and None,
        "report": lambda: receive(made, oru(patient="P7^^^HOSP")) and None,
        "study": lambda: _arrives(made, patient_id="P1"),
    }
    steps[first]()
    for name, step in steps.items():
        if name != first:
            step()
    assert _states(made) == {"1.2.3": "confirmed"}


def test_a_trusted_issuer_may_be_assumed(made: Database) -> None:
    trusting = LinkingSettings(trusted_assumed_issuers=("SITE",))
    with made.write() as session:
        add(session, study(accession_issuer_assumed=False))
    receive(made, oru())
    assert _states(made) == {"1.2.3": "proposed"}
    receive(made, oru(control_id="2", status="C", changed="20260302"), linking=trusting)
    assert _states(made) == {"1.2.3": "confirmed"}


def test_every_change_of_a_link_is_kept(made: Database) -> None:
    _arrives(made)
    receive(made, oru(control_id="1", changed="20260301"))
    receive(made, oru(control_id="2", status="X", lines=[], changed="20260302"))
    with made.read() as session:
        events = session.exec(select(LinkEvent).order_by(col(LinkEvent.id))).all()
        assert [(each.state, each.rule_version) for each in events] == [
            ("confirmed", 2),
            ("withdrawn", 2),
        ]


def test_filing_again_changes_no_link(made: Database) -> None:
    _arrives(made)
    receive(made, oru(), oru(control_id="2", filler="F2"), oru())
    with made.read() as session:
        before = len(session.exec(select(LinkEvent)).all())
    receive(made, oru(), oru(control_id="3", filler="F3", accession="A3"))
    with made.read() as session:
        assert len(session.exec(select(LinkEvent)).all()) == before


def _decided(uid: str, identity: str, action: str, by: str, digest: str) -> LinkDecision:
    return LinkDecision(
        report_identity=identity,
        study_instance_uid=uid,
        action=action,
        evidence_digest=digest,
        decided_by=by,
        reason="seen both",
        decided_at=NOW,
    )


def test_a_withdrawal_by_a_person_stands(made: Database) -> None:
    _arrives(made)
    receive(made, oru())
    with made.write() as session:
        add(session, _decided("1.2.3", "RIS|HOSPITAL|F1", "withdraw", "dr.x", ""))
    _arrives(made, "1.2.4", accession_number="A1")
    assert _states(made) == {"1.2.3": "withdrawn", "1.2.4": "confirmed"}
    with made.read() as session:
        link = session.exec(select(Link).where(Link.study_instance_uid == "1.2.3")).one()
        assert link.decided_by == "dr.x"


def test_a_report_explains_itself(made: Database) -> None:
    _arrives(made)
    receive(made, oru(sex="M"), oru(control_id="2", filler="F2", accession="", status="P"))
    with made.read() as session:
        story = explain(session, 1)
        assert story["reason"] == "refused: contradiction in sex"
        assert story["links"][0]["evidence"]["sex"] == "unequal"
        assert story["links"][0]["evidence"]["birth date"] == "equal"
        assert explain(session, 2)["reason"].startswith("no study with this accession")
        with pytest.raises(Permanent):
            explain(session, 99)


@pytest.mark.parametrize(
    "correction",
    [
        oru(control_id="3", filler="F2", accession="A7", patient="P2^^^HOSP", changed="20260302"),
        oru(control_id="3", filler="F2", patient="P2^^^HOSP", status="W", changed="20260302"),
    ],
)
def test_a_study_is_free_again_once_another_report_claims_it_no_more(
    made: Database, correction: bytes
) -> None:
    _arrives(made)
    receive(made, oru(control_id="1"))
    receive(made, oru(control_id="2", filler="F2", patient="P2^^^HOSP", changed="20260301000000"))
    assert _of_report(made, "F1") == {"1.2.3": "suspended"}
    receive(made, correction)
    assert _of_report(made, "F1") == {"1.2.3": "confirmed"}


_UPDATE = (
    b"MSH|^~\\&|ADT|HOSPITAL|RADLOOP|LAB|20260301120000||ADT^A08^ADT_A01|U1|P|2.5.1\r"
    b"EVN||20260301120000\rPID|||P1^^^HOSP||DOE^JANE||19700101|F\r"
)
_SOMEBODY = {"patient_birth_date": "19500505", "patient_sex": "M", "patient_name": "Roe^John"}
_NOBODY = dict.fromkeys(_SOMEBODY, "")


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_what_is_seen_of_a_patient_puts_all_links_in_doubt_whenever_it_comes(
    made: Database, order: tuple[int, ...]
) -> None:
    steps: list[bytes | dict[str, object]] = [
        oru(time="20260305120000"),
        _UPDATE,
        {"uid": "1.2.3", **_NOBODY},
        {"uid": "1.2.4", "accession_number": "A9", "study_date": "20260101", **_SOMEBODY},
    ]
    for step in (steps[each] for each in order):
        if isinstance(step, bytes):
            receive(made, step)
        else:
            _arrives(made, **step)  # type: ignore[arg-type]
    assert _of_report(made, "F1") == {"1.2.3": "suspended"}


def _of_report(made: Database, filler: str) -> dict[str, str]:
    """Return the state by study of the links of the version that holds."""
    with made.read() as session:
        rows = session.exec(
            select(Link)
            .join(Report, col(Report.id) == col(Link.report_id))
            .where(col(Report.is_current), Report.filler_order_number == filler)
        )
        return {each.study_instance_uid: each.state for each in rows}

"""Two hospitals that share accession numbers and patient ids: never a link to another patient."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import col, select

from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.rules import decide
from dicom_node.models import Link, Report
from tests.hl7_builders import LINKING, arrive, database, merge, oru, receive, study

issuers = st.sampled_from(["NORTH", "SOUTH", ""])


@st.composite
def patients(draw: st.DrawFn) -> dict[str, str]:
    """A true patient; few values, so that clashes are the rule."""
    return {
        "value": draw(st.sampled_from(["1", "2", "3"])),
        "site": draw(st.sampled_from(["NORTH", "SOUTH"])),
        "birth_date": draw(st.sampled_from(["19700101", "19700102"])),
        "sex": draw(st.sampled_from(["M", "F"])),
    }


def _key(person: dict[str, str]) -> tuple[str, str]:
    return person["value"], person["site"]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[ReportEvidence, list[tuple[StudyEvidence, bool]]]:
    """A report and some studies; each study says whether it is of the report's patient.

    A site's own identifiers are unique; which side names its issuer, and whether that is declared
    or assumed, is left to chance.
    """
    people = draw(
        st.lists(patients(), min_size=1, max_size=4, unique_by=lambda p: (p["value"], p["site"]))
    )
    own = people[0]
    assumed = draw(st.booleans())

    def identifier(person: dict[str, str], value: str) -> Identifier:
        issuer = person["site"] if draw(st.booleans()) else ""
        return Identifier(value, issuer, bool(issuer) and assumed and draw(st.booleans()))

    report = ReportEvidence(
        feed_accepted=True,
        accessions=(identifier(own, draw(st.sampled_from(["A", "B"]))),),
        patients=frozenset({identifier(own, own["value"])}),
        birth_date=own["birth_date"],
        sex=own["sex"],
    )
    studies = []
    for number in range(draw(st.integers(min_value=1, max_value=5))):
        person = draw(st.sampled_from(people))
        evidence = StudyEvidence(
            study_instance_uid=f"1.{number}",
            accession=identifier(person, draw(st.sampled_from(["A", "B"]))),
            patient=identifier(person, person["value"]),
            birth_date=draw(st.sampled_from([person["birth_date"], ""])),
            sex=draw(st.sampled_from([person["sex"], ""])),
        )
        studies.append((evidence, person is own))
    return report, studies


@settings(max_examples=80, deadline=None)
@given(scenes(), st.randoms(use_true_random=False))
def test_no_link_reaches_another_patient(
    scene: tuple[ReportEvidence, list[tuple[StudyEvidence, bool]]], order: random.Random
) -> None:
    report, studies = scene
    right = {evidence.study_instance_uid: own for evidence, own in studies}
    evidence = [each for each, _ in studies]
    decisions = decide(report, evidence, LINKING)
    for decision in decisions:
        assert decision.state != "confirmed" or right[decision.study_instance_uid]
    order.shuffle(evidence)
    assert decide(report, evidence, LINKING) == decisions


def _final_state(order: list[int]) -> set[tuple[str, ...]]:
    steps: list[bytes | dict[str, object]] = [
        oru(control_id="1", status="P", changed="20260301", lines=["first"]),
        oru(control_id="2", status="U", changed="20260302", lines=[]),
        oru(control_id="3", filler="F2", accession="A2", patient="P7^^^HOSP", changed="20260301"),
        oru(control_id="4", filler="F2", accession="A2", status="W", changed="20260303"),
        oru(control_id="5", filler="F3", accession="A3", patient="P7^^^HOSP"),
        oru(control_id="6", filler="F4", accession="A4"),
        merge("P1^^^HOSP", "P7^^^HOSP"),
        {"uid": "1.1"},
        {"uid": "1.2", "accession_number": "A2", "patient_id": "P7"},
        {"uid": "1.3", "accession_number": "A3"},
        {"uid": "1.4", "accession_number": "A4"},
        {"uid": "1.5", "accession_number": "A4", "patient_id": "P9"},
    ]
    with tempfile.TemporaryDirectory() as folder:
        made = database(Path(folder))
        for step in (steps[each] for each in order):
            if isinstance(step, bytes):
                receive(made, step)
                continue
            with made.write() as session:
                arrive(session, study(**step))  # type: ignore[arg-type]
        with made.read() as session:
            reports = session.exec(select(Report).where(col(Report.is_current))).all()
            found: set[tuple[str, ...]] = set()
            for report in reports:
                links = session.exec(select(Link).where(Link.report_id == report.id)).all()
                found.add((report.report_identity, report.result_status, report.text))
                found |= {
                    (report.report_identity, each.study_instance_uid, each.state, each.rule)
                    for each in links
                }
        made.close()
    return found


@settings(max_examples=3, deadline=None)
@given(st.permutations(range(12)))
def test_the_final_state_does_not_depend_on_the_order_of_arrival(order: list[int]) -> None:
    assert _final_state(order) == _EXPECTED


_FINAL = "FINDINGS: L4/L5 disc narrowed.\nIMPRESSION: degenerative disc disease."
_EXPECTED = {
    ("RIS|HOSPITAL|F1", "F", "first"),
    ("RIS|HOSPITAL|F1", "1.1", "confirmed", "accession number with issuer"),
    ("RIS|HOSPITAL|F2", "W", ""),
    ("RIS|HOSPITAL|F3", "F", _FINAL),
    ("RIS|HOSPITAL|F3", "1.3", "confirmed", "accession number with issuer"),
    ("RIS|HOSPITAL|F4", "F", _FINAL),
    ("RIS|HOSPITAL|F4", "1.4", "refused", "ambiguous"),
    ("RIS|HOSPITAL|F4", "1.5", "refused", "ambiguous"),
}

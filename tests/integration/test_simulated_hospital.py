"""The plan of the simulated hospital against the node: what is expected to link does, no more."""

from pathlib import Path

import pytest
from sqlmodel import SQLModel, col, select

from dicom_node.database import Database, utc_now
from dicom_node.feeds.registry import Profiles
from dicom_node.linking.links import Linking, relink
from dicom_node.linking.touched import Touched
from dicom_node.messages import receive
from dicom_node.models import Link, Message, Report, Study
from dicom_node.settings import Hl7Settings, LinkingSettings
from plugin.simulation.hospital import HospitalPlan, SendStudy, SimulatedStudy, plan_hospital

LINKING = LinkingSettings()


def study_row(study: SimulatedStudy) -> Study:
    header, patient = study.header, study.header.patient
    return Study(
        study_instance_uid=header.study_instance_uid,
        patient_id=patient.patient_id,
        issuer_of_patient_id=patient.issuer_of_patient_id,
        patient_name=f"{patient.family_name}^{patient.given_name}",
        patient_birth_date=f"{patient.birth_date:%Y%m%d}",
        patient_sex=patient.sex,
        accession_number=header.accession_number,
        issuer_of_accession_number=header.site.issuer_of_accession_number,
        study_date=f"{header.started_at:%Y%m%d}",
        first_received_at=utc_now(),
        last_received_at=utc_now(),
    )


def replay(plan: HospitalPlan, database: Database) -> None:
    profiles = Profiles(Hl7Settings(accept_unknown_feeds=True))
    linking = Linking(LINKING, profiles)
    for event in plan.events:
        if isinstance(event, SendStudy):
            with database.write() as session:
                row = study_row(event.study)
                session.add(row)
                relink(session, Touched(studies={row.study_instance_uid}), linking, utc_now)
        else:
            receive(database, event.content, profiles=profiles, linking=linking, clock=utc_now)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_expected_to_link_does_and_nothing_else(tmp_path: Path, seed: int) -> None:
    database = Database(f"sqlite:///{tmp_path / 'node.sqlite'}")
    SQLModel.metadata.create_all(database.engine)
    plan = plan_hospital(seed, patients=40, awaiting=6, priors=3)
    replay(plan, database)
    with database.read() as session:
        rows = session.exec(
            select(Message.message_control_id, Link.study_instance_uid, Link.state)
            .join(Report, col(Report.message_id) == col(Message.id))
            .join(Link, col(Link.report_id) == col(Report.id))
        ).all()
        texts = dict(
            session.exec(
                select(Message.message_control_id, Report.text).join(
                    Report, col(Report.message_id) == col(Message.id)
                )
            ).all()
        )
    database.close()
    confirmed = {(control_id, uid) for control_id, uid, state in rows if state == "confirmed"}
    assert confirmed == plan.final_links
    assert not {control_id for control_id, _ in confirmed} & plan.expected_unlinked.keys()
    assert all(texts[each] == report.text for each, report in plan.reports.items())

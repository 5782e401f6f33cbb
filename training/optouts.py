"""Patients who do not want to take part in research: asked by salted keys, merges followed."""

from __future__ import annotations

from collections.abc import Collection

from sqlmodel import Session, col, select

from dicom_node.models import Study
from training.models import OptOut
from training.patients import NameOfIssuer, Patients, read_patients


def opted_out_keys(session: Session) -> set[str]:
    """Return the keys of the identities whose newest row says that the patient has opted out."""
    rows = session.exec(select(OptOut.patient_key, OptOut.revoked).order_by(col(OptOut.id)))
    newest = dict(rows.all())
    return {key for key, revoked in newest.items() if not revoked}


def opted_out_studies(
    session: Session,
    salt: bytes,
    name_of: NameOfIssuer = str,
    keys: Collection[str] | None = None,
    patients: Patients | None = None,
) -> set[str]:
    """Return the studies of patients who have opted out under any of their identities.

    Args:
        session: any session.
        salt: of the keys.
        name_of: the one name of an issuer.
        keys: of these patients instead, whether or not they have opted out.
        patients: where they were read already.
    """
    wanted = opted_out_keys(session) if keys is None else set(keys)
    if not wanted:
        return set()
    known = patients or read_patients(session, name_of)
    rows = session.exec(
        select(Study.study_instance_uid, Study.issuer_of_patient_id, Study.patient_id)
    )
    return {
        uid for uid, issuer, value in rows if not wanted.isdisjoint(known.keys(issuer, value, salt))
    }

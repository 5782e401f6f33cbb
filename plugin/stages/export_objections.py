"""Patients who object to exports: they leave those that were made, and are in none that follow.

An objection concerns exports alone. Images, reports and cohorts stay as they are; who wants those
gone is erased (``radloop erase``). It is kept under keys that name nobody, and outlasts an erasure.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.models import Study
from plugin.context import Context
from plugin.errors import Permanent
from plugin.stages.erase_filed import WORDS, words_of
from plugin.stages.erase_whom import find_subject
from plugin.stages.export_withdrawals import OBJECTION, finish_withdrawals, note_withdrawals
from plugin.stages.ground import ground_of
from training.exports.models import ExportObjection
from training.folds import Identity, patient_key
from training.membership import Ground
from training.patients import read_patients

REASON = "its patient objects to exports"


def object_to_exports(
    context: Context, *, issuer: str, patient_id: str, by: str, reason: str, revoke: bool
) -> dict[str, Any]:
    """Record that a patient objects to exports, merges followed, or does so no longer.

    A patient of whom nothing is here yet may object, too.

    Args:
        context: the open node.
        issuer, patient_id: of the patient.
        by, reason: who decides and why; kept, so neither may name the patient.
        revoke: the patient objects no longer; what was withdrawn stays withdrawn.

    Returns:
        ``objects``, ``studies`` (how many are here), ``exports`` that held the patient and how
        many of them are out of reach (``exports_out_of_reach``).

    Raises:
        Permanent: an argument is missing, or ``by`` or ``reason`` names the patient.
    """
    if not patient_id or not by.strip() or not reason.strip():
        raise Permanent("an objection needs a patient id, who decides, and why")
    ground = ground_of(context.settings)
    with context.database.write() as session:
        subject = find_subject(
            session, issuer, patient_id, ground.salt, context.linking().issuers_of()
        )
        if words_of(session, subject) & set(WORDS.findall(f"{by} {reason}".casefold())):
            raise Permanent("who decides and why are kept: they must not name the patient")
        identities = {(issuer, patient_id), *subject.identities}
        keys = _keys(ground, identities)
        session.add(
            ExportObjection(
                patient_keys=sorted(keys),
                objects=not revoke,
                decided_by=by,
                reason=reason,
                decided_at=context.clock(),
            )
        )
        session.flush()
        exports = (
            []
            if revoke
            else note_withdrawals(context, session, keys, subject.studies, cause=OBJECTION)
        )
        studies = len(subject.studies)
    return {
        "objects": not revoke,
        "studies": studies,
        "exports": exports,
        "exports_out_of_reach": finish_withdrawals(context),
    }


def objecting_studies(session: Session, ground: Ground, studies: Collection[str]) -> set[str]:
    """Return those of some studies whose patient, by any name, objects to exports."""
    objecting: set[str] = set()
    for row in session.exec(select(ExportObjection).order_by(col(ExportObjection.id))):
        if row.objects:
            objecting |= set(row.patient_keys)
        else:
            objecting -= set(row.patient_keys)
    if not objecting:
        return set()
    identities: dict[str, Identity] = {}
    columns = select(Study.study_instance_uid, Study.issuer_of_patient_id, Study.patient_id)
    for chunk in chunks(sorted(studies)):
        for uid, issuer, value in session.exec(
            columns.where(col(Study.study_instance_uid).in_(chunk))
        ):
            identities[uid] = issuer, value
    patients = read_patients(session, ground.name_of, {value for _, value in identities.values()})
    return {
        uid
        for uid, identity in identities.items()
        if not objecting.isdisjoint(_keys(ground, {identity, *patients.named({identity})}))
    }


def _keys(ground: Ground, identities: Collection[Identity]) -> set[str]:
    """Return the keys of identities under the names that issuers have and under their one name."""
    named = {*identities, *((ground.name_of(issuer), value) for issuer, value in identities)}
    return {patient_key(issuer, value, ground.salt) for issuer, value in named if value}

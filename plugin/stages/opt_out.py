"""Stage: a patient opts out of research, or takes that back; nothing is deleted."""

from __future__ import annotations

from typing import Any

from plugin.context import Context
from plugin.errors import Permanent
from plugin.stages.ground import ground_of
from plugin.stages.impact import note_changes
from plugin.stages.link import need_words
from training.models import OptOut
from training.optouts import opted_out_studies
from training.patients import read_patients


def opt_out(
    context: Context, *, issuer: str, patient_id: str, by: str, reason: str, revoke: bool
) -> dict[str, Any]:
    """Record that a patient has opted out of research; cohorts and models say so from now on.

    Only salted keys are kept, of every identity that is joined with this one now; a merge that
    comes later is followed, too. No later freeze takes the patient in. Cohorts that hold studies
    of the patient do not train any more. It does not matter whether the node holds any study yet.

    Args:
        context: the open node.
        issuer, patient_id: one identity of the patient.
        by, reason: who decides and why; kept, so neither may name the patient.
        revoke: take the opt-out back.

    Returns:
        ``studies`` of the patient, and how many ``notes`` cohorts and models have got by it.

    Raises:
        Permanent: a word is missing, or ``by`` or ``reason`` names the patient.
    """
    need_words(by, reason)
    if not (issuer and patient_id):
        raise Permanent("a patient is named by patient id and issuer")
    if patient_id.casefold() in f"{by} {reason}".casefold().split():
        raise Permanent("who decides and why are kept: they must not name the patient")
    ground = ground_of(context.settings)
    with context.database.write() as session:
        patients = read_patients(session, ground.name_of)
        keys = patients.keys(issuer, patient_id, ground.salt)
        for key in sorted(keys):
            session.add(
                OptOut(
                    patient_key=key,
                    revoked=revoke,
                    decided_by=by.strip(),
                    reason=reason.strip(),
                    decided_at=context.clock(),
                )
            )
        session.flush()
        studies = opted_out_studies(session, ground.salt, ground.name_of, keys, patients)
        notes = note_changes(context, session)
    return {"opted_out": not revoke, "studies": len(studies), "notes": len(notes)}

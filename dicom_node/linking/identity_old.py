"""Merges as rows of patient_alias, in order of arrival."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from sqlmodel import Session, col, or_, select

from dicom_node.linking.identifiers import Identifier
from dicom_node.models import Patient, PatientAlias


def surviving(session: Session, identifier: Identifier) -> Identifier:
    """Follow the merges from an identifier to the one that survived them all."""
    seen = {identifier}
    while identifier.qualified:
        alias = session.exec(
            select(PatientAlias)
            .where(
                PatientAlias.prior_patient_id == identifier.value,
                PatientAlias.prior_issuer == identifier.issuer,
                col(PatientAlias.prior_issuer_assumed).is_(identifier.issuer_assumed),
            )
            .order_by(col(PatientAlias.id).desc())
        ).first()
        if alias is None:
            return identifier
        identifier = _survivor(alias)
        if identifier in seen:
            return identifier
        seen.add(identifier)
    return identifier


def merged_with(session: Session, identifier: Identifier) -> set[Identifier]:
    """Return every identifier that merges made one patient with the given one, itself included."""
    found = {identifier}
    waiting = [identifier]
    while waiting:
        each = waiting.pop()
        rows = session.exec(
            select(PatientAlias).where(
                or_(
                    PatientAlias.prior_patient_id == each.value,
                    PatientAlias.surviving_patient_id == each.value,
                )
            )
        )
        for alias in rows:
            pair = {_prior(alias), _survivor(alias)}
            if each in pair:
                waiting.extend(pair - found)
                found |= pair
    return found


def record_merge(
    session: Session,
    prior: Identifier,
    survivor: Identifier,
    message_id: int | None,
    now: dt.datetime,
) -> PatientAlias | None:
    """Append a merge event (ADT^A40); return None when both were one patient already.

    A repeated or reversed merge changes nothing, so that no cycle can arise.
    """
    if surviving(session, prior) == surviving(session, survivor):
        return None
    # The root of the prior chain is merged, so that what was merged into it before comes along.
    root = surviving(session, prior)
    alias = PatientAlias(
        prior_issuer=root.issuer,
        prior_patient_id=root.value,
        prior_issuer_assumed=root.issuer_assumed,
        surviving_issuer=survivor.issuer,
        surviving_patient_id=survivor.value,
        surviving_issuer_assumed=survivor.issuer_assumed,
        message_id=message_id,
        recorded_at=now,
    )
    session.add(alias)
    session.flush()
    return alias


def note_patients(session: Session, identifiers: Iterable[Identifier], now: dt.datetime) -> None:
    """Make a row for each patient identity that was not seen before."""
    for each in identifiers:
        if not each.qualified or each.issuer_assumed:
            continue
        known = session.exec(
            select(Patient.id).where(
                Patient.issuer_of_patient_id == each.issuer, Patient.patient_id == each.value
            )
        ).first()
        if known is None:
            session.add(
                Patient(issuer_of_patient_id=each.issuer, patient_id=each.value, first_seen_at=now)
            )
            session.flush()


def _prior(alias: PatientAlias) -> Identifier:
    return Identifier(alias.prior_patient_id, alias.prior_issuer, alias.prior_issuer_assumed)


def _survivor(alias: PatientAlias) -> Identifier:
    return Identifier(
        alias.surviving_patient_id, alias.surviving_issuer, alias.surviving_issuer_assumed
    )

"""Where an object belongs: the rows above it, whose identity it has, and when it must not be filed.

A study takes its identity from its first instance. What contradicts that later, or claims a name
that is taken, is refused with a reason; nothing is ever corrected silently.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.headers import Header
from dicom_node.models import Instance, Series, Study
from dicom_node.settings import CallingPeer, DicomSettings


@dataclass(frozen=True)
class Spooled:
    """A spooled object whose header could be read."""

    digest: str
    header: Header
    received_at: dt.datetime


@dataclass
class Known:
    """What the index holds about the objects of a group, kept up to date while it grows."""

    digests: dict[str, str]  # SOP Instance UID -> digest
    studies: dict[str, Study]
    series: dict[str, str]  # Series Instance UID -> Study Instance UID


def known_objects(session: Session, spooled: Sequence[Spooled]) -> Known:
    """Look up everything that the index holds about these objects, in three queries."""
    instances = {each.header.sop_instance_uid for each in spooled}
    series = {each.header.series_instance_uid for each in spooled}
    studies = {each.header.study_instance_uid for each in spooled}
    digests = session.exec(
        select(Instance.sop_instance_uid, Instance.digest).where(
            col(Instance.sop_instance_uid).in_(instances)
        )
    )
    parents = session.exec(
        select(Series.series_instance_uid, Series.study_instance_uid).where(
            col(Series.series_instance_uid).in_(series)
        )
    )
    rows = session.exec(select(Study).where(col(Study.study_instance_uid).in_(studies)))
    return Known(
        digests=dict(digests.all()),
        studies={study.study_instance_uid: study for study in rows},
        series=dict(parents.all()),
    )


def refusal(each: Spooled, known: Known) -> str:
    """Return why an object must not be filed, or an empty string."""
    header = each.header
    study = known.studies.get(header.study_instance_uid)
    checks = (
        (
            known.digests.get(header.sop_instance_uid, each.digest) != each.digest,
            "another object with the same SOP Instance UID is stored already",
        ),
        (
            known.series.get(header.series_instance_uid, header.study_instance_uid)
            != header.study_instance_uid,
            "its series belongs to another study",
        ),
        (
            study is not None and _contradicts(study, header),
            "its study belongs to another patient",
        ),
    )
    return next((reason for fails, reason in checks if fails), "")


def _contradicts(study: Study, header: Header) -> bool:
    """Compare patient identities; one that is silent or assumed contradicts nothing by itself."""
    if study.patient_id and header.patient_id and study.patient_id != header.patient_id:
        return True
    return bool(
        study.issuer_of_patient_id
        and not study.issuer_assumed
        and header.issuer_of_patient_id
        and study.issuer_of_patient_id != header.issuer_of_patient_id
    )


def add_parents(
    session: Session, header: Header, known: Known, settings: DicomSettings, now: dt.datetime
) -> None:
    """Make or touch the rows above an instance."""
    study = known.studies.get(header.study_instance_uid)
    if study is None:
        study = _new_study(header, settings, now)
        known.studies[study.study_instance_uid] = study
    elif not study.patient_id:
        # The first instance was silent about its patient: the first that speaks decides.
        _identify(study, header, settings)
    study.last_received_at = now
    session.add(study)
    if header.series_instance_uid not in known.series:
        known.series[header.series_instance_uid] = header.study_instance_uid
        # Parents first: there is no relationship that would tell the session this order.
        session.flush()
        session.add(_new_series(header))


def _new_study(header: Header, settings: DicomSettings, now: dt.datetime) -> Study:
    peer = _peer(settings, header.calling_ae_title)
    accession, accession_assumed = _issuer(
        header.accession_number,
        header.issuer_of_accession_number,
        peer.issuer_of_accession_number if peer else "",
        settings.default_issuer_of_accession_number,
    )
    study = Study(
        study_instance_uid=header.study_instance_uid,
        accession_number=header.accession_number,
        issuer_of_accession_number=accession,
        accession_issuer_assumed=accession_assumed,
        study_date=header.study_date,
        study_time=header.study_time,
        study_description=header.study_description,
        calling_ae_title=header.calling_ae_title,
        first_received_at=now,
        last_received_at=now,
    )
    _identify(study, header, settings)
    return study


def _identify(study: Study, header: Header, settings: DicomSettings) -> None:
    """Give the study the patient identity of this instance."""
    peer = _peer(settings, header.calling_ae_title)
    study.patient_id = header.patient_id
    study.issuer_of_patient_id, study.issuer_assumed = _issuer(
        header.patient_id,
        header.issuer_of_patient_id,
        peer.issuer_of_patient_id if peer else "",
        settings.default_issuer_of_patient_id,
    )
    study.patient_name = header.patient_name
    study.patient_birth_date = header.patient_birth_date
    study.patient_sex = header.patient_sex


def _new_series(header: Header) -> Series:
    return Series(
        series_instance_uid=header.series_instance_uid,
        study_instance_uid=header.study_instance_uid,
        modality=header.modality,
        series_number=header.series_number,
        series_description=header.series_description,
        body_part_examined=header.body_part_examined,
        manufacturer=header.manufacturer,
        manufacturer_model_name=header.manufacturer_model_name,
    )


def instance_row(each: Spooled) -> dict[str, Any]:
    """Return the columns of an instance."""
    header = each.header
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "digest": each.digest,
        "series_instance_uid": header.series_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "instance_number": header.instance_number,
        "size": header.size,
        "calling_ae_title": header.calling_ae_title,
        "called_ae_title": header.called_ae_title,
        "received_at": each.received_at,
    }


def _peer(settings: DicomSettings, ae_title: str) -> CallingPeer | None:
    return next((peer for peer in settings.peers if peer.ae_title.strip() == ae_title), None)


def _issuer(identifier: str, declared: str, *assumed: str) -> tuple[str, bool]:
    """Return the issuer of an identifier and whether it had to be assumed."""
    if declared or not identifier:
        return declared, False
    guess = next((each for each in assumed if each), "")
    return guess, bool(guess)

"""The rows above an instance: what its header says about its study and its series."""

from __future__ import annotations

import datetime as dt
from typing import Any

from dicom_node.arrivals import Arrival, declared_identity
from dicom_node.headers import Header
from dicom_node.models import Series, Study
from dicom_node.settings import CallingPeer, DicomSettings

_STUDY_TEXTS = ("study_date", "study_time", "study_description")
_SERIES_TEXTS = (
    "modality",
    "series_number",
    "series_description",
    "body_part_examined",
    "manufacturer",
    "manufacturer_model_name",
    "institution_name",
)
_IDENTITY = (
    "patient_id",
    "issuer_of_patient_id",
    "issuer_assumed",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "accession_number",
    "issuer_of_accession_number",
    "accession_issuer_assumed",
)


def new_study(header: Header, settings: DicomSettings, received_at: dt.datetime) -> Study:
    """Return the row of a study as its first instance describes it."""
    study = Study(
        study_instance_uid=header.study_instance_uid,
        calling_ae_title=header.calling_ae_title,
        first_received_at=received_at,
        last_received_at=received_at,
    )
    describe_study(study, header)
    identify_patient(study, header, settings)
    identify_order(study, header, settings)
    return study


def describe_study(study: Study, header: Header) -> None:
    """Give the study the date, time and description of this instance."""
    for name in _STUDY_TEXTS:
        setattr(study, name, getattr(header, name))


def identify_patient(study: Study, header: Header, settings: DicomSettings) -> None:
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


def identify_order(study: Study, header: Header, settings: DicomSettings) -> None:
    """Give the study the accession number of this instance."""
    peer = _peer(settings, header.calling_ae_title)
    study.accession_number = header.accession_number
    study.issuer_of_accession_number, study.accession_issuer_assumed = _issuer(
        header.accession_number,
        header.issuer_of_accession_number,
        peer.issuer_of_accession_number if peer else "",
        settings.default_issuer_of_accession_number,
    )


def identity_of(study: Study) -> tuple[object, ...]:
    """Return everything that says whose study it is, to be compared."""
    return tuple(getattr(study, name) for name in _IDENTITY)


def stands_under(study: Study, header: Header, settings: DicomSettings) -> bool:
    """Tell whether a study has just the identity that this instance would give it."""
    return identity_of(study) == identity_of(new_study(header, settings, study.first_received_at))


def contradicts(study: Study, header: Header) -> bool:
    """Compare patient identities; one that is silent or assumed contradicts nothing by itself."""
    if study.patient_id and header.patient_id and study.patient_id != header.patient_id:
        return True
    return bool(
        study.issuer_of_patient_id
        and not study.issuer_assumed
        and header.issuer_of_patient_id
        and study.issuer_of_patient_id != header.issuer_of_patient_id
    )


def new_series(header: Header) -> Series:
    """Return the row of a series as its first instance describes it."""
    return Series(
        series_instance_uid=header.series_instance_uid,
        study_instance_uid=header.study_instance_uid,
        **series_texts(header),
    )


def series_texts(header: Header) -> dict[str, str]:
    """Return the columns by which an instance describes its series."""
    return {name: getattr(header, name) for name in _SERIES_TEXTS}


def instance_row(each: Arrival, header: Header) -> dict[str, Any]:
    """Return the columns of an instance."""
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
        "declared_identity": declared_identity(header),
        "way": header.way,
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

"""What an archive holds of a study, compared with what is here: kinds of differences, and rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from sqlmodel import Session, col, func, select

from dicom_node.database import chunks
from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.models import PacsDifference
from dicom_node.sr.identity import identity_conflicts


class Difference(StrEnum):
    """How an archive differs, the gravest first; it never says in which value."""

    IDENTITY = "identity"
    ABSENT = "absent"
    IMAGES = "images"  # images that are here are not there any more
    NONE = ""


_ORDER = {kind: number for number, kind in enumerate(Difference)}
_PATIENT = frozenset({"PatientID", "IssuerOfPatientID"})


@dataclass(frozen=True)
class Compared:
    """What a comparison of one study found.

    Attributes:
        study_instance_uid: the study.
        difference: its kind, or NONE.
        attributes: keywords of what differs; never values.
        hint: what a person may want to look at, and no difference is made of.
    """

    study_instance_uid: str
    difference: Difference = Difference.NONE
    attributes: tuple[str, ...] = ()
    hint: str = ""


def compare_identity(ours: StudyFound, theirs: StudyFound, *, same_patient: bool) -> Compared:
    """Compare identity by :func:`dicom_node.sr.identity.identity_conflicts`.

    Args:
        ours: the study as it is here, its issuers by their one name.
        theirs: the archive's answer, likewise.
        same_patient: whether messages say that both identifiers are one patient's (a merge).
    """
    found = identity_conflicts(_identity(ours), _identity(theirs))
    if same_patient:
        found = tuple(name for name in found if name not in _PATIENT)
    compared = Compared(ours.study_instance_uid)
    if found:
        return replace(compared, difference=Difference.IDENTITY, attributes=found)
    if _name(ours.patient_name) != _name(theirs.patient_name) and theirs.patient_name:
        return replace(compared, hint="the archive has another name for this patient")
    return compared


def record_differences(
    session: Session, peer: str, found: Iterable[Compared], now: dt.datetime
) -> int:
    """Write down what has become different, or is the same again; return how many rows."""
    compared = list(found)
    newest = _newest(session, [each.study_instance_uid for each in compared], peer)
    added = 0
    for each in compared:
        row = newest.get((each.study_instance_uid, peer))
        attributes = ", ".join(each.attributes)
        said = (row.kind, row.attributes) if row is not None else ("", "")
        if said == (each.difference.value, attributes):
            continue
        added += 1
        session.add(
            PacsDifference(
                study_instance_uid=each.study_instance_uid,
                peer=peer,
                kind=each.difference.value,
                attributes=attributes,
                found_at=now,
            )
        )
    session.flush()
    return added


def differences(
    session: Session, studies: Collection[str], peers: Collection[str] | None = None
) -> dict[str, Difference]:
    """Return the studies that an archive holds otherwise, by its last comparison, and how.

    Args:
        session: any session.
        studies: Study Instance UIDs.
        peers: names of the archives that count; None: all that ever were compared with.
    """
    found: dict[str, Difference] = {}
    for (uid, peer), row in _newest(session, studies).items():
        kind = Difference(row.kind)
        if kind is not Difference.NONE and (peers is None or peer in peers):
            found[uid] = min(found.get(uid, kind), kind, key=_ORDER.__getitem__)
    return found


def _newest(
    session: Session, studies: Collection[str], peer: str | None = None
) -> dict[tuple[str, str], PacsDifference]:
    found: dict[tuple[str, str], PacsDifference] = {}
    for part in chunks(sorted(set(studies))):
        newest = select(func.max(PacsDifference.id)).where(
            col(PacsDifference.study_instance_uid).in_(part)
        )
        if peer is not None:
            newest = newest.where(PacsDifference.peer == peer)
        newest = newest.group_by(PacsDifference.study_instance_uid, PacsDifference.peer)
        query = select(PacsDifference).where(col(PacsDifference.id).in_(newest))
        found |= {(row.study_instance_uid, row.peer): row for row in session.exec(query)}
    return found


def _identity(study: StudyFound) -> Dataset:
    identity = Dataset()
    identity.StudyInstanceUID = study.study_instance_uid
    for keyword, value in (
        ("PatientID", study.patient_id),
        ("IssuerOfPatientID", study.issuer_of_patient_id),
        ("PatientBirthDate", study.patient_birth_date),
        ("PatientSex", study.patient_sex),
        ("AccessionNumber", study.accession_number),
    ):
        identity.add(_element(keyword, value))
    return identity


def _element(keyword: str, value: str) -> DataElement:
    return DataElement(tag_for_keyword(keyword) or 0, "LO", value, validation_mode=config.IGNORE)


def _name(name: str) -> str:
    return name.replace("^", " ").strip().upper()

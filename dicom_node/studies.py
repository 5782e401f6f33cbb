"""Questions to the index: which studies are complete, what they contain, which are frozen."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, and_, func, not_, or_
from sqlmodel import Session, SQLModel, col, select

from dicom_node.documents import rejections
from dicom_node.life_models import StudyCompletion
from dicom_node.models import Instance, Patient, Quarantined, QuarantineDecision, Series, Study
from dicom_node.quarantine import DICOM, OPEN

_STORAGE = "1.2.840.10008.5.1.4.1.1."

# Storage SOP classes (PS3.4 B.5) that carry no image of the patient: documents, states of display,
# waveforms, measurements, and what others derived from images.
_NOT_IMAGES = tuple(
    _STORAGE + ending
    for ending in (
        "9.",  # waveforms
        "11.",  # presentation states
        "66",  # raw data, registrations, fiducials, segmentations, surfaces
        "67",  # real world value mappings
        "68.",  # surface scans
        "78.",  # lensometry and other eye measurements
        "88.",  # structured reports and key object selections
        "90.",  # content assessment results
        "104.",  # encapsulated documents
        "200.",  # implementation plans and protocols
        "481.3",  # RT structure set
        "481.4",  # RT treatment records
        "481.5",  # RT plan
    )
)

_COUNTED: dict[str, type[SQLModel]] = {
    "instances": Instance,
    "series": Series,
    "studies": Study,
    "patients": Patient,
    "quarantined": Quarantined,
}


def is_image(sop_class_uid: str) -> bool:
    """Tell whether objects of this storage SOP class are images of the patient."""
    return sop_class_uid.startswith(_STORAGE) and not sop_class_uid.startswith(_NOT_IMAGES)


def complete_studies(session: Session) -> list[str]:
    """Return the Study Instance UIDs of studies that are complete as they are now.

    A study is complete when the content that it has now was recorded as such (see
    :mod:`dicom_node.completion`); an image that came later makes it incomplete again.
    """
    return [
        uid
        for uid, completed in sorted(completed_contents(session).items())
        if study_digest(session, uid) in completed
    ]


def completed_contents(session: Session) -> dict[str, dict[str, int]]:
    """Return what was recorded as complete: Study Instance UID -> study digest -> completion."""
    rows = session.exec(
        select(StudyCompletion.study_instance_uid, StudyCompletion.study_digest, StudyCompletion.id)
    )
    found: dict[str, dict[str, int]] = {}
    for uid, digest, completion in rows:
        if completion is not None:
            found.setdefault(uid, {})[digest] = completion
    return found


def studies_with_images(session: Session, since: dt.datetime | None = None) -> list[str]:
    """Return the Study Instance UIDs of studies with at least one image of the patient.

    Args:
        session: any session.
        since: count images that were received then or later; None: all.
    """
    query = (
        select(Series.study_instance_uid)
        .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
        .where(images_only())
        .distinct()
        .order_by(col(Series.study_instance_uid))
    )
    if since is not None:
        query = query.where(col(Instance.received_at) >= since)
    return list(session.exec(query))


def instances_of(session: Session, study_instance_uid: str) -> list[Instance]:
    """Return every instance of a study, series by series, in order of SOP Instance UID."""
    query = (
        select(Instance)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(col(Series.study_instance_uid) == study_instance_uid)
        .order_by(col(Instance.series_instance_uid), col(Instance.sop_instance_uid))
    )
    return list(session.exec(query))


def study_digest(session: Session, study_instance_uid: str) -> str:
    """Return SHA-256 over the sorted digests of a study's images, in hexadecimal.

    It changes when an image is added and not when a report, a presentation state or our own
    structured report comes back, so a prediction that was made for it stays valid.
    """
    query = (
        select(Instance.digest)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(col(Series.study_instance_uid) == study_instance_uid, images_only())
    )
    return digest_of_images(session.exec(query))


def digest_of_images(digests: Iterable[str]) -> str:
    """Return the study digest of these images, given their own digests in any order."""
    return hashlib.sha256("".join(sorted(digests)).encode("ascii")).hexdigest()


def is_frozen(session: Session, study_instance_uid: str) -> bool:
    """Tell whether a study must not teach or be written back until a person decides.

    It is frozen while an object that claims to belong to it, or that is in conflict with one of
    its own, lies in quarantine undecided: two senders disagree about the study. It is frozen, too,
    while nobody has decided about a note that rejects its images as unsafe or as another's
    (:mod:`dicom_node.documents.rejections`).
    """
    query = select(Quarantined.id).where(_freezes(), _names(study_instance_uid))
    if session.exec(query.limit(1)).first() is not None:
        return True
    return bool(rejections.held_studies(session, {study_instance_uid}))


def frozen_studies(session: Session) -> dict[str, list[str]]:
    """Return the Study Instance UIDs of the studies that are frozen, each with the reasons.

    An object that cannot be read freezes the study that it names, whether or not that one is here.
    """
    rows = session.exec(
        select(
            Quarantined.study_instance_uid,
            Quarantined.other_study_instance_uid,
            Quarantined.reason,
        )
        .where(_freezes())
        .order_by(col(Quarantined.received_at), col(Quarantined.digest))
    )
    found: dict[str, dict[str, None]] = {}
    for uid, other, reason in rows:
        for each in filter(None, {uid: None, other: None}):
            found.setdefault(each, {})[reason] = None
    for uid, reason in rejections.held_studies(session).items():
        found.setdefault(uid, {})[reason] = None
    return {uid: list(reasons) for uid, reasons in sorted(found.items())}


def frozen(study_instance_uid: Any) -> ColumnElement[bool]:
    """Return the condition that a column names a study that is frozen; see :func:`is_frozen`."""
    in_dispute = select(Quarantined.id).where(_freezes(), _names(study_instance_uid)).exists()
    return or_(in_dispute, rejections.held(study_instance_uid))


def decisions_on(session: Session, study_instance_uid: str) -> int:
    """Return how many decisions persons made about quarantined objects and rejection notes."""
    query = (
        select(func.count(col(QuarantineDecision.id)))
        .join(Quarantined, col(Quarantined.digest) == col(QuarantineDecision.digest))
        .where(Quarantined.kind == DICOM, _names(study_instance_uid))
    )
    about_notes = rejections.decisions_about(session, study_instance_uid)
    return session.exec(query).one() + about_notes


def _freezes() -> ColumnElement[bool]:
    return and_(col(Quarantined.kind) == DICOM, col(Quarantined.state) == OPEN)


def _names(study_instance_uid: Any) -> ColumnElement[bool]:
    return or_(
        and_(
            col(Quarantined.study_instance_uid) == study_instance_uid,
            col(Quarantined.study_instance_uid) != "",
        ),
        and_(
            col(Quarantined.other_study_instance_uid) == study_instance_uid,
            col(Quarantined.other_study_instance_uid) != "",
        ),
    )


def status_counts(session: Session) -> dict[str, int]:
    """Return how many rows the index has of each kind."""
    return {
        name: session.exec(select(func.count()).select_from(table)).one()
        for name, table in _COUNTED.items()
    }


def images_only() -> ColumnElement[bool]:
    """Return the condition on Instance that it is an image and was not rejected.

    This is the one place where rejection notes take images out of use: everything that asks for
    the images of a study asks with this condition. See :func:`is_image` for the SOP classes.
    """
    return and_(_of_image_class(), not_(rejections.rejected()))


def documents_only() -> ColumnElement[bool]:
    """Return the condition on Instance that its SOP class is none of images."""
    return not_(_of_image_class())


def _of_image_class() -> ColumnElement[bool]:
    sop_class = col(Instance.sop_class_uid)
    others = or_(*(sop_class.startswith(prefix, autoescape=True) for prefix in _NOT_IMAGES))
    return and_(sop_class.startswith(_STORAGE, autoescape=True), not_(others))

"""The images of an archived study, as a rule judges them: headers only, by the confined reader."""

from __future__ import annotations

from sqlmodel import Session, col, select

from dicom_node.documents.rejections import rejected
from dicom_node.inspection import GreyDecoder
from dicom_node.models import Instance, Series
from dicom_node.storage import DicomStore
from dicom_node.studies import images_only
from training.errors import Permanent
from training.images.choosing import Chosen, choose
from training.images.headers import ImageHeader, read_headers
from training.images.series_rule import ImageSeriesRule


def choose_in_study(
    session: Session,
    store: DicomStore,
    decoder: GreyDecoder,
    study_instance_uid: str,
    rule: ImageSeriesRule,
) -> Chosen:
    """Judge every series of a study; its images are then what ``training.images.reading`` reads.

    Raises:
        Transient: a file could not be read from disk, or no process can be had to read it.
    """
    query = (
        select(Series)
        .where(Series.study_instance_uid == study_instance_uid)
        .order_by(col(Series.series_instance_uid))
    )
    found: dict[str, list[ImageHeader] | str] = {}
    for series in session.exec(query):
        found[series.series_instance_uid] = _images(session, store, decoder, series, rule)
    return choose(rule, found)


def _images(
    session: Session,
    store: DicomStore,
    decoder: GreyDecoder,
    series: Series,
    rule: ImageSeriesRule,
) -> list[ImageHeader] | str:
    """Return the images of a series, or why no header had to be read."""
    of_series = select(Instance.digest).where(
        Instance.series_instance_uid == series.series_instance_uid
    )
    digests = session.exec(of_series.where(images_only()).order_by(col(Instance.digest))).all()
    if not digests:
        if session.exec(of_series.where(rejected()).limit(1)).first():
            return "its images were rejected"
        return "not images of the patient: a document, a presentation state or a measurement"
    if series.modality.upper() not in rule.modalities:
        return f"Modality is not {' or '.join(rule.modalities)}"
    try:
        return [image for d in digests for image in read_headers(store.path(d), decoder)]
    except Permanent as error:
        return str(error)

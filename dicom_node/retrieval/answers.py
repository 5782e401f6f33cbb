"""What an archive answered to a query, as plain values: bounded, decoded, and nothing assumed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_node.errors import Permanent
from dicom_node.file_meta import is_uid

_LONGEST_TEXT = 256
_MOST_VALUES = 64
_NO_EXACT_KEY = frozenset("*?\\")


@dataclass(frozen=True)
class StudyFound:
    """A study that an archive holds; empty texts and None are what it did not say."""

    study_instance_uid: str
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    accession_number: str = ""
    issuer_of_accession_number: str = ""
    study_date: str = ""
    modalities: tuple[str, ...] = ()
    instances: int | None = None


@dataclass(frozen=True)
class SeriesFound:
    """A series that an archive holds."""

    series_instance_uid: str
    modality: str = ""
    body_part: str = ""


@dataclass(frozen=True)
class ImageFound:
    """A composite instance that an archive holds."""

    sop_instance_uid: str
    sop_class_uid: str = ""
    series_instance_uid: str = ""


class Unreadable(Exception):
    """An answer that cannot be read, or that names nothing."""


def exact_key(value: str) -> str:
    """Return a value that an archive must match as it stands.

    ``*`` and ``?`` are wild cards and a backslash parts values (PS3.4 C.2.2.2); none of them can be
    escaped, so a value that holds one cannot be asked for.

    Raises:
        Permanent: the value is empty, too long, or would match others.
    """
    text = value.strip(" ")
    if not text or len(text) > 64:
        raise Permanent("a value to ask for has 1 to 64 characters")
    if _NO_EXACT_KEY & set(text):
        raise Permanent("a value with *, ? or a backslash would match others: it is not asked for")
    if any(character < " " or character == "\x7f" for character in text):
        raise Permanent("a value to ask for holds a control character")
    return text


def study_of(answer: Dataset) -> StudyFound:
    """Read an answer at study level.

    Raises:
        Unreadable: it names no study, or a value cannot be decoded.
    """
    return StudyFound(
        study_instance_uid=_uid(answer, "StudyInstanceUID"),
        patient_id=_text(answer, "PatientID"),
        issuer_of_patient_id=_text(answer, "IssuerOfPatientID"),
        patient_name=_text(answer, "PatientName"),
        patient_birth_date=_text(answer, "PatientBirthDate"),
        patient_sex=_text(answer, "PatientSex"),
        accession_number=_text(answer, "AccessionNumber"),
        issuer_of_accession_number=_issuer(answer),
        study_date=_text(answer, "StudyDate"),
        modalities=_texts(answer, "ModalitiesInStudy"),
        instances=_count(answer, "NumberOfStudyRelatedInstances"),
    )


def series_of(answer: Dataset) -> SeriesFound:
    """Read an answer at series level; raises as :func:`study_of`."""
    return SeriesFound(
        _uid(answer, "SeriesInstanceUID"),
        _text(answer, "Modality"),
        _text(answer, "BodyPartExamined"),
    )


def image_of(answer: Dataset) -> ImageFound:
    """Read an answer at image level; raises as :func:`study_of`."""
    kind, series = _text(answer, "SOPClassUID"), _text(answer, "SeriesInstanceUID")
    return ImageFound(
        _uid(answer, "SOPInstanceUID"),
        kind if is_uid(kind) else "",
        series if is_uid(series) else "",
    )


def names_other(answer: Dataset, keyword: str, asked: str) -> bool:
    """Tell whether an answer names another study or series than the one that was asked about."""
    said = _text(answer, keyword)
    return said not in ("", asked)


def uids_of(answer: Dataset | None, keyword: str, most: int) -> tuple[str, ...]:
    """Return a list of UIDs, those that are none left out; empty where it cannot be read."""
    try:
        found = () if answer is None else _values(answer, keyword)
    except Unreadable:
        return ()
    return tuple(text for each in found[:most] if is_uid(text := str(each).strip("\0 ")))


def _values(answer: Dataset, keyword: str) -> list[object]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote what the answer holds
            value = answer.get(keyword)
    except Exception as error:
        # Decoding is lazy, and a peer's bytes can fail in many ways.
        raise Unreadable(keyword) from error
    if value is None or value == "":
        return []
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    return list(value) if several and keyword != "PatientName" else [value]


def _texts(answer: Dataset, keyword: str) -> tuple[str, ...]:
    found = [str(each).strip("\0 ")[:_LONGEST_TEXT] for each in _values(answer, keyword)]
    return tuple(filter(None, found[:_MOST_VALUES]))


def _text(answer: Dataset, keyword: str) -> str:
    return "\\".join(_texts(answer, keyword))[:_LONGEST_TEXT]


def _uid(answer: Dataset, keyword: str) -> str:
    value = _text(answer, keyword)
    if not is_uid(value):
        raise Unreadable(keyword)
    return value


def _count(answer: Dataset, keyword: str) -> int | None:
    text = _text(answer, keyword)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _issuer(answer: Dataset) -> str:
    """Return the issuer of the accession number: its local namespace, else its universal id."""
    for item in _values(answer, "IssuerOfAccessionNumberSequence")[:1]:
        if isinstance(item, Dataset):
            return _text(item, "LocalNamespaceEntityID") or _text(item, "UniversalEntityID")
    return ""

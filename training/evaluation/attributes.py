"""What the index knows of a study that a subgroup can be made of; what it does not is "unknown"."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.models import Instance, Series, Study
from dicom_node.studies import images_only
from training.evaluation.splits import SEVERAL, UNKNOWN

SUBGROUPS = ("scanner", "age", "sex", "site")

_AGES = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (75, "60-74"), (126, "75 and over"))
"""Bands of years by the first age that is too old; beyond the last a birth date is a slip."""

_SEXES = {"F": "F", "M": "M", "O": "O"}


@dataclass(frozen=True)
class Attributes:
    """The groups of a study.

    Args:
        scanner: Manufacturer (0008,0070) and Manufacturer's Model Name (0008,1090).
        age: band of years at the Study Date, from the Patient's Birth Date.
        sex: Patient's Sex (0010,0040): F, M or O.
        site: Institution Name (0008,0080).
    """

    scanner: str = UNKNOWN
    age: str = UNKNOWN
    sex: str = UNKNOWN
    site: str = UNKNOWN


def attributes_of(session: Session, images: Mapping[str, Sequence[str]]) -> dict[str, Attributes]:
    """Return the attributes of studies.

    Args:
        session: any session.
        images: digests of the images that a model looks at, by Study Instance UID.
    """
    sites = sites_of(session, images)
    scanners = _scanners(session, images)
    found = {}
    for chunk in chunks(sorted(images)):
        for study in session.exec(select(Study).where(col(Study.study_instance_uid).in_(chunk))):
            uid = study.study_instance_uid
            found[uid] = Attributes(
                scanner=scanners.get(uid, UNKNOWN),
                age=age_band(study.patient_birth_date, study.study_date),
                sex=_SEXES.get(study.patient_sex.strip().upper(), UNKNOWN),
                site=sites.get(uid, UNKNOWN),
            )
    return found


def sites_of(session: Session, studies: Collection[str] | None = None) -> dict[str, str]:
    """Return the one institution that the images of a study name, by Study Instance UID.

    Studies whose images name none are left out; ``splits.SEVERAL`` where they name several.

    Args:
        session: any session.
        studies: of these only; None: of all.
    """
    query = (
        select(Series.study_instance_uid, Series.institution_name)
        .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
        .where(Series.institution_name != "", images_only())
        .distinct()
    )
    queries = (
        [query]
        if studies is None
        else [
            query.where(col(Series.study_instance_uid).in_(chunk))
            for chunk in chunks(sorted(studies))
        ]
    )
    return _one(row for each in queries for row in session.exec(each))


def houses_of(session: Session, studies: Mapping[str, Study]) -> dict[str, str]:
    """Return where each study comes from, by Study Instance UID, for counts and not for splits.

    That is the institution that its images name; where they name none, the issuer of the patient's
    identifier (0010,0021), else the AE title that sent it; ``splits.UNKNOWN`` without any.

    Args:
        session: any session.
        studies: rows by Study Instance UID.
    """
    named = sites_of(session, studies)
    return {
        uid: named.get(uid) or each.issuer_of_patient_id or each.calling_ae_title or UNKNOWN
        for uid, each in studies.items()
    }


def age_band(birth_date: str, study_date: str) -> str:
    """Return the band of the age in whole years at a date; both are YYYYMMDD."""
    years = age_in_years(birth_date, study_date)
    if years is None:
        return UNKNOWN
    return next((band for end, band in _AGES if years < end), UNKNOWN)


def age_in_years(birth_date: str, study_date: str) -> int | None:
    """Return the age in whole years at a date; None where a date is none, or lies before birth.

    Args:
        birth_date, study_date: YYYYMMDD, as DICOM writes them.
    """
    born, seen = birth_date.strip(), study_date.strip()
    # Others than 0 to 9 are digits to Python, too.
    if not all(len(each) == 8 and each.isascii() and each.isdigit() for each in (born, seen)):
        return None
    years = int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:])
    return years if years >= 0 else None


def _scanners(session: Session, images: Mapping[str, Sequence[str]]) -> dict[str, str]:
    digests = sorted({digest for each in images.values() for digest in each})
    columns = select(
        Series.study_instance_uid, Series.manufacturer, Series.manufacturer_model_name
    ).join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
    return _one(
        (uid, " ".join(f"{manufacturer} {model}".split()))
        for chunk in chunks(digests)
        for uid, manufacturer, model in session.exec(
            columns.where(col(Instance.digest).in_(chunk)).distinct()
        )
    )


def _one(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return by study the one value that is not empty, or SEVERAL."""
    found: dict[str, set[str]] = {}
    for uid, value in rows:
        if text := " ".join(value.split()):
            found.setdefault(uid, set()).add(text)
    return {
        uid: next(iter(values)) if len(values) == 1 else SEVERAL for uid, values in found.items()
    }

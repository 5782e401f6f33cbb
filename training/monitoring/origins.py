"""Of which machine a study is, as the index tells while it holds the study's series."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select as plain_select
from sqlmodel import Session, col

from dicom_node.database import chunks
from dicom_node.models import Series


def scanners_of(session: Session, studies: Collection[str]) -> dict[str, str]:
    """Return manufacturer and model of each study's machines; "" where nothing is stated.

    A study of two machines, or with a series that states none, is told by what is stated.

    Args:
        session: any session.
        studies: Study Instance UIDs; those without a series are left out.
    """
    machines: dict[str, set[str]] = {}
    for part in chunks(sorted(studies)):
        for uid, *machine in session.execute(
            plain_select(
                col(Series.study_instance_uid),
                col(Series.manufacturer),
                col(Series.manufacturer_model_name),
            )
            .where(col(Series.study_instance_uid).in_(part), col(Series.modality) != "SR")
            .distinct()
        ):
            machines.setdefault(uid, set()).add(" ".join(filter(None, machine)))
    return {uid: " + ".join(sorted(names - {""})) for uid, names in machines.items()}

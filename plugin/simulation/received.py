"""What a simulated archive says that it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset


@dataclass(frozen=True)
class ReceivedInstance:
    """An instance that the archive holds."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    modality: str
    series_description: str

    @classmethod
    def of(cls, header: Dataset | Mapping[str, Any]) -> ReceivedInstance:
        """Take the values from a data set, or from a mapping by keyword."""
        keywords = (
            *("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID"),
            *("PatientID", "Modality", "SeriesDescription"),
        )
        return cls(*(str(header.get(keyword) or "") for keyword in keywords))


@dataclass(frozen=True)
class Holdings:
    """How much an archive holds."""

    patients: int
    studies: int
    series: int
    instances: int

    @classmethod
    def of(cls, headers: Iterable[Dataset]) -> Holdings:
        """Count the distinct patients, studies, series and instances among headers."""
        keywords = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        rows = [[str(header.get(keyword)) for keyword in keywords] for header in headers]
        return cls(*(len({row[column] for row in rows}) for column in range(len(keywords))))

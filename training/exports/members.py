"""What an export is told about each study of a cohort: nothing that names anybody but files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from training.targets import Targets


@dataclass(frozen=True)
class ExportedLabel:
    """What was said about one observation at one site: ``site`` is "whole" for the whole report."""

    observation: str
    site: str
    state: str
    probability: float | None


@dataclass(frozen=True)
class ExportMember:
    """A member under its names in the export.

    Attributes:
        patient, study: pseudonyms.
        fold: "train", "validation" or "test".
        targets: as frozen.
        label_source: "labeler", or "readers" for targets of the test fold.
        labels: of the labeler, on the report of the member.
        report_digest, labels_digest: keyed digests of the report's text and of the labels.
        files: archived images of the analysed series, each with the name of its image.
    """

    patient: str
    study: str
    fold: str
    targets: Targets
    label_source: str
    labels: tuple[ExportedLabel, ...]
    report_digest: str
    labels_digest: str
    files: tuple[tuple[str, str], ...]

    def to_job(self) -> dict[str, Any]:
        """Return the member as a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_job(cls, job: dict[str, Any]) -> ExportMember:
        """Return the member that :meth:`to_job` wrote."""
        return cls(
            **{
                **job,
                "labels": tuple(ExportedLabel(**each) for each in job["labels"]),
                "files": tuple((path, name) for path, name in job["files"]),
            }
        )


@dataclass(frozen=True)
class LeftOut:
    """A study that is not in the export, and why."""

    patient: str
    study: str
    reason: str
    stage: str  # "cohort": excluded at freezing; "standing": since; "export": by what it holds


def image_path(member: ExportMember) -> str:
    """Return where a member's NIfTI file lies in the export."""
    return f"images/{member.patient}/{member.study}.nii.gz"


def dicom_path(member: ExportMember) -> str:
    """Return the folder of a member's DICOM files in the export."""
    return f"dicom/{member.patient}/{member.study}"

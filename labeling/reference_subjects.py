"""What reference labels name: whether the node holds it, by the level of the label."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.models import Report, Study

_HELD: dict[str, tuple[Any, ...]] = {
    "report": (col(Report.accession_number), col(Study.accession_number)),
    "image": (col(Study.study_instance_uid),),
}
"""Columns that hold what a subject names. What level "file" names lies in a file."""


def unknown_subjects(session: Session, subjects: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return by level how many subjects name nothing that the node holds.

    Args:
        session: any session.
        subjects: level and subject, as often as they come; levels that are not held are left out.
    """
    named: dict[str, set[str]] = {}
    for level, subject in subjects:
        if level in _HELD:
            named.setdefault(level, set()).add(subject)
    return {level: len(each - _held(session, level, each)) for level, each in named.items()}


def _held(session: Session, level: str, subjects: set[str]) -> set[str]:
    return {
        found
        for column in _HELD[level]
        for batch in chunks(sorted(subjects))
        for found in session.exec(select(column).where(column.in_(batch)))
    }

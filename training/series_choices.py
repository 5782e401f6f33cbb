"""What a rule for series (``training.images``) takes of each study, kept while its images stay.

Reading headers takes a confined process and time, so it is done before anything is frozen or
predicted, and the answer is kept: for one state of the study and one digest of the rule.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, Session, SQLModel, col, select

from dicom_node.database import UtcDateTime, chunks
from dicom_node.models import Instance, Series
from dicom_node.studies import digest_of_images, images_only


class SeriesChoice(SQLModel, table=True):
    """The images that a rule takes of a study in one state, or why it takes none."""

    __tablename__ = "series_choice"
    __table_args__ = (UniqueConstraint("study_instance_uid", "rule_digest"),)

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(index=True)
    rule_digest: str = Field(index=True)
    study_digest: str  # dicom_node.studies.study_digest of the images that were judged
    series_instance_uid: str = ""  # empty: none fits
    digests: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    why: str
    chosen_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)


def choices(
    session: Session, rule_digest: str, studies: Collection[str] | None = None
) -> dict[str, SeriesChoice]:
    """Return the choices that hold for the images that studies have now, by study.

    Args:
        session: any session.
        rule_digest: of the rule, ``ImageSeriesRule.digest``.
        studies: look at these only; None: at all.
    """
    query = select(SeriesChoice).where(SeriesChoice.rule_digest == rule_digest)
    if studies is None:
        rows = list(session.exec(query))
    else:
        rows = [
            row
            for chunk in chunks(sorted(studies))
            for row in session.exec(query.where(col(SeriesChoice.study_instance_uid).in_(chunk)))
        ]
    now = _states(session, [row.study_instance_uid for row in rows])
    return {
        row.study_instance_uid: row
        for row in rows
        if now.get(row.study_instance_uid) == row.study_digest
    }


def chosen_digests(
    session: Session, rule_digest: str, studies: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Return the sorted digests of the images that a rule takes, by study; see ``choices``."""
    found = choices(session, rule_digest, studies)
    return {uid: sorted(each.digests) for uid, each in found.items() if each.digests}


def without_choice(session: Session, rule_digest: str, studies: Collection[str]) -> list[str]:
    """Return those of some studies of which nobody knows what the rule takes now, sorted."""
    known = choices(session, rule_digest, studies)
    return sorted(uid for uid in set(studies) if uid not in known)


def keep_choice(session: Session, choice: SeriesChoice) -> None:
    """Store a choice in place of an earlier one of the same rule and study; the caller commits."""
    row = session.exec(
        select(SeriesChoice).where(
            SeriesChoice.study_instance_uid == choice.study_instance_uid,
            SeriesChoice.rule_digest == choice.rule_digest,
        )
    ).first()
    if row is None:
        session.add(choice)
        return
    values: dict[str, Any] = choice.model_dump(exclude={"id"})
    row.sqlmodel_update(values)
    session.add(row)


def _states(session: Session, studies: Collection[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for chunk in chunks(sorted(studies)):
        query = (
            select(Series.study_instance_uid, Instance.digest)
            .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
            .where(col(Series.study_instance_uid).in_(chunk), images_only())
        )
        for uid, digest in session.exec(query):
            found.setdefault(uid, []).append(digest)
    return {uid: digest_of_images(digests) for uid, digests in found.items()}

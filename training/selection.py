"""Which studies hold images that fit, and which of them have a final report: shared queries."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import select as plain_select
from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.linking.decision import CONFIRMED, SUSPENDED
from dicom_node.linking.link_rows import AUTOMATIC
from dicom_node.models import Instance, Link, Report, Series
from dicom_node.reports.status import FINAL_STATUSES
from dicom_node.studies import images_only
from training.errors import Permanent
from training.series_choices import chosen_digests


@dataclass(frozen=True)
class SeriesRule:
    """What a series must be to count.

    Args:
        modality: Modality (0008,0060), compared exactly, needed.
        body_parts: accepted values of Body Part Examined (0018,0015), without case; empty: any.
        series_description: text that Series Description (0008,103E) must contain, without case.
        sequences: patterns of Series Description, of which one must match as a whole, without
            case; ``*`` and ``?`` stand for anything; empty: any.
        image_rule: digest of a rule of ``training.images``, which alone decides then: what it took
            is read from ``training.series_choices``; empty: there is none.
    """

    modality: str
    body_parts: tuple[str, ...] = ()
    series_description: str = ""
    sequences: tuple[str, ...] = ()
    image_rule: str = ""

    def __post_init__(self) -> None:
        if not self.modality.strip():
            raise Permanent("a rule for series needs a modality")

    def accepts(self, body_part: str, description: str) -> bool:
        """Tell whether body part and description of a series of this modality fit."""
        parts = {part.upper() for part in self.body_parts if part}
        fits_part = not parts or body_part.upper() in parts
        return (
            fits_part
            and self.series_description.upper() in description.upper()
            and (not self.sequences or any(self.matching(description)))
        )

    def matching(self, description: str) -> Iterable[str]:
        """Yield the patterns of ``sequences`` that a description matches."""
        text = description.strip().upper()
        return (each for each in self.sequences if fnmatchcase(text, each.strip().upper()))

    @classmethod
    def of_record(cls, query: Mapping[str, Any]) -> SeriesRule:
        """Return the rule that a cohort's stored query holds."""
        return cls(
            query["modality"],
            tuple(query["body_parts"]),
            query["series_description"],
            tuple(query.get("sequences", ())),
            query.get("series_rule", {}).get("digest", ""),
        )


def images(
    session: Session, rule: SeriesRule, studies: Collection[str] | None = None
) -> dict[str, str]:
    """Return the studies that hold an image series that fits, each with a digest of the images.

    The digest is SHA-256 over the sorted digests of :func:`image_digests`: it changes when an
    image joins.
    """
    found = image_digests(session, rule, studies)
    return {
        study: hashlib.sha256("\n".join(digests).encode()).hexdigest()
        for study, digests in found.items()
    }


def image_digests(
    session: Session, rule: SeriesRule, studies: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Return the studies that hold an image series that fits, each with its images' digests.

    Args:
        session: any session.
        rule: what a series must be.
        studies: look at these only; None: at all.

    The digests are sorted, over all series that fit. A series with nothing but reports,
    presentation states or other objects without pixels never fits, whatever its Modality says.
    """
    if rule.image_rule:
        return chosen_digests(session, rule.image_rule, studies)
    query = (
        select(Series, Instance.digest)
        .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
        .where(Series.modality == rule.modality, images_only())
        .order_by(col(Series.study_instance_uid), col(Instance.digest))
    )
    queries = (
        [query]
        if studies is None
        else [
            query.where(col(Series.study_instance_uid).in_(chunk))
            for chunk in chunks(sorted(studies))
        ]
    )
    fitting = (
        (series.study_instance_uid, digest)
        for each in queries
        for series, digest in session.exec(each)
        if rule.accepts(series.body_part_examined, series.series_description)
    )
    return {
        study: [digest for _, digest in group]
        for study, group in groupby(fitting, key=itemgetter(0))
    }


@dataclass(frozen=True)
class LinkedReport:
    """A link between a study and the report version that is current now."""

    report_id: int
    state: str  # of the link
    result_status: str  # OBR-25, table 0123
    reviewed: bool = False  # a person decided about the link

    @property
    def confirmed(self) -> bool:
        """Whether the link stands; only such a link may feed training."""
        return self.state == CONFIRMED

    @property
    def final(self) -> bool:
        """Whether the report is final; a provisional one never enters a cohort."""
        return self.result_status in FINAL_STATUSES


def linked_reports(session: Session) -> dict[str, list[LinkedReport]]:
    """Return each study's links to current report versions, in order of the reports' arrival."""
    columns = (Link.study_instance_uid, Link.report_id, Link.state, Link.decided_by)
    rows = session.execute(
        plain_select(*map(col, columns), col(Report.result_status))
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(col(Report.is_current))
        .order_by(col(Link.study_instance_uid), col(Link.report_id))
    )
    found: dict[str, list[LinkedReport]] = {}
    for study, report_id, state, by, status in rows:
        each = LinkedReport(report_id, state, status, reviewed=by != AUTOMATIC)
        found.setdefault(study, []).append(each)
    return found


def final_reports(links: Iterable[LinkedReport]) -> list[LinkedReport]:
    """Return the links that are confirmed and whose report is final."""
    return [each for each in links if each.confirmed and each.final]


def historical_studies(session: Session) -> set[str]:
    """Return the studies whose confirmed reports were all imported: they may train, and nothing
    is written back for them.
    """
    rows = session.exec(
        select(Link.study_instance_uid, Report.history)
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(Link.state == CONFIRMED, col(Report.is_current))
        .distinct()
    )
    imported: set[str] = set()
    live: set[str] = set()
    for study, history in rows:
        (imported if history else live).add(study)
    return imported - live


def suspended_studies(session: Session, studies: Collection[str] | None = None) -> set[str]:
    """Return the studies of which a link to a current report is suspended.

    Report, patient or study may be somebody else's: such a study is not written back until a
    person has looked.

    Args:
        session: any session.
        studies: look at these only; None: at all.
    """
    query = (
        select(Link.study_instance_uid)
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(Link.state == SUSPENDED, col(Report.is_current))
        .distinct()
    )
    if studies is None:
        return set(session.exec(query))
    return {
        uid
        for chunk in chunks(sorted(studies))
        for uid in session.exec(query.where(col(Link.study_instance_uid).in_(chunk)))
    }

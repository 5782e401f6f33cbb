"""Which links a sample would get: its messages are filed into a database in memory, and decided.

The node's studies that the sample names, its orders and its patients' merges are copied; its other
reports are not, so a study that a report of another patient claims already may still look free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, SQLModel, col, select

from dicom_node.database import Clock, Database, chunks
from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.registry import Profiles
from dicom_node.hl7.parsed import ParsedReport
from dicom_node.hl7.reader import read_message
from dicom_node.linking.links import Linker, Linking
from dicom_node.linking.models import ImagingOrder, PatientEvent, PatientReview
from dicom_node.message_reading import DocumentText
from dicom_node.messages import receive
from dicom_node.models import Link, Report, Series, Study
from dicom_node.settings import Hl7Settings, LinkingSettings

_BATCH = 500


@dataclass(slots=True)
class Projection:
    """What the links of a sample would be.

    Args:
        studies: studies of the node that the sample names by UID or accession number.
        reports: current reports of the sample.
        states: how many links would have each state.
        reasons: why, with how many.
        without: reports that name no study of the node.
    """

    studies: int = 0
    reports: int = 0
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    without: int = 0


def project(
    node: Session,
    profile: FeedProfile,
    contents: Sequence[bytes],
    *,
    hl7: Hl7Settings,
    settings: LinkingSettings,
    linker: Linker,
    clock: Clock,
    document_text: DocumentText | None = None,
) -> Projection:
    """File messages that the profile reads into a database in memory, and count their links.

    Args:
        node: the node's database; it is only read.
        profile: the profile that is tried; it counts as accepted.
        contents: messages that are accepted under it.
        hl7: section ``[hl7]``.
        settings: section ``[linking]``.
        linker: decides about one report and its candidates.
        clock: gives the time of decisions.
        document_text: takes the text out of embedded documents.
    """
    profiles = Profiles(hl7.model_copy(update={"feeds": (profile,)}))
    linking = Linking(settings, profiles, linker)
    scratch = Database("sqlite://")
    try:
        _prepare(scratch)
        reports = _reports_of(profiles, contents)
        with scratch.write() as session:
            found = Projection(studies=_copy(node, session, reports))
        for part in chunks(contents, _BATCH):
            receive(
                scratch,
                *part,
                profiles=profiles,
                linking=linking,
                clock=clock,
                document_text=document_text,
            )
        with scratch.write() as session:
            _count(session, found)
    finally:
        scratch.close()
    return found


def _reports_of(profiles: Profiles, contents: Iterable[bytes]) -> list[ParsedReport]:
    return [report for content in contents for report in read_message(content, profiles.of).reports]


def _copy(node: Session, scratch: Session, reports: Sequence[ParsedReport]) -> int:
    """Copy the studies that reports name, and what is known about orders and patients."""
    uids = {uid for report in reports for uid in report.study_instance_uids}
    numbers = {each.value for report in reports for each in report.accessions}
    orders = node.exec(select(ImagingOrder)).all()
    for order in orders:
        uids.add(order.study_instance_uid)
        numbers.add(order.accession_number)
    studies: dict[str, Study] = {}
    for column, wanted in ((Study.study_instance_uid, uids), (Study.accession_number, numbers)):
        for part in chunks(sorted(wanted - {""})):
            for study in node.exec(select(Study).where(col(column).in_(part))):
                studies[study.study_instance_uid] = study
    _insert(scratch, Study, list(studies.values()))
    for part in chunks(sorted(studies)):
        series = node.exec(select(Series).where(col(Series.study_instance_uid).in_(part))).all()
        _insert(scratch, Series, series)
    _insert(scratch, ImagingOrder, orders)
    _insert(scratch, PatientEvent, node.exec(select(PatientEvent)).all())
    _insert(scratch, PatientReview, node.exec(select(PatientReview)).all())
    return len(studies)


def _prepare(scratch: Database) -> None:
    """Make the tables; orders and merges name messages that are not copied."""
    SQLModel.metadata.create_all(scratch.engine)
    with scratch.engine.connect() as connection:
        plain = connection.execution_options(isolation_level="AUTOCOMMIT")
        plain.exec_driver_sql("PRAGMA foreign_keys=OFF")


def _insert(scratch: Session, table: type[SQLModel], rows: Sequence[SQLModel]) -> None:
    if rows:
        scratch.execute(insert(table), [_apart(row.model_dump()) for row in rows])


def _apart(row: dict[str, Any]) -> dict[str, Any]:
    """Give the messages of the node numbers that no message of the sample gets."""
    return row | {"message_id": -row["message_id"]} if row.get("message_id") else row


def _count(session: Session, found: Projection) -> None:
    reports = session.exec(select(Report.id).where(col(Report.is_current))).all()
    linked = set()
    rows = session.exec(
        select(Link.report_id, Link.state, Link.reason)
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(col(Report.is_current))
    )
    for report_id, state, reason in rows:
        linked.add(report_id)
        found.states[state] += 1
        found.reasons[f"{state}: {reason}"] += 1
    found.reports = len(reports)
    found.without = len(set(reports) - linked)

"""Everything that holds, as lines that name no row: equal states have equal lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from sqlmodel import Session, col, select

from dicom_node.linking.gathering import load_identities
from dicom_node.linking.identifiers import Identifier
from dicom_node.models import Link, Report, Study
from dicom_node.reports.models import ReportedPatient
from tests.acceptance.adversarial.filing import FilingNode

_ROWS = {"id", "input_id", "message_id", "supersedes_id", "version", "received_at", "is_current"}
"""Columns that say which row it is or when it was made, not what holds."""


def state_of(node: FilingNode) -> list[str]:
    """Return the lines of everything that holds, sorted.

    A withdrawn link says what was once believed, so it is part of the history and not of the state;
    every other link is, those of versions that are not current included.
    """
    with node.database.read() as session:
        return sorted([*_reports(session), *_links(session), *_patients(session, node)])


def state_hash(lines: list[str]) -> str:
    """Return the SHA-256 of a state."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _line(kind: str, *values: object) -> str:
    return f"{kind} {json.dumps(values, sort_keys=True, ensure_ascii=True, default=str)}"


def _reports(session: Session) -> Iterator[str]:
    for report in session.exec(select(Report).where(col(Report.is_current))):
        yield _line("report", report.model_dump(exclude=_ROWS))


def _links(session: Session) -> Iterator[str]:
    rows = session.exec(
        select(Link, Report.report_identity, Report.content_digest)
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(Link.state != "withdrawn")
    )
    for link, identity, digest in rows:
        said = (link.state, link.rule, link.reason, link.evidence, link.decided_by)
        yield _line(f"{link.state}-link", identity, digest, link.study_instance_uid, said)


def _patients(session: Session, node: FilingNode) -> Iterator[str]:
    named = set(
        session.exec(
            select(
                ReportedPatient.patient_id, ReportedPatient.issuer, ReportedPatient.issuer_assumed
            )
            .join(Report, col(Report.id) == col(ReportedPatient.report_id))
            .where(col(Report.is_current))
        )
    )
    named.update(
        session.exec(select(Study.patient_id, Study.issuer_of_patient_id, Study.issuer_assumed))
    )
    identities = load_identities(session, {value for value, _, _ in named}, node.issuers_of)
    plain = node.issuers_of("")
    for value, issuer, assumed in sorted(named):
        identifier = plain.normal(Identifier(value, issuer, assumed))
        yield _line(
            "patient",
            (value, issuer, assumed),
            str(identities.surviving(identifier)),
            sorted(map(str, identities.same(identifier))),
            identities.suspended(identifier),
        )

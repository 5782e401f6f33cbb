"""How storage commitment stands, asked of the tables."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.commitment.filing import ASKED, COMMITTED, QUEUED, UNDELIVERABLE
from dicom_node.commitment.models import CommitmentInquiry, CommitmentRequest
from dicom_node.commitment.vocabulary import reason_in_words

_LISTED = 200


def commitment_counts(session: Session) -> dict[str, Any]:
    """Return how many requests and inquiries stand where, and those that need a person."""
    listed = list_commitments(session, only_ended=True)
    return {
        "commitment_requests": _by_state(session, CommitmentRequest),
        "commitment_inquiries": _by_state(session, CommitmentInquiry),
        "commitments_failed": listed["requests"] + listed["inquiries"],
    }


def _by_state(
    session: Session, table: type[CommitmentRequest] | type[CommitmentInquiry]
) -> dict[str, int]:
    return dict(session.exec(select(table.state, func.count()).group_by(table.state)).all())


def list_commitments(session: Session, *, only_ended: bool = False) -> dict[str, Any]:
    """List the newest requests of peers and inquiries of ours, or only those without success."""
    requests = select(CommitmentRequest).order_by(col(CommitmentRequest.id).desc())
    inquiries = select(CommitmentInquiry).order_by(col(CommitmentInquiry.id).desc())
    if only_ended:
        requests = requests.where(CommitmentRequest.state == UNDELIVERABLE)
        inquiries = inquiries.where(col(CommitmentInquiry.state).not_in((QUEUED, ASKED, COMMITTED)))
    return {
        "requests": [
            {
                "kind": "request",
                "id": row.id,
                "peer": row.peer,
                "state": row.state,
                "instances": row.instances,
                "failures": row.failures,
                "attempts": row.attempts,
                "last_error": row.last_error,
            }
            for row in session.exec(requests.limit(_LISTED))
        ],
        "inquiries": [
            {
                "kind": "inquiry",
                "id": row.id,
                "peer": row.peer,
                "state": row.state,
                "sop_instance_uid": row.sop_instance_uid,
                "failure_reason": reason_in_words(row.failure_reason)
                if row.failure_reason is not None
                else "",
                "attempts": row.attempts,
                "last_error": row.last_error,
            }
            for row in session.exec(inquiries.limit(_LISTED))
        ],
    }

"""What must not outlast the identity of a study: its links, and reports that wait to be sent."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import update
from sqlmodel import Session, col

from dicom_node.linking.link_rows import withdraw_links
from dicom_node.models import Transmission

REASON = "the study has another identity now"


def follow_identity(session: Session, study_instance_uid: str, now: dt.datetime) -> None:
    """Withdraw every link of a study and stop what was written under its earlier identity.

    The linker decides again afterwards. A structured report that waits names the earlier patient,
    so it must never leave; the next prediction makes another one.
    """
    withdraw_links(session, study_instance_uid, REASON, now)
    session.execute(
        update(Transmission)
        .where(
            col(Transmission.study_instance_uid) == study_instance_uid,
            col(Transmission.state) == "queued",
        )
        .values(state="failed", last_error=REASON)
    )

"""Stage: a structured report goes to the archive, with retry, and never to the wrong patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
from sqlmodel import Session, select

from dicom_node.archive_settings import PacsPeer
from dicom_node.dicomweb import qido_client
from dicom_node.dicomweb.stow_client import store_file
from dicom_node.errors import InvalidSettings, Transient
from dicom_node.models import Transmission
from dicom_node.query_scu import find_study_identity
from dicom_node.requestor import Timeouts
from dicom_node.send_outcomes import Outcome, SendResult
from dicom_node.sr.identity import identity_conflicts
from dicom_node.storage_scu import send_instances
from dicom_node.tls import https_client_context, peer_context
from plugin.context import Context
from plugin.errors import Permanent
from plugin.pipeline import held, retracted
from plugin.stages.inquiries import queue_inquiry

_LONGEST_DELAY_SECONDS = 900.0


def send_transmission(context: Context, transmission_id: int, attempt: int) -> float | None:
    """Send what a row of transmission asks for, see :func:`send_report`; None where it is gone."""
    with context.database.read() as session:
        row = session.get(Transmission, transmission_id)
        if row is None or row.state != "queued":
            return None
    return send_report(context, row.sop_instance_uid, row.peer, attempt)


def send_report(
    context: Context, sop_instance_uid: str, peer_name: str, attempt: int
) -> float | None:
    """Send one structured report once; record what the archive answered.

    A report on a study that is held stays queued; the sweep asks for it again when a person has
    decided. One whose model is not live any more, or may no longer speak of what it says, has
    failed.

    Returns:
        Seconds to wait before the next attempt, or None when this was the last.
    """
    peer = context.settings.peer(peer_name)
    with context.database.read() as session:
        row = _row(session, sop_instance_uid, peer_name)
    if row.state != "queued":
        return None
    path = context.folder.root / row.path
    try:
        conflict = _identity_conflict(context, peer, path)
    except Transient as error:
        result = SendResult(path, sop_instance_uid, None, Outcome.TRANSIENT, str(error))
    except InvalidSettings as error:
        result = SendResult(path, sop_instance_uid, None, Outcome.PERMANENT, str(error))
    else:
        if not _may_leave(context, row):
            return None
        if conflict:
            reason = f"the archive holds this study with another {conflict}"
            result = SendResult(path, sop_instance_uid, None, Outcome.NEEDS_REVIEW, reason)
        else:
            result = _send(context, peer, path)
    again = result.outcome is Outcome.TRANSIENT and attempt < peer.maximum_attempts
    _record(context, row, result, "delivered" if result.delivered else _undelivered(again))
    if not again:
        return None
    delay = max(peer.first_retry_seconds * 2.0 ** (attempt - 1), result.retry_after or 0.0)
    return float(min(delay, _LONGEST_DELAY_SECONDS))


def _send(context: Context, peer: PacsPeer, path: Path) -> SendResult:
    """Send a file by the service that the archive prefers."""
    dicom = context.settings.dicom
    try:
        if peer.stow_url:
            return store_file(peer, path, tls=https_client_context(peer, dicom.tls))
        waits, tls = Timeouts(stopping=context.stopping), peer_context(peer, dicom.tls)
        (result,) = send_instances(peer, dicom.ae_title, [path], waits, tls)
    except InvalidSettings as error:
        return SendResult(path, "", None, Outcome.PERMANENT, str(error))
    return result


def _may_leave(context: Context, row: Transmission) -> bool:
    """Tell whether a report may leave now; hold it or let it fail, with the reason, where not."""
    with context.database.write() as session:
        stored = session.get(Transmission, row.id)
        if stored is None or stored.state != "queued":
            return False
        if reason := retracted(session, stored.sop_instance_uid):
            stored.state = "failed"
            stored.last_error = f"not sent: {reason}"
        elif reason := held(session, stored.study_instance_uid):
            # The next round has an id of its own: this one is done, and must not block the queue.
            stored.rounds += 1
            stored.last_error = f"held: {reason}"
        session.add(stored)
        return not reason


def _undelivered(again: bool) -> str:
    return "queued" if again else "failed"


def queue_again(context: Context, sop_instance_uid: str) -> dict[str, Any]:
    """Queue a report that failed for sending again; a person asked for it.

    Raises:
        Permanent: there is no such report, it has not failed, or its model does not stand by it.
    """
    with context.database.write() as session:
        query = select(Transmission).where(
            Transmission.sop_instance_uid == sop_instance_uid, Transmission.state == "failed"
        )
        rows = list(session.exec(query))
        if not rows:
            raise Permanent(f"no failed transmission of {sop_instance_uid}")
        if reason := retracted(session, sop_instance_uid):
            raise Permanent(f"{sop_instance_uid} is not sent again: {reason}")
        for row in rows:
            row.state = "queued"
            row.rounds += 1
            session.add(row)
    return {"queued": len(rows)}


def _row(session: Session, sop_instance_uid: str, peer: str) -> Transmission:
    query = select(Transmission).where(
        Transmission.sop_instance_uid == sop_instance_uid, Transmission.peer == peer
    )
    return session.exec(query).one()


def _identity_conflict(context: Context, peer: PacsPeer, path: Path) -> str:
    """Compare the archive's identity of the study with the report's; name what contradicts.

    An archive that files the object under another patient answers success all the same, so the
    comparison comes before sending. An archive that cannot be asked, or does not hold the study
    yet, is not a contradiction.
    """
    ours = pydicom.dcmread(path, stop_before_pixels=True)
    dicom = context.settings.dicom
    if peer.has_dimse:
        tls = peer_context(peer, dicom.tls)
        waits = Timeouts(stopping=context.stopping)
        answer = find_study_identity(peer, dicom.ae_title, ours.StudyInstanceUID, waits, tls)
    else:
        tls = https_client_context(peer, dicom.tls)
        answer = qido_client.find_study_identity(peer, ours.StudyInstanceUID, tls=tls)
    conflicts = {name for theirs in answer.studies for name in identity_conflicts(ours, theirs)}
    return ", ".join(sorted(conflicts))


def _record(context: Context, row: Transmission, result: SendResult, state: str) -> None:
    now = context.clock()
    with context.database.write() as session:
        stored = session.get(Transmission, row.id)
        if stored is None:
            return  # erased while it was sent
        if stored.state == "queued" or result.delivered:
            # Unless the study was given another identity meanwhile: then it must stay failed.
            stored.state = state
        stored.attempts += 1
        stored.last_status = result.status
        stored.last_error = result.reason
        stored.delivered_at = now if result.delivered else None
        session.add(stored)
        if result.delivered:
            queue_inquiry(session, stored, context.settings.peer(stored.peer), now)

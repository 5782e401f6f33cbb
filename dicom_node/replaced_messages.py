"""Messages that were made of a document and are replaced, because it is filed otherwise now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlmodel import Session, col, select

from dicom_node.database import Clock, chunks
from dicom_node.linking.links import Linking, relink
from dicom_node.linking.models import LinkDecision
from dicom_node.message_reading import IGNORED
from dicom_node.message_rows import drop_content, part_chains
from dicom_node.messages import REPLACED
from dicom_node.models import Message, Report
from dicom_node.quarantined_messages import settle_listed
from dicom_node.reports.deriving import derive_chains
from dicom_node.reports.models import ReportInput


def replace_messages(
    session: Session, message_ids: Sequence[int], linking: Linking, clock: Clock, heir: str = ""
) -> None:
    """Let messages count no more that were made of documents which are filed otherwise now.

    Args:
        session: a writing session.
        message_ids: rows of the table of messages.
        linking: the linker and its settings.
        clock: gives the time of decisions.
        heir: the report that a document belongs to now: what people decided about links of a
            report of which nothing is left is decided about this one. Empty: nobody inherits.
    """
    touched = drop_content(session, message_ids)
    for part in chunks(sorted(message_ids)):
        for message in session.exec(select(Message).where(col(Message.id).in_(part))):
            message.disposition, message.reason = IGNORED, REPLACED
            session.add(message)
            settle_listed(session, message, at_fault=False)
    session.flush()
    if heir and _bequeath(session, touched.chains - {heir}, heir):
        touched.chains.add(heir)
        query = select(Report.id).where(Report.report_identity == heir, col(Report.is_current))
        touched.reports |= {each for each in session.exec(query) if each is not None}
    touched |= part_chains(session, touched.chains)
    touched |= derive_chains(session, touched.chains, clock)
    relink(session, touched, linking, clock)


def _bequeath(session: Session, chains: Iterable[str], heir: str) -> bool:
    """Move the decisions about links of reports of which nothing holds; tell whether some did."""
    moved = False
    for chain in sorted(chains):
        holding = select(ReportInput.id).where(
            ReportInput.report_identity == chain, col(ReportInput.holds)
        )
        if session.exec(holding.limit(1)).first() is None:
            for decision in session.exec(
                select(LinkDecision).where(LinkDecision.report_identity == chain)
            ):
                decision.report_identity = heir
                session.add(decision)
                moved = True
    session.flush()
    return moved

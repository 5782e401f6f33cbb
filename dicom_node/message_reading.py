"""What a stored message comes to: its disposition, the reason, and what is to be filed.

The text of embedded documents is taken out here, after the message was acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dicom_node.errors import NeedsReview
from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.envelope import Envelope, read_envelope
from dicom_node.hl7.parsed import EmbeddedDocument, ParsedMessage, ParsedReport, ReportPart
from dicom_node.hl7.reader import read_message
from dicom_node.hl7.text import ContentFault
from dicom_node.hl7.usable import check_usable
from dicom_node.reports.orders import join_orders
from dicom_node.reports.versions import chain_identity

ProfileOf = Callable[[str], FeedProfile]
"""The profile of a sender (MSH-3 and MSH-4, joined with ``|``)."""

DocumentText = Callable[[EmbeddedDocument], str]
"""Takes the text out of an embedded document; raises NeedsReview where there is none to take."""

ACCEPTED = "accepted"
IGNORED = "ignored"
QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one message says and what becomes of it.

    Args:
        envelope: MSH.
        disposition: ``accepted``, ``ignored`` or ``quarantined``.
        reason: why it is not accepted, or what of it was left out; never a value of the message.
        parsed: what it says; None where nothing is taken from it.
        fault: what is at fault, where it is quarantined.
    """

    envelope: Envelope
    disposition: str
    reason: str = ""
    parsed: ParsedMessage | None = None
    fault: ContentFault | None = None


def read_stored(
    content: bytes, profile_of: ProfileOf, document_text: DocumentText | None = None
) -> Reading:
    """Read a message as it lies in the store; anything at all may be given, nothing is raised."""
    envelope = read_envelope(content)
    try:
        parsed = check_usable(read_message(content, profile_of))
        parsed = replace(parsed, reports=join_orders(parsed.reports))
        if parsed.ignored:
            return Reading(envelope, IGNORED, parsed.ignored)
        for report in parsed.reports:
            chain_identity(envelope.sender, report, lambda _: None)
        parsed = _with_documents(parsed, document_text)
    except ContentFault as fault:
        where = f"{fault.segment}-{fault.field}" if fault.field else fault.segment
        return Reading(envelope, QUARANTINED, f"{where}: {fault.sentence}", fault=fault)
    return Reading(envelope, ACCEPTED, parsed=parsed)


def _with_documents(parsed: ParsedMessage, document_text: DocumentText | None) -> ParsedMessage:
    if not any(part.document for report in parsed.reports for part in report.parts):
        return parsed
    return replace(
        parsed, reports=tuple(_report(report, document_text) for report in parsed.reports)
    )


def _report(report: ParsedReport, document_text: DocumentText | None) -> ParsedReport:
    return replace(report, parts=tuple(_part(part, document_text) for part in report.parts))


def _part(part: ReportPart, document_text: DocumentText | None) -> ReportPart:
    if part.document is None:
        return part
    if document_text is None:
        raise ContentFault("OBX", 5, 102, "embedded documents are not read here")
    try:
        text = document_text(part.document)
    except NeedsReview as error:
        raise ContentFault("OBX", 5, 102, f"the embedded document: {error}") from error
    return replace(part, text="\n".join(filter(None, (part.text, text))))

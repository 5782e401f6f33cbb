"""HL7 v2 messages as received become what they say, by the profile of their feed.

The one reader of the product, for the listener as for filing, imports and trials of a profile. It
splits text and nothing else; embedded documents are taken out as bytes and not looked into. Tests
compare what it finds in composite fields with hl7apy.

Messages read: ORU^R01 (IHE RAD-28, RAD-128), ORM^O01, OMI^O23, OMG^O19 (RAD-4, RAD-13), MDM^T02 to
T11, ADT of patient reconciliation (RAD-12, ITI-30).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7 import documents, patients
from dicom_node.hl7.documents import read_document_message
from dicom_node.hl7.envelope import read_envelope
from dicom_node.hl7.orders import read_orders
from dicom_node.hl7.parsed import ParsedMessage
from dicom_node.hl7.patients import read_patient_events
from dicom_node.hl7.results import read_results
from dicom_node.hl7.segments import Reading
from dicom_node.hl7.text import ContentFault

_TYPE_NAME = re.compile(r"[A-Z0-9]{3}(\^[A-Z0-9]{3})?", re.ASCII)

_READERS: dict[str, Callable[[Reading], ParsedMessage]] = {
    "ORU^R01": read_results,
    "ORU": read_results,
    "ORM^O01": read_orders,
    "ORM": read_orders,
    "OMI^O23": read_orders,
    "OMG^O19": read_orders,
    **{f"ADT^{event}": read_patient_events for event in patients.EVENTS},
    **{f"MDM^{event}": read_document_message for event in documents.EVENTS},
    **{f"MDM^{event}": read_document_message for event in documents.ANNOUNCED},
}

MESSAGE_TYPES = frozenset(_READERS)
"""Message types, as type and event, from which something is taken."""


def read_message(content: bytes, profile_of: Callable[[str], FeedProfile]) -> ParsedMessage:
    """Read a message; messages of other types, for training or debugging, or about test patients
    are ignored with a reason.

    Args:
        content: the message as received, without its frame.
        profile_of: gives the profile of a sender (MSH-3 and MSH-4, joined with ``|``), with the
            general defaults filled in.

    Raises:
        ContentFault: the message cannot be used; the fault says where and why.
    """
    envelope = read_envelope(content)
    if not envelope.is_hl7:
        raise ContentFault("MSH", 0, 100, "the message does not begin with an MSH segment")
    if not envelope.control_id:
        raise ContentFault("MSH", 10, 101, "the message control id is missing")
    message_type = envelope.message_type
    if not _TYPE_NAME.fullmatch(message_type):
        raise ContentFault("MSH", 9, 101, "the message type is missing or malformed")
    if envelope.processing_id in ("T", "D"):
        return ParsedMessage(envelope, ignored="sent for training or debugging (MSH-11)")
    read = _READERS.get(message_type)
    if read is None:
        return ParsedMessage(envelope, ignored=f"{message_type} is not used")
    return read(Reading(content, envelope, profile_of))

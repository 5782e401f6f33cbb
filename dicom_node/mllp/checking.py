"""Whether the content of a message is at fault, fast enough to be asked before each answer.

The reader of the product decides. Most of a report are lines of plain text that cannot be at fault,
so those are left out first: where the rest is sound and they are what they seem, so is the whole.
In any doubt the whole message is read, and the fault is the one that filing will find.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.batches import batch_messages, is_batch
from dicom_node.hl7.envelope import Envelope
from dicom_node.hl7.observations import OBSERVATION_STATUSES, mapped_status
from dicom_node.hl7.reader import read_message
from dicom_node.hl7.rules import Rules, rules_of
from dicom_node.hl7.text import ContentFault, codec_name, decode
from dicom_node.hl7.usable import check_usable

ProfileOf = Callable[[str], FeedProfile]
"""The profile of a sender (MSH-3 and MSH-4, joined with ``|``), with general defaults filled in."""

_START = b"MSH|^~\\&|"
_MESSAGE_TYPE = "ORU^R01"
_MOST_LINES = 10_000
_CONTROLS = bytes((*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F))

# Character sets in which each byte below 0x80 is that character, wherever it stands.
_CONTEXT_FREE = frozenset(
    ("ascii", "utf-8", "cp1252", *(f"iso8859-{part}" for part in range(1, 17)))
)


def _plain_lines(value: bytes) -> re.Pattern[bytes]:
    """Return what finds an OBX of type TX, FT or ST, and captures its identifier and its status.

    A field may run on over the next lines as far as this pattern goes, because one excluded byte is
    searched for several times faster than two: the number of line ends that it takes away tells.
    """
    field = rb"\|" + value + rb"*+"
    return re.compile(
        rb"\r\n?OBX"
        + field
        + rb"\|(?:TX|FT|ST)\|("
        + value
        + rb"*+)"
        + field * 2
        + rb"(?:\|\|\|\|\||"
        + field * 5
        + rb")\|([A-Za-z]*+)(?:\|[^\r]*+)?(?=\r)"
    )


_WITHOUT_ESCAPES, _WITH_ESCAPES = _plain_lines(rb"[^|]"), _plain_lines(rb"[^|\\]")
# The reader takes the value of an OBX whose identifier is or names one of these for a UID.
_OF_UIDS = re.compile(rb"11[023]0|[Uu][Ii][Dd]|[\x80-\xff]")


def fault_of(content: bytes, envelope: Envelope, profile_of: ProfileOf) -> ContentFault | None:
    """Return why a message cannot be used; None where it can.

    Args:
        content: the message as received, without its frame.
        envelope: its MSH.
        profile_of: gives the profile of a sender.
    """
    try:
        if is_batch(content):
            batch_messages(content)  # only one that is at fault comes here: its fault is told
        if not _is_plainly_sound(content, envelope, profile_of):
            check_usable(read_message(content, profile_of))
    except ContentFault as fault:
        return fault
    return None


def _is_plainly_sound(content: bytes, envelope: Envelope, profile_of: ProfileOf) -> bool:
    """Tell whether a message is sound by reading it without its lines of plain text.

    False means nothing.
    """
    if envelope.message_type != _MESSAGE_TYPE or not content.startswith(_START):
        return False
    if content.translate(None, _CONTROLS) != content or content.count(b"\r") > _MOST_LINES:
        return False
    pattern = _WITH_ESCAPES if content.find(b"\\", len(_START)) >= 0 else _WITHOUT_ESCAPES
    pieces = pattern.split(content)
    rest, identifiers, statuses = b"".join(pieces[::3]), pieces[1::3], pieces[2::3]
    if not statuses or content.count(b"\r") - rest.count(b"\r") != len(statuses):
        return False
    if any(_OF_UIDS.search(each) for each in set(identifiers)):
        return False
    profile = profile_of(envelope.sender)
    rules = rules_of(profile)
    if _looks_into_observations(rules):
        return False
    try:
        codec = codec_name(
            "" if profile.charset_overrides else envelope.text(18), profile.charset or "ascii"
        )
        if codec.replace("_", "-") not in _CONTEXT_FREE:
            return False
        if not content.isascii():
            decode(content, codec)
        for status in set(statuses):
            mapped_status(
                status.decode(), rules.observation_statuses, OBSERVATION_STATUSES, "OBX", 11
            )
        read_message(rest, profile_of)
    except ContentFault:
        return False
    return True


def _looks_into_observations(rules: Rules) -> bool:
    """Tell whether the profile takes something else than text from an OBX."""
    return any(
        path.segment == "OBX"
        for paths in (
            rules.accession,
            rules.report_number,
            rules.study_uid,
            rules.result_status,
            rules.status_changed,
            rules.observation_date,
            rules.modality,
        )
        for path in paths
    )

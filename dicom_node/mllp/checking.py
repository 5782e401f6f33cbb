"""Whether the content of a message is at fault, fast enough to be asked before each answer.

The reader of the product decides. Most of a report are lines of plain text that cannot be at fault,
so those are left out first: where the rest is sound and they are what they seem, so is the whole.
In any doubt the whole message is read, and the fault is the one that filing will find.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.envelope import Envelope
from dicom_node.hl7.observations import OBSERVATION_STATUSES, mapped_status
from dicom_node.hl7.reader import read_message
from dicom_node.hl7.rules import Rules, rules_of
from dicom_node.hl7.text import ContentFault, codec_name, decode

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


def _plain_lines(text: bytes) -> re.Pattern[bytes]:
    """Return what finds an OBX of plain text and captures its status.

    Its type is TX, FT or ST, its identifier speaks of no UID, and what the reader undoes escapes
    in holds none. The text may run on over the next lines as far as this pattern goes: the number
    of line ends that it takes away tells.
    """
    other = rb"\|[^|\r\\]*+"
    return re.compile(
        rb"\r\n?OBX\|[0-9]*+\|(?:TX|FT|ST)(?!\|[^|\r]*?(?:11[023]0|[Uu][Ii][Dd]))"
        + other * 2
        + rb"\|"
        + text
        + rb"*+"
        + other * 5
        + rb"\|([A-Za-z]{0,40}+)(?:\|[^\r]*+)?(?=\r)"
    )


# One excluded byte is searched for several times faster than two.
_WITHOUT_ESCAPES, _WITH_ESCAPES = _plain_lines(rb"[^|]"), _plain_lines(rb"[^|\\]")


def fault_of(content: bytes, envelope: Envelope, profile_of: ProfileOf) -> ContentFault | None:
    """Return why a message cannot be used; None where it can.

    Args:
        content: the message as received, without its frame.
        envelope: its MSH.
        profile_of: gives the profile of a sender.
    """
    try:
        if not _is_plainly_sound(content, envelope, profile_of):
            read_message(content, profile_of)
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
    rest, statuses = b"".join(pieces[::2]), pieces[1::2]
    if content.count(b"\r") - rest.count(b"\r") != len(statuses):
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

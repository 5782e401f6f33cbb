"""What the listener makes of a frame or of a refused stream: records to keep, answers to give."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.envelope import Envelope, read_envelope
from dicom_node.hl7.text import ContentFault
from dicom_node.mllp.answers import Outcome, acknowledgements
from dicom_node.mllp.framing import Refused, frame
from dicom_node.mllp.journal import Record, encode

NOT_STORED = ContentFault("MSH", 0, 207, "the message could not be stored; send it again")
NOT_ALLOWED = ContentFault(
    "MSH", 3, 207, "this sender is not accepted from this address or with this certificate"
)
CUT_SHORT = "other bytes followed its end mark: it may be the first part of a longer message"

_LONGEST_HEADER = 4096


@dataclass(slots=True)
class Received:
    """Something that waits to be stored, and the answer that it then gets.

    Args:
        envelope: MSH.
        profile: of the sender.
        received_at: when it was whole.
        digest: SHA-256 of a message in hexadecimal.
        header: its first segment.
        size: bytes that wait in memory.
        outcome: what the answer says once it is stored.
        fault: what the answer's ERR says.
        encoded: its records, as they lie in the journal; let go once they are stored.
        owed: records that must be kept even where there is no room for messages.
        silent: another answer says it all.
        answered: whether its answer was handed to the connection.
    """

    envelope: Envelope
    profile: FeedProfile
    received_at: dt.datetime
    digest: str
    header: bytes
    size: int
    outcome: Outcome
    fault: ContentFault | None
    encoded: tuple[bytes, ...] = ()
    owed: tuple[bytes, ...] = ()
    silent: bool = False
    answered: bool = False
    _answers: bytes = field(default=b"")

    def prepare(self) -> None:
        """Make the answer while the disk is busy with others."""
        self._answers = self._framed(self.outcome, self.fault)

    def answers(self, *, stored: bool) -> bytes:
        """Return the framed acknowledgements."""
        self.answered = True
        self.encoded = self.owed = ()
        if self.silent:
            return b""
        if not stored and self.outcome is not Outcome.REFUSED:
            return self._framed(Outcome.NOT_STORED, NOT_STORED)
        return self._answers

    def refuse(self, fault: ContentFault) -> None:
        """Answer negatively, whatever becomes of it: it turned out to be a part of something."""
        self.outcome, self.fault = Outcome.REFUSED, fault
        self.prepare()

    def _framed(self, outcome: Outcome, fault: ContentFault | None) -> bytes:
        made = acknowledgements(
            self.envelope, self.profile, outcome, self.received_at, digest=self.digest, fault=fault
        )
        return b"".join([frame(each) for each in made])


def received_message(
    content: bytes,
    envelope: Envelope,
    profile: FeedProfile,
    fault: ContentFault | None,
    now: dt.datetime,
    address: str,
) -> Received:
    """Return what becomes of a whole frame."""
    digest = hashlib.sha256(content).hexdigest()
    outcome = Outcome.STORED if fault is None else Outcome.FAULTY
    negative = fault is not None and profile.on_content_fault != "AA"
    reason = f"{fault.segment}-{fault.field}: {fault.sentence}" if fault and negative else ""
    made = Received(
        envelope,
        profile,
        now,
        digest,
        content[:_LONGEST_HEADER].split(b"\r", 1)[0],
        len(content),
        outcome,
        fault,
        (encode(Record("message", content, now, address, reason, digest)),),
    )
    made.prepare()
    return made


def turned_away(
    content: bytes, envelope: Envelope, profile: FeedProfile, now: dt.datetime, address: str
) -> Received:
    """Return what becomes of a frame whose sender may not send from where it came."""
    return _refused(content, envelope, profile, NOT_ALLOWED, now, address)


def received_refusal(
    event: Refused, last: Received | None, profile: FeedProfile, now: dt.datetime, address: str
) -> Received:
    """Return what becomes of a refused stream.

    Where bytes followed the end mark of the last message, that message is named as suspect: the
    answer is then about it, and takes the place of its own where that was not given yet.
    """
    fault = ContentFault("MSH", 0, 100, event.fault.value)
    if last is None or not event.after_frame:
        return _refused(event.content, read_envelope(event.content), profile, fault, now, address)
    made = _refused(event.content, last.envelope, last.profile, fault, now, address)
    suspect = Record("suspect", last.header, now, address, CUT_SHORT, last.digest)
    made.owed = (encode(suspect),)
    if not last.answered:
        last.refuse(fault)
        made.silent = True
    return made


def _refused(
    content: bytes,
    envelope: Envelope,
    profile: FeedProfile,
    fault: ContentFault,
    now: dt.datetime,
    address: str,
) -> Received:
    digest = hashlib.sha256(content).hexdigest()
    record = Record("refused", content, now, address, fault.sentence, digest)
    made = Received(
        envelope,
        profile,
        now,
        digest,
        b"",
        len(content),
        Outcome.REFUSED,
        fault,
        (encode(record),) if content else (),
    )
    made.prepare()
    return made


@lru_cache(maxsize=4096)
def may_send(
    networks: tuple[str, ...], certificates: tuple[str, ...], address: str, certificate: str
) -> bool:
    """Tell whether a profile accepts an address and a certificate.

    Args:
        networks: of the profile; none: from anywhere.
        certificates: fingerprints of the profile; none: any, or no certificate.
        address: of the connection.
        certificate: fingerprint of the connection's certificate; empty without TLS.
    """
    if certificates and certificate not in certificates:
        return False
    if not networks:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in ipaddress.ip_network(each) for each in networks)

"""Which acknowledgements a message gets, and their bytes (HL7 2.5.1 sections 2.9.2 and 2.9.3).

Original mode has one answer: AA, AE or AR. Enhanced mode has two, each sent where its condition in
MSH-15 or MSH-16 holds: the accept acknowledgement (CA, CE, CR) says whether the bytes are safe, the
application acknowledgement (AA, AE, AR) what was made of them. Both follow on the connection of the
message. All of it is a function of the message, its profile and the time of receipt: the same
content gets the same codes again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.envelope import ERROR_TEXTS, Envelope
from dicom_node.hl7.text import ContentFault


class Outcome(Enum):
    """What became of a message; the value holds the accept and the application code."""

    STORED = ("CA", "AA")
    FAULTY = ("CA", "")  # stored, but its content is at fault: the profile says which code
    NOT_STORED = ("CE", "AE")
    REFUSED = ("CR", "AR")  # its framing or its size


_POSITIVE = frozenset(("CA", "AA"))
_CONDITIONS = {"AL": (True, True), "NE": (False, False), "SU": (True, False), "ER": (False, True)}
"""Table 0155: whether an answer is wanted on success and on error."""

_DEFAULT_MARKS = (b"|", b"^~\\&")
_FIELDS = 21
_LONGEST_ECHO = 256
_CONTROLS = bytes((*range(0x20), 0x7F))
_OLD_ERROR_LOCATION = "2.5"  # before it, ERR-1 held location and code
_OLDEST_IN_ORDER = "2"

NOBODY = Envelope(is_hl7=False, fields=(b"",) * _FIELDS)
"""The envelope of bytes that hold no MSH."""


def acknowledgements(
    envelope: Envelope,
    profile: FeedProfile,
    outcome: Outcome,
    now: dt.datetime,
    *,
    digest: str = "",
    fault: ContentFault | None = None,
) -> tuple[bytes, ...]:
    """Return the acknowledgements of a message, without framing, in the order to send them.

    Args:
        envelope: MSH of the message; :data:`NOBODY` where it has none.
        profile: of the sender; ``acknowledgement`` and ``on_content_fault`` count.
        outcome: what became of the message.
        now: for MSH-7.
        digest: of the message in hexadecimal; MSH-10 of the answers is made from it.
        fault: what was wrong; it becomes ERR, with segment, field, code and a sentence.
    """
    accept, application = outcome.value
    if outcome is Outcome.FAULTY:
        application = profile.on_content_fault
    wanted = _wanted(envelope, profile, accept, application)
    # The fault goes into the last answer: where both are sent, the first only says that it is safe.
    return tuple(
        _build(code, envelope, now, digest, fault if code == wanted[-1] else None)
        for code in wanted
    )


def is_enhanced(envelope: Envelope, profile: FeedProfile) -> bool:
    """Tell whether a message is answered in enhanced mode: MSH-15 or MSH-16 is valued."""
    if profile.acknowledgement != "auto":
        return profile.acknowledgement == "enhanced"
    return bool(envelope.fields[15].strip() or envelope.fields[16].strip())


def _wanted(
    envelope: Envelope, profile: FeedProfile, accept: str, application: str
) -> tuple[str, ...]:
    if not is_enhanced(envelope, profile):
        return (application,)
    on_accept, on_application = envelope.text(15).upper(), envelope.text(16).upper()
    if not on_accept and not on_application:
        on_accept = "AL"  # the profile says enhanced and the message leaves it open
    codes = []
    if _holds(on_accept, accept):
        codes.append(accept)
    # What was not taken over never reaches the application, which then has nothing to say,
    # except where its answer is the only one.
    if _holds(on_application, application) and (accept in _POSITIVE or not on_accept):
        codes.append(application)
    return tuple(codes)


def _holds(condition: str, code: str) -> bool:
    """Tell whether an answer is wanted; an unknown condition is taken as ``always``."""
    if not condition:
        return False
    on_success, on_error = _CONDITIONS.get(condition, (True, True))
    return on_success if code in _POSITIVE else on_error


def _build(
    code: str, envelope: Envelope, now: dt.datetime, digest: str, fault: ContentFault | None
) -> bytes:
    fields = envelope.fields
    mark, _ = marks = _marks(envelope)
    before, after = _header(
        marks, *(_echo(fields[number]) for number in (3, 4, 5, 6, 9, 11, 12, 18))
    )
    parts = [
        before,
        _time(now),
        after.replace(b"\0", f"RL{code}{digest[:16]}".encode(), 1),
        b"\rMSA",
        mark,
        code.encode(),
        mark,
        _echo(fields[10]),
    ]
    if fault is not None:
        parts += _error(fault, code, marks, envelope.text(12))
    parts.append(b"\r")
    return b"".join(parts)


@lru_cache(maxsize=64)
def _header(
    marks: tuple[bytes, bytes],
    application: bytes,
    facility: bytes,
    to_application: bytes,
    to_facility: bytes,
    message_type: bytes,
    processing: bytes,
    version: bytes,
    charset: bytes,
) -> tuple[bytes, bytes]:
    """Return MSH up to MSH-6, and from MSH-8 on with NUL in the place of MSH-10.

    A sender's messages have nearly all of it in common.
    """
    mark, encoding = marks
    component = encoding[:1]
    event = message_type.split(component)[1:2] or [b""]
    fields = [
        b"",
        component.join((b"ACK", event[0].strip(), b"ACK")),
        b"\0",
        processing or b"P",
        version if version[:1] == b"2" else b"2.5.1",
    ]
    if charset:
        fields += [b"", b"", b"", b"", b"", charset]
    before = mark.join(
        (b"MSH" + mark + encoding, to_application, to_facility, application, facility, b"")
    )
    return before, mark + mark.join(fields)


@lru_cache(maxsize=4)
def _second(now: dt.datetime) -> bytes:
    return now.strftime("%Y%m%d%H%M%S%z").encode()


def _time(now: dt.datetime) -> bytes:
    return _second(now.replace(microsecond=0))


def _error(
    fault: ContentFault, code: str, marks: tuple[bytes, bytes], version: str
) -> Sequence[bytes]:
    """Return ERR, and before it MSA-3 for versions whose ERR has no place for a sentence."""
    mark, component, subcomponent = marks[0], marks[1][:1], marks[1][3:4]
    text = ERROR_TEXTS.get(fault.code, "Application internal error").encode()
    segment = fault.segment.encode("ascii", errors="replace")
    field = str(fault.field).encode() if fault.field else b""
    sentence = _escaped(fault.sentence, marks)
    number = str(fault.code).encode()
    coded = subcomponent.join((number, text, b"HL70357"))
    is_old = _OLDEST_IN_ORDER <= version < _OLD_ERROR_LOCATION
    location = component.join((segment, b"1", field))
    fields = (
        b"ERR",
        component.join((location, coded)) if is_old else b"",
        location,
        component.join((number, text, b"HL70357")),
        b"W" if code in _POSITIVE else b"E",
        b"",
        b"",
        b"",
        sentence,
    )
    return (*((mark, sentence) if is_old else ()), b"\r", mark.join(fields))


def _escaped(text: str, marks: tuple[bytes, bytes]) -> bytes:
    mark, encoding = marks
    escape = encoding[2:3]
    letters = {encoding[2]: b"E", mark[0]: b"F", encoding[0]: b"S", encoding[1]: b"R"}
    letters[encoding[3]] = b"T"
    plain = text.encode("ascii", errors="replace").translate(None, _CONTROLS)
    return b"".join(
        escape + letters[byte] + escape if byte in letters else bytes((byte,)) for byte in plain
    )


def _marks(envelope: Envelope) -> tuple[bytes, bytes]:
    """Return field separator and encoding characters of the message: MSH-10 cannot hold them.

    Where they cannot be used, the usual ones.
    """
    mark, encoding = envelope.fields[1], envelope.fields[2]
    if (mark, encoding) == _DEFAULT_MARKS:
        return _DEFAULT_MARKS
    together = mark + encoding
    usable = (
        len(mark) == 1
        and len(encoding) in (4, 5)
        and len(set(together)) == len(together)
        and all(0x21 <= byte < 0x7F and not bytes((byte,)).isalnum() for byte in together)
    )
    return (mark, encoding[:4]) if usable else _DEFAULT_MARKS


def _echo(value: bytes) -> bytes:
    """Give a peer's value back without control bytes, which would break frame or segment."""
    return value[:_LONGEST_ECHO].translate(None, _CONTROLS)

"""The DICOM file format around a data set whose bytes stay as received (PS3.10 section 7).

Nothing here decodes a data set: the File Meta Information is written from the association, and only
the first elements of a data set are walked, to compare its UIDs with those of the command.
"""

from __future__ import annotations

import re
import struct

IMPLEMENTATION_CLASS_UID = "2.25.157298631750487029531174622450139078713"
IMPLEMENTATION_VERSION_NAME = "RADLOOP"

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

# In these the whole data set is compressed: a few bytes can become gigabytes (PS3.5 Annex A.5).
DEFLATED = frozenset(
    ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
)

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018

ROUTED, RETRIEVED, IMPORTED = "", "retrieved", "imported"
"""How an object came: sent on the sender's own account, asked for by us, read from an archive."""

_WAYS = frozenset((ROUTED, RETRIEVED, IMPORTED))
_WAY_CREATOR = "2.25.157298631750487029531174622450139078714"

_PREAMBLE = bytes(128) + b"DICM"
_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(?:\.[0-9]+)*")
_STANDARD = "1.2.840.10008."  # the root of every UID that the standard defines
_UNDEFINED_LENGTH = 0xFFFFFFFF
# Explicit VRs with a 32-bit length (PS3.5 section 7.1.2).
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_LONGEST_HEADER_BYTES = 12  # tag, value representation and length
_WALK_LIMIT = 64  # elements; the UIDs are among the first of group 0008


def is_uid(value: str) -> bool:
    """Tell whether ``value`` has the form and the length of a UID (PS3.5 section 9.1).

    Components with leading zeros are let through: real equipment writes them.
    """
    return _UID.fullmatch(value) is not None


def encode_file_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    calling_ae_title: str,
    called_ae_title: str,
    way: str = ROUTED,
) -> bytes:
    """Return preamble, prefix and File Meta Information for a received data set.

    The preamble is zero, because a peer's preamble could be an executable header. The sender's AE
    title stands in Source (0002,0016) and Sending (0002,0017) Application Entity Title, ours in
    Receiving Application Entity Title (0002,0018), so that the file explains itself. An
    object that came because we asked says so in Private Information (0002,0102); any other has
    none. A UID that is not one is left empty.
    """
    private = (
        (
            _element(0x0100, b"UI", _uid(_WAY_CREATOR)),
            _element(0x0102, b"OB", _padded(way.encode("ascii"), b" ")),
        )
        if way != ROUTED
        else ()
    )
    elements = b"".join(
        (
            _element(0x0001, b"OB", b"\x00\x01"),
            _element(0x0002, b"UI", _uid(sop_class_uid)),
            _element(0x0003, b"UI", _uid(sop_instance_uid)),
            _element(0x0010, b"UI", _uid(transfer_syntax_uid)),
            _element(0x0012, b"UI", _uid(IMPLEMENTATION_CLASS_UID)),
            _element(0x0013, b"SH", _padded(IMPLEMENTATION_VERSION_NAME.encode(), b" ")),
            _element(0x0016, b"AE", _ae_title(calling_ae_title)),
            _element(0x0017, b"AE", _ae_title(calling_ae_title)),
            _element(0x0018, b"AE", _ae_title(called_ae_title)),
            *private,
        )
    )
    return _PREAMBLE + _element(0x0000, b"UL", struct.pack("<L", len(elements))) + elements


def way_of(creator_uid: str, information: bytes) -> str:
    """Return how an object came, from (0002,0100) and (0002,0102) of its stored file."""
    text = information.decode("latin-1").rstrip("\0 ")
    return text if creator_uid == _WAY_CREATOR and text in _WAYS else ROUTED


def leading_uids(
    data: bytes | bytearray | memoryview, transfer_syntax_uid: str, size: int | None = None
) -> tuple[str, str] | None:
    """Return SOP Class UID and SOP Instance UID as the data set itself states them.

    Only tags and lengths of its first elements are read. An element that is missing gives an empty
    string. None means that somebody with a parser has to look: the data set is deflated or in a
    private transfer syntax, or an element of undefined length, or one longer than ``data``, comes
    before the UIDs.

    Args:
        data: the beginning of the data set, or all of it.
        transfer_syntax_uid: how it is encoded.
        size: bytes of the whole data set; the length of ``data`` where it is left out.

    Raises:
        ValueError: the bytes are not a data set in this transfer syntax.
    """
    if transfer_syntax_uid in DEFLATED or not transfer_syntax_uid.startswith(_STANDARD):
        return None
    size = len(data) if size is None else size
    found = {SOP_CLASS_UID: "", SOP_INSTANCE_UID: ""}
    position, previous = 0, -1
    for _ in range(_WALK_LIMIT):
        if position == size and position:
            break
        if position + _LONGEST_HEADER_BYTES > len(data) and len(data) < size:
            return None
        tag, length, start = _read_tag(data, position, transfer_syntax_uid)
        if tag <= previous or tag < 0x00080000:
            raise ValueError("the elements are not in ascending order")
        if tag > SOP_INSTANCE_UID:
            break
        if length == _UNDEFINED_LENGTH:
            return None
        position, previous = start + length, tag
        if position > size:
            raise ValueError("an element is longer than the data set")
        if position > len(data):
            return None
        if tag in found:
            found[tag] = bytes(data[start:position]).decode("latin-1").rstrip("\0 ")
    return found[SOP_CLASS_UID], found[SOP_INSTANCE_UID]


def _read_tag(
    data: bytes | bytearray | memoryview, position: int, syntax: str
) -> tuple[int, int, int]:
    """Return tag, length and where the value starts."""
    order = ">" if syntax == EXPLICIT_VR_BIG_ENDIAN else "<"
    try:
        group, element = struct.unpack_from(order + "HH", data, position)
        tag = group << 16 | element
        if syntax == IMPLICIT_VR_LITTLE_ENDIAN:
            return tag, struct.unpack_from("<L", data, position + 4)[0], position + 8
        vr = bytes(data[position + 4 : position + 6])
        if not vr.isalpha() or not vr.isupper():
            raise ValueError("an element has no value representation")
        if vr in _LONG_VRS:
            return tag, struct.unpack_from(order + "L", data, position + 8)[0], position + 12
        return tag, struct.unpack_from(order + "H", data, position + 6)[0], position + 8
    except struct.error:
        raise ValueError("the data set ends inside an element") from None


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    """Encode an element of group 0002, which is always Explicit VR Little Endian."""
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHL", 0x0002, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


def _padded(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value


def _uid(value: str) -> bytes:
    return _padded(value.encode("ascii"), b"\0") if is_uid(value) else b""


def _ae_title(value: str) -> bytes:
    # A backslash would split the value in two, a control character is not allowed (PS3.5 6.2).
    clean = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in value[:16])
    return _padded(clean.encode("ascii"), b" ")

"""Whether a stored file still is what its name says: every byte is read and digested again."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from dicom_node.intake import Origin

_PREFIX_END = 132
_GROUP_LENGTH_END = 144  # (0002,0000) UL, the first element of the file meta information
_LONGEST_META = 16 * 1024
_STEP = 1024 * 1024
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010
_OB = b"OB"


def digest_of_file(path: Path) -> str:
    """Return the digest by which a file that this node wrote must be named.

    What the kernel holds of the file is dropped first where that is possible, so that the bytes
    come from the disk.

    Raises:
        ValueError: it is not such a file.
        OSError: it is not there, or cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        head = _exactly(file.fileno(), _GROUP_LENGTH_END)
        if head[128:_PREFIX_END] != b"DICM" or head[_PREFIX_END:140] != b"\2\0\0\0UL\4\0":
            raise ValueError("not a file of this node")
        length = struct.unpack_from("<L", head, 140)[0]
        if length > _LONGEST_META:
            raise ValueError("the file meta information is longer than this node writes it")
        found = _elements(_exactly(file.fileno(), length))
        sha = Origin(
            sop_class_uid=found.get(_SOP_CLASS, ""),
            sop_instance_uid=found.get(_SOP_INSTANCE, ""),
            transfer_syntax_uid=found.get(_TRANSFER_SYNTAX, ""),
            calling_ae_title="",
            called_ae_title="",
        ).new_digest()
        while piece := file.read(_STEP):
            sha.update(piece)
    return sha.hexdigest()


def _exactly(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(descriptor, size - len(data))
        if not piece:
            raise ValueError("the file ends inside its file meta information")
        data += piece
    return data


def _elements(data: bytes) -> dict[int, str]:
    """Return the UIDs of group 0002, which this node writes in Explicit VR Little Endian."""
    found: dict[int, str] = {}
    position = 0
    while position + 8 <= len(data):
        _, number, vr, length = struct.unpack_from("<HH2sH", data, position)
        position += 8
        if vr == _OB:
            length = int.from_bytes(data[position : position + 4], "little")
            position += 4
        if vr == b"UI":
            found[number] = data[position : position + length].decode("latin-1").rstrip("\0 ")
        position += length
    return found

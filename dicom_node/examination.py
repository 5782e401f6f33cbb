"""Whether an object that arrived whole is what its sender says; the same for every way in."""

from __future__ import annotations

from typing import Protocol

from dicom_node.dimse import CANNOT_UNDERSTAND, DATA_SET_MISMATCH, SUCCESS
from dicom_node.file_meta import is_uid, leading_uids
from dicom_node.intake import Origin


class Examined(Protocol):
    """An object whose bytes have all come, such as an ``intake.IncomingObject``."""

    @property
    def origin(self) -> Origin:
        """What was said about it before its data set came."""

    @property
    def head(self) -> bytearray:
        """Its first bytes, at most ``intake.HEAD_BYTES``."""

    @property
    def size(self) -> int:
        """Bytes of the data set."""


def examine(incoming: Examined, abstract_syntax: str) -> tuple[int, str]:
    """Return the C-STORE status and, where the object must not be used, the reason."""
    origin = incoming.origin
    named = (origin.sop_class_uid, origin.sop_instance_uid)
    if not all(is_uid(uid) for uid in named):
        return DATA_SET_MISMATCH, "the sender names a UID that is not one"
    if origin.sop_class_uid != abstract_syntax:
        return DATA_SET_MISMATCH, "the object is not of the SOP class that was negotiated"
    try:
        stated = leading_uids(incoming.head, origin.transfer_syntax_uid, incoming.size)
    except ValueError as error:
        return CANNOT_UNDERSTAND, f"the data set cannot be understood: {error}"
    if stated is not None and stated != named:
        return DATA_SET_MISMATCH, "the data set is not the object that the sender names"
    return SUCCESS, ""

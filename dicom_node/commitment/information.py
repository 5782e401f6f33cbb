"""Action and event information (PS3.4 tables J.3-1 and J.3-2): what is asked, what is answered.

The reader is bounded and knows these few attributes alone: the bytes come from peers, and it runs
where no sandbox is. It walks over each byte once, keeps nothing but UIDs, and refuses what it does
not understand. Reading is of Implicit and Explicit VR Little Endian, the only syntaxes agreed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from dicom_node.commitment.vocabulary import MAXIMUM_REFERENCES
from dicom_node.file_meta import IMPLICIT_VR_LITTLE_ENDIAN, is_uid

_SOP_CLASS, _SOP_INSTANCE = 0x00081150, 0x00081155
_TRANSACTION, _FAILURE_REASON = 0x00081195, 0x00081197
_FAILED, _REFERENCED = 0x00081198, 0x00081199
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_SEQUENCE_VRS = (b"SQ", b"UN", b"")
_DEEPEST = 8  # levels of sequences; the standard's own has one
_LONGEST_UID = 65  # with its padding


class TooManyReferences(ValueError):
    """More instances are named than one transaction may."""


@dataclass(frozen=True)
class Reference:
    """An instance that is named; ``reason`` is its failure reason, 0 where there is none."""

    sop_class_uid: str
    sop_instance_uid: str
    reason: int = 0


@dataclass(frozen=True)
class Information:
    """What a request or a report says.

    Attributes:
        transaction_uid: (0008,1195).
        referenced: of (0008,1199): asked for, or committed.
        failed: of (0008,1198), with reasons; empty in a request.
    """

    transaction_uid: str
    referenced: tuple[Reference, ...] = ()
    failed: tuple[Reference, ...] = ()


def decode_information(data: bytes | bytearray, transfer_syntax_uid: str) -> Information:
    """Read action or event information.

    Raises:
        TooManyReferences: it names more than MAXIMUM_REFERENCES instances.
        ValueError: it is no data set of this syntax, or what it must hold is missing or malformed.
    """
    reader = _Reader(bytes(data), explicit=transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN)
    found = reader.data_set(len(data), 0)
    if reader.position != len(data):
        raise ValueError("bytes follow the data set")
    return Information(
        _uid(found, _TRANSACTION),
        _references(found.get(_REFERENCED), needs_reason=False),
        _references(found.get(_FAILED), needs_reason=True),
    )


def data_set_of(information: Information) -> Dataset:
    """Return the data set to send; an empty sequence is left out (PS3.4 table J.3-2)."""
    data_set = Dataset()
    data_set.add(_element(_TRANSACTION, information.transaction_uid))
    if information.failed:
        data_set.FailedSOPSequence = _sequence(information.failed, with_reason=True)
    if information.referenced:
        data_set.ReferencedSOPSequence = _sequence(information.referenced, with_reason=False)
    return data_set


def _sequence(references: Iterable[Reference], *, with_reason: bool) -> DicomSequence:
    items = []
    for each in references:
        item = Dataset()
        item.add(_element(_SOP_CLASS, each.sop_class_uid))
        item.add(_element(_SOP_INSTANCE, each.sop_instance_uid))
        if with_reason:
            item.FailureReason = each.reason
        items.append(item)
    return DicomSequence(items)


def _element(tag: int, uid: str) -> DataElement:
    """Return a UID as it came; the library's own check quotes what it complains about."""
    return DataElement(tag, "UI", uid, validation_mode=config.IGNORE)


_Items = list[dict[int, "bytes | _Items"]]
_Values = dict[int, bytes | _Items]


class _Reader:
    """Walks over the elements; of those that it does not know it keeps nothing."""

    def __init__(self, data: bytes, *, explicit: bool) -> None:
        self._data = data
        self._explicit = explicit
        self.position = 0
        self._items = 0

    def data_set(self, end: int, depth: int, *, delimited: bool = False) -> _Values:
        """Read elements up to ``end``, or to the delimiter of an item of undefined length."""
        if depth > _DEEPEST:
            raise ValueError("sequences are nested too deep")
        found: _Values = {}
        previous = -1
        while self.position < end:
            tag, vr, length = self._header(end)
            if delimited and tag == _ITEM_END:
                if length:
                    raise ValueError("a delimiter has a length")
                return found
            if tag <= previous or tag >> 16 == 0xFFFE:
                raise ValueError("the elements are not in ascending order")
            previous = tag
            is_known = tag in (_REFERENCED, _FAILED)
            if is_known or length == _UNDEFINED:
                if vr not in _SEQUENCE_VRS:
                    raise ValueError("an element has no length, or a sequence is none")
                items = self._sequence_of(vr, length, end, depth, keep=is_known and depth == 0)
                if is_known:
                    found[tag] = items
            else:
                value = self._take(length, end)
                if tag in (_SOP_CLASS, _SOP_INSTANCE, _TRANSACTION, _FAILURE_REASON):
                    found[tag] = value[: _LONGEST_UID + 1]
        if delimited:
            raise ValueError("an item does not end")
        return found

    def _sequence_of(self, vr: bytes, length: int, end: int, depth: int, *, keep: bool) -> _Items:
        """Read a sequence; one of unknown representation is implicit inside (PS3.5 6.2.2)."""
        explicit, self._explicit = self._explicit, self._explicit and vr != b"UN"
        try:
            return self._sequence(length, end, depth, keep=keep)
        finally:
            self._explicit = explicit

    def _sequence(self, length: int, end: int, depth: int, *, keep: bool) -> _Items:
        limit = end if length == _UNDEFINED else self.position + length
        if limit > end:
            raise ValueError("a sequence is longer than what holds it")
        items: _Items = []
        while self.position < limit:
            tag, _, size = self._header(limit)
            if tag == _SEQUENCE_END and length == _UNDEFINED and size == 0:
                return items
            if tag != _ITEM:
                raise ValueError("a sequence holds something else than items")
            item_end = limit if size == _UNDEFINED else self.position + size
            if item_end > limit:
                raise ValueError("an item is longer than its sequence")
            item = self.data_set(item_end, depth + 1, delimited=size == _UNDEFINED)
            if keep:
                self._items += 1
                if self._items > MAXIMUM_REFERENCES:
                    raise TooManyReferences(f"more than {MAXIMUM_REFERENCES} instances are named")
                items.append(item)
        if length == _UNDEFINED:
            raise ValueError("a sequence does not end")
        return items

    def _header(self, end: int) -> tuple[int, bytes, int]:
        """Read tag, value representation (empty where there is none) and length."""
        head = self._take(8, end)
        group, element, length = struct.unpack("<HHL", head)
        tag = group << 16 | element
        if not self._explicit or group == 0xFFFE:
            return tag, b"", length
        vr = head[4:6]
        if not (vr.isalpha() and vr.isupper()):
            raise ValueError("an element has no value representation")
        if vr in _LONG_VRS:
            return tag, vr, int.from_bytes(self._take(4, end), "little")
        return tag, vr, int.from_bytes(head[6:8], "little")

    def _take(self, size: int, end: int) -> bytes:
        start = self.position
        if size > end - start:
            raise ValueError("the data set ends inside an element")
        self.position = start + size
        return self._data[start : self.position]


def _references(items: bytes | _Items | None, *, needs_reason: bool) -> tuple[Reference, ...]:
    """Return what a sequence names, each pair of UIDs once, in order."""
    if not isinstance(items, list):
        return ()
    found: dict[tuple[str, str], Reference] = {}
    for item in items:
        reason = _number(item, _FAILURE_REASON) if needs_reason else 0
        each = Reference(_uid(item, _SOP_CLASS), _uid(item, _SOP_INSTANCE), reason)
        found.setdefault((each.sop_class_uid, each.sop_instance_uid), each)
    return tuple(found.values())


def _uid(values: _Values, tag: int) -> str:
    value = values.get(tag, b"")
    text = value.decode("latin-1").rstrip("\0 ") if isinstance(value, bytes) else ""
    if not is_uid(text):
        raise ValueError("a UID is missing or malformed")
    return text


def _number(values: _Values, tag: int) -> int:
    value = values.get(tag, b"")
    if not isinstance(value, bytes) or len(value) != 2:
        raise ValueError("a failure reason is missing or malformed")
    return int.from_bytes(value, "little")

"""Old files whose preamble or File Meta Information is missing or not whole (PS3.10 7.1).

Archives of the nineties hold bare data sets, files without (0002,0000) and files whose File Meta
Information lacks a UID. What it does not say is taken from the data set, which stays as it is, byte
for byte, and only where there is no doubt:

- SOP class and instance stand in the data set, too ((0008,0016), (0008,0018));
- of the three transfer syntaxes that are not compressed, exactly one reads the beginning of the
  data set as elements with both UIDs. That pixel data are not compressed either, whoever takes the
  object in must see to (``Begun.guessed``): the data set does not say in which syntax they would
  be.

A private syntax that differs from Implicit VR Little Endian in its pixels alone cannot be told from
it; systems that used one named it in File Meta Information.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dicom_node.file_meta import (
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    is_uid,
    leading_uids,
)
from dicom_node.file_meta_reader import FileMeta, FileMetaReader, leading_elements

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

_PLAIN = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
_LOOKED_AT = 256 * 1024  # File Meta Information, and the data set as far as its UIDs
_PREFIX, _PREAMBLE_BYTES = b"DICM", 128
_LAST_BEFORE_UIDS = 0x18
_UNKNOWN_SIZE = 2**62
_DOUBT = (
    "its file meta information is not whole, and its data set does not tell SOP class, instance "
    "and transfer syntax beyond doubt"
)


class NotReadable(Exception):
    """The bytes are no object that can be told; ``is_dicom`` is False where they are no DICOM."""

    def __init__(self, reason: str, *, is_dicom: bool) -> None:
        super().__init__(reason)
        self.is_dicom = is_dicom


@dataclass(frozen=True)
class Begun:
    """What a file says of its data set, and the first bytes of it.

    Attributes:
        meta: UIDs, as they stand in File Meta Information or in the data set.
        rest: the beginning of the data set.
        completed: whether something was missing of preamble or File Meta Information.
        guessed: whether the transfer syntax was; then nothing compressed may follow.
    """

    meta: FileMeta
    rest: bytes = field(repr=False)
    completed: bool = False
    guessed: bool = False


class TolerantReader:
    """Collects bytes of a file until it is known what its data set is."""

    def __init__(self) -> None:
        self._strict = FileMetaReader()
        self._data = bytearray()
        self._fault = ""

    def feed(self, data: bytes) -> Begun | None:
        """Take bytes; return what they begin, None before that can be told.

        Raises:
            NotReadable: it cannot be told, whatever follows.
        """
        self._data += data
        if not self._fault:
            try:
                found = self._strict.feed(data)
            except ValueError as error:
                self._fault = str(error)
            else:
                if found is None:
                    return None
                if not found[1].startswith(b"\x02\x00"):
                    return Begun(*found)
                self._fault = "the length of the file meta information is wrong"
        if _kind(self._data) is None:
            raise NotReadable(self._fault, is_dicom=False)
        return self._tell(whole=False) if len(self._data) >= _LOOKED_AT else None

    def end(self) -> Begun:
        """Return what the bytes begin: there are no more.

        Raises:
            NotReadable: it cannot be told.
        """
        if _kind(self._data) is None:
            raise NotReadable(self._fault or "it is no DICOM file", is_dicom=False)
        return self._tell(whole=True)

    def _tell(self, *, whole: bool) -> Begun:
        start = _kind(self._data) or 0
        try:
            said, position = leading_elements(self._data, start)
        except ValueError as error:
            raise NotReadable(str(error), is_dicom=True) from None
        rest = bytes(self._data[position:])
        if said.sop_class_uid and said.sop_instance_uid and said.transfer_syntax_uid:
            return Begun(said, rest, completed=True)  # whether it is true is judged as of any file
        size = len(rest) if whole else _UNKNOWN_SIZE
        syntaxes = [said.transfer_syntax_uid] if said.transfer_syntax_uid else _PLAIN
        readings = {each: uids for each in syntaxes if (uids := _uids(rest, each, size, said))}
        if len(readings) != 1:
            raise NotReadable(_DOUBT, is_dicom=True)
        ((syntax, (sop_class, instance)),) = readings.items()
        guessed = not said.transfer_syntax_uid
        return Begun(FileMeta(sop_class, instance, syntax), rest, completed=True, guessed=guessed)


def _kind(data: bytearray) -> int | None:
    """Return where File Meta Information or data set begins; None: these bytes are no DICOM."""
    if data[_PREAMBLE_BYTES:].startswith(_PREFIX):
        return _PREAMBLE_BYTES + len(_PREFIX)
    if len(data) < 8:
        return None
    if data[:2] == b"\x02\x00" and data[3] == 0:
        return 0
    orders = {b"\x08\x00": "little", b"\x00\x08": "big"}
    order = orders.get(bytes(data[:2]))
    number = int.from_bytes(data[2:4], "big" if order == "big" else "little")
    return 0 if order and number <= _LAST_BEFORE_UIDS else None


def _uids(rest: bytes, syntax: str, size: int, said: FileMeta) -> tuple[str, str] | None:
    """Return SOP class and instance; None where this cannot be the transfer syntax."""
    try:
        stated = leading_uids(rest, syntax, size)
    except ValueError:
        return None
    named = (said.sop_class_uid, said.sop_instance_uid)
    if stated is None or not all(is_uid(each) for each in stated):
        return None
    return stated if all(n in ("", s) for n, s in zip(named, stated, strict=True)) else None

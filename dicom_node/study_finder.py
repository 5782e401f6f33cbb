"""Short elements of a data set that streams by, found by tags and lengths alone.

A request for one study must hold no object of another (PS3.18 10.5.1), and an import may be of
some studies only. What is looked for lies anywhere, behind sequences of any length, so what comes
before it is skipped over without being held.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from enum import Enum, auto

from dicom_node.file_meta import DEFLATED, EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

STUDY_INSTANCE_UID = 0x0020000D
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_STANDARD = "1.2.840.10008."
_LONGEST_VALUE = 64
_MOST_ELEMENTS = 100_000
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)


class _State(Enum):
    HEADER = auto()
    SKIPPING = auto()
    VALUE = auto()
    DONE = auto()


class ElementFinder:
    """Walks over a data set piece by piece, as far as the last element that is wanted.

    Args:
        transfer_syntax_uid: how the data set is encoded; of one that is deflated or private
            nothing is found.
        wanted: tags of the data set itself.

    Attributes:
        values: by tag, without padding, of those that were met with 1 to 64 bytes.
        undefined: those of them that were met with an undefined length.
    """

    def __init__(self, transfer_syntax_uid: str, wanted: Collection[int]) -> None:
        self.values: dict[int, str] = {}
        self.undefined: set[int] = set()
        self._sought = frozenset(wanted)
        self._until = max(wanted)
        self._tag_of_value = 0
        hidden = transfer_syntax_uid in DEFLATED or not transfer_syntax_uid.startswith(_STANDARD)
        self._state = _State.DONE if hidden else _State.HEADER
        self._order = ">" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "<"
        self._implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
        self._open = 0  # sequences and items of undefined length around us
        self._implicit_at = 0  # how many were open where one of VR UN began; 0: none
        self._held = bytearray()
        self._skip = 0
        self._wanted = 0
        self._last = -1  # tag of the data set itself that was met last
        self._met = 0  # elements

    @property
    def done(self) -> bool:
        """Whether nothing more will be found."""
        return self._state is _State.DONE

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the data set."""
        view = memoryview(data)
        while view and self._state is not _State.DONE:
            if self._state is _State.SKIPPING:
                taken = min(self._skip, len(view))
                self._skip -= taken
                view = view[taken:]
                if not self._skip:
                    self._state = _State.HEADER
                continue
            needed = self._needed() - len(self._held)
            self._held += view[:needed]
            view = view[needed:]
            if len(self._held) == self._needed():
                self._step()

    def _needed(self) -> int:
        """How many bytes the header or the value needs, as far as that is known."""
        if self._state is _State.VALUE:
            return self._wanted
        if len(self._held) < 8:
            return 8
        return 12 if self._has_long_header() else 8

    def _has_long_header(self) -> bool:
        if self._is_implicit or self._tag() >> 16 == 0xFFFE:
            return False
        return bytes(self._held[4:6]) in _LONG_VRS

    @property
    def _is_implicit(self) -> bool:
        # What is inside an element of VR UN is Implicit VR Little Endian (PS3.5 6.2.2).
        return self._implicit or self._implicit_at > 0

    def _tag(self) -> int:
        group, element = struct.unpack_from(self._order_now() + "HH", self._held)
        return int(group) << 16 | int(element)

    def _order_now(self) -> str:
        return "<" if self._implicit_at else self._order

    def _step(self) -> None:
        if self._state is _State.VALUE:
            self.values[self._tag_of_value] = self._held.decode("latin-1").rstrip("\0 ")
            self._held.clear()
            last = self._tag_of_value >= self._until
            self._state = _State.DONE if last else _State.HEADER
            return
        tag, length = self._tag(), self._length()
        self._met += 1
        if self._met > _MOST_ELEMENTS or (not self._open and tag <= self._last):
            self._state = _State.DONE  # no data set is like this (PS3.5 7.1)
            return
        if not self._open:
            self._last = tag
        vr = b"" if self._is_implicit else bytes(self._held[4:6])
        self._held.clear()
        if tag in (_ITEM_END, _SEQUENCE_END):
            self._close()
        elif not self._open and tag in self._sought and 0 < length <= _LONGEST_VALUE:
            self._tag_of_value, self._wanted, self._state = tag, length, _State.VALUE
        elif not self._open and tag >= self._until:
            self._note_length(tag, length)
            self._state = _State.DONE
        elif length == _UNDEFINED:
            self._open += 1
            if vr == b"UN" and not self._implicit_at:
                self._implicit_at = self._open
        elif length:
            self._skip, self._state = length, _State.SKIPPING

    def _note_length(self, tag: int, length: int) -> None:
        if tag in self._sought and length == _UNDEFINED:
            self.undefined.add(tag)

    def _close(self) -> None:
        """Leave an item or a sequence."""
        if not self._open:
            self._state = _State.DONE  # no data set ends what it did not begin
            return
        if self._open == self._implicit_at:
            self._implicit_at = 0
        self._open -= 1

    def _length(self) -> int:
        order = self._order_now()
        if len(self._held) == 12:
            return int(struct.unpack_from(order + "L", self._held, 8)[0])
        if self._is_implicit or self._tag() >> 16 == 0xFFFE:
            return int(struct.unpack_from(order + "L", self._held, 4)[0])
        return int(struct.unpack_from(order + "H", self._held, 6)[0])


class StudyFinder(ElementFinder):
    """Finds the Study Instance UID; see :class:`ElementFinder`."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        super().__init__(transfer_syntax_uid, (STUDY_INSTANCE_UID,))

    @property
    def found(self) -> str:
        """The Study Instance UID, empty where there is none."""
        return self.values.get(STUDY_INSTANCE_UID, "")

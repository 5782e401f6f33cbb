"""The framing of MLLP (HL7 v2 Transport Specification, Release 1) as a machine without a socket.

A frame is VT, content, FS CR. The two end bytes are not escaped by the protocol, so content that
holds them itself looks like a short frame followed by something else. Taking the short frame would
acknowledge half a report. Therefore FS CR ends a frame only when a new frame, the end of the
connection or silence follows it; any other byte refuses the whole stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

START = b"\x0b"
END = b"\x1c\r"
_FILLER = b"\r\n"
_MAXIMUM_NOISE = 4096


def frame(content: bytes) -> bytes:
    """Wrap one message for the wire."""
    return START + content + END


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole message as it lay between VT and FS CR."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Noise:
    """Bytes before the first VT; they were skipped, the stream goes on."""

    count: int


class Fault(Enum):
    """Why a stream is refused; the value is the sentence that the sender gets."""

    EMBEDDED_END = "bytes other than VT follow FS CR: the message holds its own end mark"
    EMBEDDED_START = "VT inside a message: the message before it was never ended"
    TOO_LONG = "the message is longer than this node accepts"
    TOO_MUCH_NOISE = "no VT begins a message"
    TRUNCATED = "the connection ended inside a message"
    TOO_SLOW = "the message did not end within the time allowed"


@dataclass(frozen=True, slots=True)
class Refused:
    """The stream cannot be trusted any more; ``content`` is what had arrived of the message."""

    fault: Fault
    content: bytes


Event = Frame | Noise | Refused


class _State(Enum):
    BEFORE = "no frame yet"
    INSIDE = "after VT"
    ENDED = "after FS CR, and nothing follows yet"
    BETWEEN = "after a frame that was handed out"
    CLOSED = "refused or at its end"


class FrameReader:
    """Turns the bytes of one connection into events, in linear time.

    Args:
        maximum_bytes: the longest message; a longer one refuses the stream.
    """

    def __init__(self, maximum_bytes: int) -> None:
        self._maximum = maximum_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._noise = 0
        self._state = _State.BEFORE

    @property
    def begun(self) -> bool:
        """Whether a message has begun and was not handed out: its deadline runs."""
        return self._state in (_State.INSIDE, _State.ENDED) or self._noise > 0

    @property
    def undecided(self) -> bool:
        """Whether FS CR arrived and what follows will tell if it ended the message."""
        return self._state is _State.ENDED

    @property
    def closed(self) -> bool:
        """Whether the stream was refused or has ended."""
        return self._state is _State.CLOSED

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes; return what they complete."""
        if self.closed:
            return []
        self._buffer += data
        events: list[Event] = []
        while self._buffer and not self.closed:
            event, goes_on = self._step()
            if event is not None:
                events.append(event)
            if not goes_on:
                break
        return events

    def settle(self) -> list[Event]:
        """Silence followed: an undecided frame is whole."""
        return [self._hand_out()] if self._state is _State.ENDED else []

    def close(self) -> list[Event]:
        """The peer ended its stream: hand out a whole frame, refuse a truncated one."""
        events = self.settle()
        if self._state is _State.INSIDE:
            events = [self.refuse(Fault.TRUNCATED)]
        elif self._state is _State.BEFORE and self._noise:
            events = [Noise(self._noise)]
        self._state = _State.CLOSED
        return events

    def refuse(self, fault: Fault) -> Refused:
        """Refuse the stream; what had arrived of the message goes with the event."""
        content = bytes(self._buffer)
        self._buffer.clear()
        self._state = _State.CLOSED
        return Refused(fault, content)

    def _step(self) -> tuple[Event | None, bool]:
        if self._state is _State.BEFORE:
            return self._skip_noise()
        if self._state is _State.INSIDE:
            return self._search_end()
        return self._after_end()

    def _skip_noise(self) -> tuple[Event | None, bool]:
        at = self._buffer.find(START)
        skipped = len(self._buffer) if at < 0 else at
        self._noise += sum(byte not in _FILLER for byte in self._buffer[:skipped])
        if self._noise > _MAXIMUM_NOISE:
            return self.refuse(Fault.TOO_MUCH_NOISE), False
        del self._buffer[: skipped + 1]
        if at < 0:
            return None, False
        noise, self._noise = self._noise, 0
        self._begin()
        return (Noise(noise) if noise else None), True

    def _begin(self) -> None:
        self._state, self._searched = _State.INSIDE, 0

    def _search_end(self) -> tuple[Event | None, bool]:
        end = self._buffer.find(END, max(0, self._searched - 1))
        limit = len(self._buffer) if end < 0 else end
        if self._buffer.find(START, self._searched, limit) >= 0:
            return self.refuse(Fault.EMBEDDED_START), False
        # A final FS may be the first half of the end mark, so it does not count yet.
        if limit - (end < 0 and self._buffer.endswith(END[:1])) > self._maximum:
            return self.refuse(Fault.TOO_LONG), False
        self._searched = limit
        if end < 0:
            return None, False
        self._state = _State.ENDED
        return None, len(self._buffer) > end + len(END)

    def _after_end(self) -> tuple[Event | None, bool]:
        """Decide by the bytes after FS CR; a few line ends between frames are tolerated."""
        begin = self._searched + len(END) if self._state is _State.ENDED else 0
        at = begin
        while at < len(self._buffer) and self._buffer[at] in _FILLER:
            at += 1
        if at - begin > _MAXIMUM_NOISE:
            return self.refuse(Fault.TOO_MUCH_NOISE), False
        if at == len(self._buffer):
            if self._state is _State.BETWEEN:
                self._buffer.clear()
            return None, False
        if self._buffer[at] != START[0]:
            return self.refuse(Fault.EMBEDDED_END), False
        event = self._hand_out() if self._state is _State.ENDED else None
        del self._buffer[: at - begin + 1]
        self._begin()
        return event, True

    def _hand_out(self) -> Frame:
        content = bytes(self._buffer[: self._searched])
        del self._buffer[: self._searched + len(END)]
        self._state = _State.BETWEEN
        return Frame(content)

"""The framing of MLLP (HL7 v2 Transport Specification, Release 1) as a machine without a socket.

A frame is VT, content, FS CR. The two end bytes are not escaped by the protocol, so content that
holds them itself looks like a short frame followed by something else. FS CR therefore ends a frame
only where nothing stands behind it yet or a VT does, after line ends at most; there is no waiting.
Where other bytes follow, the stream is refused. If they follow only after the frame was handed out,
the refusal says so, because that frame may be the first part of a longer message.
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
    NO_MEMORY = "too many long messages are under way at a time; send it again"


@dataclass(frozen=True, slots=True)
class Refused:
    """The stream cannot be trusted any more.

    Args:
        fault: why.
        content: what had arrived and was not handed out.
        after_frame: the frame handed out last may have been cut short by its own end mark.
    """

    fault: Fault
    content: bytes
    after_frame: bool = False


Event = Frame | Noise | Refused


class _State(Enum):
    BEFORE = "no frame yet"
    INSIDE = "after VT"
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
        return self._state is _State.INSIDE or (self._state is _State.BEFORE and self._noise > 0)

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not handed out."""
        return len(self._buffer)

    @property
    def closed(self) -> bool:
        """Whether the stream was refused or has ended."""
        return self._state is _State.CLOSED

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes; return what they complete."""
        if self.closed:
            return []
        if not self._buffer and self._state is not _State.INSIDE and self._is_one_frame(data):
            self._state, self._noise = _State.BETWEEN, 0
            return [Frame(data[1:-2])]
        self._buffer += data
        events: list[Event] = []
        position = 0
        while position < len(self._buffer) and not self.closed:
            position, event, goes_on = self._step(position)
            if event is not None:
                events.append(event)
            if not goes_on:
                break
        # Once for all frames that came together: cutting each off alone would take squared time.
        if position:
            del self._buffer[:position]
            self._searched = max(0, self._searched - position)
        return events

    def close(self) -> list[Event]:
        """The peer ended its stream: refuse a truncated message."""
        events: list[Event] = []
        if self._state is _State.INSIDE:
            events = [self.refuse(Fault.TRUNCATED)]
        elif self._state is _State.BEFORE and self._noise:
            events = [Noise(self._noise)]
        self._state = _State.CLOSED
        return events

    def refuse(self, fault: Fault) -> Refused:
        """Refuse the stream; what had arrived of the message goes with the event."""
        return self._refuse(fault, 0)

    def _refuse(self, fault: Fault, position: int, *, after_frame: bool = False) -> Refused:
        content = bytes(memoryview(self._buffer)[position:])
        self._buffer.clear()
        self._searched = 0
        self._state = _State.CLOSED
        return Refused(fault, content, after_frame)

    def _is_one_frame(self, data: bytes) -> bool:
        """Tell whether the bytes are exactly one frame, by far the most frequent case."""
        return (
            len(data) - 3 <= self._maximum
            and data.startswith(START)
            and data.endswith(END)
            and self._noise == 0
            and data.find(END[:1]) == len(data) - 2
            and data.find(START, 1) < 0
        )

    def _step(self, position: int) -> tuple[int, Event | None, bool]:
        if self._state is _State.BEFORE:
            return self._skip_noise(position)
        if self._state is _State.INSIDE:
            return self._search_end(position)
        return self._after_frame(position)

    def _skip_noise(self, position: int) -> tuple[int, Event | None, bool]:
        at = self._buffer.find(START, position)
        skipped = self._buffer[position:] if at < 0 else self._buffer[position:at]
        self._noise += len(skipped.translate(None, _FILLER))
        if self._noise > _MAXIMUM_NOISE:
            return 0, self._refuse(Fault.TOO_MUCH_NOISE, position), False
        if at < 0:
            return len(self._buffer), None, False
        noise, self._noise = self._noise, 0
        self._begin(at + 1)
        return at + 1, (Noise(noise) if noise else None), True

    def _begin(self, position: int) -> None:
        self._state, self._searched = _State.INSIDE, position

    def _search_end(self, position: int) -> tuple[int, Event | None, bool]:
        """Find the end of the message that begins at ``position``."""
        end = self._buffer.find(END, max(position, self._searched - 1))
        limit = len(self._buffer) if end < 0 else end
        if self._buffer.find(START, self._searched, limit) >= 0:
            return 0, self._refuse(Fault.EMBEDDED_START, position), False
        # A final FS may be the first half of the end mark, so it does not count yet.
        if limit - position - (end < 0 and self._buffer.endswith(END[:1])) > self._maximum:
            return 0, self._refuse(Fault.TOO_LONG, position), False
        self._searched = limit
        if end < 0:
            return position, None, False
        return self._hand_out(position, end)

    def _hand_out(self, position: int, end: int) -> tuple[int, Event | None, bool]:
        after = end + len(END)
        at = self._past_filler(after)
        if at < len(self._buffer) and self._buffer[at] != START[0]:
            return 0, self._refuse(Fault.EMBEDDED_END, position), False
        self._state = _State.BETWEEN
        content = bytes(memoryview(self._buffer)[position:end])
        return after, Frame(content), True

    def _after_frame(self, position: int) -> tuple[int, Event | None, bool]:
        """A VT begins the next message; a few line ends between frames are tolerated."""
        at = self._past_filler(position)
        self._noise += at - position
        if self._noise > _MAXIMUM_NOISE:
            return 0, self._refuse(Fault.TOO_MUCH_NOISE, position), False
        if at == len(self._buffer):
            return at, None, False
        if self._buffer[at] != START[0]:
            return 0, self._refuse(Fault.EMBEDDED_END, at, after_frame=True), False
        self._noise = 0
        self._begin(at + 1)
        return at + 1, None, True

    def _past_filler(self, position: int) -> int:
        while position < len(self._buffer) and self._buffer[position] in _FILLER:
            position += 1
        return position

"""One connection of the MLLP listener: bytes in, frames to its owner, answers out, its clocks."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Protocol

from dicom_node.mllp.framing import Event, Fault, Frame, FrameReader, Noise
from dicom_node.mllp.received import Received
from dicom_node.tls import fingerprint

_MOST_UNANSWERED = 512
_MOST_UNANSWERED_BYTES = 8 * 1024**2


class Owner(Protocol):
    """What a conversation needs of the listener."""

    def opened(self, conversation: Conversation) -> None:
        """The connection stands, its TLS handshake included."""

    def event(self, conversation: Conversation, event: Event) -> None:
        """Something arrived whole, or the stream is refused."""

    def left(self, conversation: Conversation) -> None:
        """The connection has ended."""

    @property
    def overloaded(self) -> bool:
        """Whether more waits to be stored than memory should hold."""


class Conversation(asyncio.Protocol):
    """A peer that sends messages and gets one acknowledgement or more for each, in order.

    Attributes:
        address: of the peer.
        certificate: SHA-256 of its verified certificate in hexadecimal; empty without TLS.
        checking: a large message is being checked elsewhere; what came after it waits.
        last: what was handed over last.
    """

    def __init__(self, owner: Owner, address: str, maximum_bytes: int, now: float) -> None:
        self.address = address
        self.certificate = ""
        self.checking = False
        self.last: Received | None = None
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader(maximum_bytes)
        self._transport: asyncio.Transport | None = None
        self._events: deque[Event] = deque()
        self._answers: list[bytes] = []
        self._unanswered = self._unanswered_bytes = 0
        self._active_at = now
        self._begun_at: float | None = None
        self._unread_since: float | None = None
        self._refused_at: float | None = None
        self._ended = self._paused = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = transport  # type: ignore[assignment]
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if secured is not None:
            self.certificate = fingerprint(secured.getpeercert(binary_form=True) or b"")
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        frames = self._frames
        if frames.closed:
            return  # refused: read on, so that closing does not reset the answer away
        now = self._active_at = self._loop.time()
        events = frames.feed(data)
        if not frames.begun:
            self._begun_at = None
        elif self._begun_at is None or any(isinstance(event, Frame) for event in events):
            self._begun_at = now
        self._take(events)

    def eof_received(self) -> bool:
        """The peer sends no more, but may wait for answers."""
        self._ended = True
        self._take(self._frames.close())
        self._close_when_done()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what had arrived whole is stored all the same."""
        self._transport = None
        self._take(self._frames.close())
        self._owner.left(self)

    def pause_writing(self) -> None:
        """The peer does not take its answers."""
        self._unread_since = self._loop.time()
        self._pause()

    def resume_writing(self) -> None:
        """The peer has taken its answers."""
        self._unread_since = None
        self._resume()

    # What the owner calls.

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return self._transport is not None

    @property
    def buffered(self) -> int:
        """Bytes of a message that has not ended."""
        return self._frames.buffered

    def idle_since(self) -> float | None:
        """Return when the peer was last heard of; None while something of it is under way."""
        busy = self._unanswered or self._events or self._frames.begun or self._refused_at
        return None if busy or self._transport is None else self._active_at

    def handed_over(self, received: Received) -> None:
        """Count what will be answered; stop reading where that is too much."""
        self.last = received
        self._unanswered += 1
        self._unanswered_bytes += received.size
        if (
            self._unanswered > _MOST_UNANSWERED
            or self._unanswered_bytes > _MOST_UNANSWERED_BYTES
            or self._owner.overloaded
        ):
            self._pause()

    def checked(self) -> None:
        """The large message was checked and handed over: go on with what came after it."""
        self.checking = False
        self._take([])
        self._close_when_done()

    def answer(self, received: Received, answers: bytes) -> None:
        """Keep an answer until :meth:`flush`."""
        self._unanswered -= 1
        self._unanswered_bytes -= received.size
        if answers:
            self._answers.append(answers)

    def flush(self) -> None:
        """Send the answers that were kept."""
        transport = self._transport
        if transport is None or transport.is_closing():
            self._answers.clear()
            return
        if self._answers:
            transport.write(b"".join(self._answers))
            self._answers.clear()
        if self._refused_at is not None and not self._unanswered and transport.can_write_eof():
            transport.write_eof()
        if not self._unanswered:
            self._resume()
            self._close_when_done()

    def refuse(self, fault: Fault) -> None:
        """Refuse the stream."""
        if not self._frames.closed:
            self._take([self._frames.refuse(fault)])

    def is_refused(self) -> None:
        """Nothing more is read for good; the peer gets a moment to take its answer."""
        self._refused_at = self._loop.time()
        self._begun_at = None

    def close(self) -> None:
        """Close; what was written is still sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def stop_reading(self) -> None:
        """Take no more from the peer."""
        self._pause()

    def attend(self, now: float, frame_seconds: float, idle_seconds: float, linger: float) -> None:
        """End what takes too long."""
        if self._begun_at is not None and now - self._begun_at > frame_seconds:
            self._begun_at = None
            self.refuse(Fault.TOO_SLOW)
        elif self._unread_since is not None and now - self._unread_since > frame_seconds:
            self.abort()
        elif self._refused_at is not None and now - self._refused_at > linger:
            if not self._unanswered:
                self.close()
        elif (since := self.idle_since()) is not None and now - since > idle_seconds:
            self.close()

    def _take(self, events: list[Event]) -> None:
        waiting = self._events
        waiting.extend(events)
        while waiting and not self.checking:
            event = waiting.popleft()
            if not isinstance(event, Noise):
                self._owner.event(self, event)

    def _close_when_done(self) -> None:
        if self._ended and not (self._unanswered or self._events or self.checking):
            self.close()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if (
            self._paused
            and self._unread_since is None
            and self._transport is not None
            and not self._transport.is_closing()
        ):
            self._paused = False
            self._transport.resume_reading()

"""One accepted connection: non-blocking bytes in and out, with or without TLS, and its clocks.

A connection knows nothing of DICOM. Its owner tells it what the peer has achieved, and
:meth:`Connection.late` says when the peer has taken more time than it may.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True)
class Deadlines:
    """How long a peer may take, in seconds, and how fast it must be.

    Attributes:
        first_pdu: from the connection to the end of the association request, TLS included.
        pdu: from the first byte of a PDU to its last.
        idle: between two messages of an established association.
        unread: how long our answer may wait for the peer to take it.
        linger: how long the peer may take to close after the association has ended.
        window: over which a message in progress must reach ``minimum_bytes_per_second``.
        unread_bytes: of answers; who asks for more without taking them is cut off at once.
    """

    first_pdu: float = 10.0
    pdu: float = 10.0
    idle: float = 60.0
    unread: float = 60.0
    linger: float = 1.0
    window: float = 30.0
    minimum_bytes_per_second: int = 1024
    unread_bytes: int = 1024**2


class Connection:
    """A non-blocking socket with what is still to be written, and the times that count.

    Args:
        stream: the accepted socket; one with TLS is wrapped but has not shaken hands.
        address: the peer's IP address.
        deadlines: what the peer is held to.
        now: monotonic seconds.
    """

    def __init__(
        self, stream: socket.socket, address: str, deadlines: Deadlines, now: float
    ) -> None:
        self.stream = stream
        self.address = address
        self.descriptor = stream.fileno()
        self.shaking_hands = isinstance(stream, ssl.SSLSocket)
        self.established = False
        self.paused = False
        self._deadlines = deadlines
        self._unsent = bytearray()
        self._opened = self._touched = self._unsent_since = now
        self._pdu = 0
        self._pdu_began = now
        self._closing_since: float | None = None
        self._window_began: float | None = None
        self._window_bytes = 0

    @property
    def certificate(self) -> bytes:
        """The peer's verified certificate (DER); empty without TLS."""
        if isinstance(self.stream, ssl.SSLSocket):
            return self.stream.getpeercert(binary_form=True) or b""
        return b""

    @property
    def closing(self) -> bool:
        """Whether the association has ended and the peer's close is awaited."""
        return self._closing_since is not None

    @property
    def wants_to_write(self) -> bool:
        """Whether the peer has not taken all that it was sent."""
        return bool(self._unsent)

    def shake_hands(self) -> None:
        """Go on with the TLS handshake as far as the peer's bytes allow.

        Raises:
            OSError: the peer is not who it must be, or does not speak TLS as it must.
        """
        if isinstance(self.stream, ssl.SSLSocket):
            try:
                self.stream.do_handshake()
            except _WOULD_BLOCK:
                return
        self.shaking_hands = False

    def read_into(self, buffer: memoryview) -> int | None:
        """Read what is there; return the number of bytes, 0 at the end, None where nothing is.

        Raises:
            OSError: the connection is broken.
        """
        done = 0
        while done < len(buffer):
            try:
                count = self.stream.recv_into(buffer[done:])
            except _WOULD_BLOCK:
                return done or None
            except ssl.SSLError:
                # After a broken record nothing more can be read; what came before it counts.
                return done
            done += count
            # Only TLS hands out its bytes by the record and keeps the rest to itself.
            if not count or not isinstance(self.stream, ssl.SSLSocket):
                return done
        return done

    def has_more(self) -> bool:
        """Tell whether bytes wait inside the TLS layer, where no poll can see them."""
        return isinstance(self.stream, ssl.SSLSocket) and self.stream.pending() > 0

    def write(self, data: bytes, now: float) -> None:
        """Send what the peer takes now and keep the rest for :meth:`flush`.

        Raises:
            OSError: the connection is broken.
        """
        if not self._unsent:
            self._unsent_since = now
        self._unsent += data
        self.flush(now)

    def flush(self, now: float) -> None:
        """Send more of what is kept.

        Raises:
            OSError: the connection is broken.
        """
        while self._unsent:
            try:
                sent = self.stream.send(self._unsent)
            except _WOULD_BLOCK:
                return
            del self._unsent[:sent]
            self._unsent_since = now

    def end(self, now: float) -> None:
        """Say that nothing more will be sent and wait for the peer to close."""
        if self._closing_since is None:
            self._closing_since = now

    def progress(self, count: int, *, pdu: int, inside_message: bool, now: float) -> None:
        """Note that ``count`` bytes came and where they left the peer.

        Args:
            count: how many bytes.
            pdu: the number of the PDU that has begun and not ended, 0 for none.
            inside_message: whether a message has begun and not ended.
            now: monotonic seconds.
        """
        self._touched = now
        # Each PDU has its own time. Those of a long message follow each other without a gap.
        if pdu != self._pdu:
            self._pdu, self._pdu_began = pdu, now
        if not inside_message:
            self._window_began = None
            return
        if self._window_began is None:
            self._window_began, self._window_bytes = now, 0
        self._window_bytes += count

    def late(self, now: float) -> str:
        """Return why the peer must be cut off now, or an empty string."""
        limits = self._deadlines
        if self._closing_since is not None:
            return "does not close" if now > self._closing_since + limits.linger else ""
        if not self.established:
            return "no association request in time" if now > self._opened + limits.first_pdu else ""
        slow_reader = self._unsent and now > self._unsent_since + limits.unread
        if slow_reader or len(self._unsent) > limits.unread_bytes:
            return "does not read its answers"
        if self.paused:
            return ""
        if self._pdu and now > self._pdu_began + limits.pdu:
            return "a PDU was not whole in time"
        if self._window_began is not None:
            return "a message is too slow" if self._too_slow(self._window_began, now) else ""
        return "silent for too long" if now > self._touched + limits.idle else ""

    def resumed(self, now: float) -> None:
        """Start the peer's clocks anew after it was kept waiting."""
        self._touched = self._pdu_began = now

    def close(self) -> None:
        """Close the socket."""
        self.stream.close()

    def _too_slow(self, began: float, now: float) -> bool:
        seconds = now - began
        if seconds < self._deadlines.window:
            return False
        slow = self._window_bytes < seconds * self._deadlines.minimum_bytes_per_second
        self._window_began, self._window_bytes = now, 0
        return slow

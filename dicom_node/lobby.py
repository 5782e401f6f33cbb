"""Where connections wait for their first PDU: one epoll set, no thread for each.

Several processes watch the same listening socket. A connection leaves the lobby when the beginning
of a plausible A-ASSOCIATE-RQ is readable; whoever sends nothing, too slowly or something else is
closed. However many silent peers there are, those that speak are served at once.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import termios
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dicom_node.pdu_socket import (
    A_ABORT,
    ASSOCIATE_REQUEST,
    HEADER_BYTES,
    MAXIMUM_ASSOCIATE_BYTES,
)

Enter = Callable[[socket.socket, Any], None]
"""Takes a connection, with its peer's address, whose first PDU can be read."""

_MAXIMUM_WAITING = 512
# A longer request is handed on when this much is here; its rest has the deadline of any PDU.
_ENOUGH_BYTES = 16 * 1024
_GONE = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
_WAIT, _DROP, _ENTER = "wait", "drop", "enter"


@dataclass(frozen=True)
class _Guest:
    connection: socket.socket
    address: Any
    deadline: float


class Lobby:
    """Accepts connections and passes on those that speak.

    Args:
        listener: a listening socket; it is made non-blocking.
        enter: called for each connection that may go on; it owns the connection from then on.
        first_pdu_seconds: from the connection to the first complete PDU.
        lifeline: a descriptor that the parent process holds open, or None.
    """

    def __init__(
        self,
        listener: socket.socket,
        enter: Enter,
        *,
        first_pdu_seconds: float,
        lifeline: int | None = None,
    ) -> None:
        self._listener = listener
        self._enter = enter
        self._seconds = first_pdu_seconds
        self._lifeline = lifeline
        self._guests: OrderedDict[int, _Guest] = OrderedDict()
        self._watching = False
        self.orphaned = False
        listener.setblocking(False)
        self._poll = select.epoll()
        if lifeline is not None:
            self._poll.register(lifeline, select.EPOLLIN | select.EPOLLHUP)

    def step(self, seconds: float, *, eager: bool) -> None:
        """Wait up to ``seconds`` for something to happen and deal with it.

        Args:
            seconds: the longest wait.
            eager: False where this process is full: it then leaves new connections to others that
                watch the same socket, and takes one at the end of the wait if nobody did.
        """
        self._watch(eager)
        for descriptor, events in self._poll.poll(seconds):
            if descriptor == self._listener.fileno():
                self._accept()
            elif descriptor == self._lifeline:
                self.orphaned = not os.read(descriptor, 1)
            else:
                self._look_at(descriptor, events)
        if not eager:
            self._accept()
        self._close_late()

    def close(self) -> None:
        """Close every waiting connection; the listening socket stays open for others."""
        for descriptor in list(self._guests):
            self._leave(descriptor).close()
        self._poll.close()

    def _watch(self, eager: bool) -> None:
        if eager and not self._watching:
            # EXCLUSIVE: a new connection wakes one of the processes, not all of them.
            self._poll.register(self._listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        elif self._watching and not eager:
            self._poll.unregister(self._listener)
        self._watching = eager

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            # Another process was faster, the peer has left, or descriptors are short.
            return
        if len(self._guests) >= _MAXIMUM_WAITING:
            self._leave(next(iter(self._guests))).close()
        deadline = time.monotonic() + self._seconds
        self._guests[connection.fileno()] = _Guest(connection, address, deadline)
        self._poll.register(connection, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    def _look_at(self, descriptor: int, events: int) -> None:
        guest = self._guests.get(descriptor)
        if guest is None:
            return
        verdict = _judge(guest.connection)
        if verdict == _ENTER:
            self._enter(self._leave(descriptor), guest.address)
        elif verdict == _DROP or events & _GONE:
            _turn_away(self._leave(descriptor))

    def _close_late(self) -> None:
        now = time.monotonic()
        # In order of arrival, hence of deadline.
        while self._guests and next(iter(self._guests.values())).deadline <= now:
            _turn_away(self._leave(next(iter(self._guests))))

    def _leave(self, descriptor: int) -> socket.socket:
        guest = self._guests.pop(descriptor)
        self._poll.unregister(descriptor)
        return guest.connection


def _judge(connection: socket.socket) -> str:
    """Decide by what can be read now, without taking it from the connection."""
    try:
        header = connection.recv(HEADER_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return _WAIT
    except OSError:
        return _DROP
    if not header or header[0] != ASSOCIATE_REQUEST:
        return _DROP
    if len(header) < HEADER_BYTES:
        return _WAIT
    length = int.from_bytes(header[2:], "big")
    if length > MAXIMUM_ASSOCIATE_BYTES:
        return _DROP
    readable = array.array("i", (0,))
    fcntl.ioctl(connection, termios.FIONREAD, readable)
    return _ENTER if readable[0] >= min(HEADER_BYTES + length, _ENOUGH_BYTES) else _WAIT


def _turn_away(connection: socket.socket) -> None:
    try:
        connection.send(A_ABORT, socket.MSG_DONTWAIT)
    except OSError:
        # The peer is gone or does not read.
        pass
    finally:
        connection.close()

"""Deadlines of a connection that we opened, kept by a thread of their own.

pynetdicom waits without end for the rest of a PDU that has begun, and whoever aborts or releases
the association then waits with it. Only the end of the connection itself frees both.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

_LOOK_SECONDS = 0.1
_KEEPALIVE_SECONDS = 30
_STOP_SECONDS = 8.0


class LineWatch:
    """Ends a connection once one of its deadlines has passed.

    Args:
        total: how long the connection may last whatever happens, in seconds; None: as long as its
            user goes on.
        stopping: whether the node is ending, asked a few times a second; the connection then ends
            within eight seconds, which leave room to cancel in order.
    """

    _bounded: ClassVar[weakref.WeakSet[LineWatch]] = weakref.WeakSet()

    def __init__(self, total: float | None, stopping: Callable[[], bool] = lambda: False) -> None:
        self.expired = False
        """Whether the connection was ended from here."""
        self._stopping = stopping
        self._lock = threading.Lock()
        self._deadlines: dict[str, float] = {}
        self._connections: list[socket.socket] = []
        self._followed: threading.Thread | None = None
        self._done = threading.Event()
        if total is not None:
            self.expect("all", total)
            self._bounded.add(self)
        threading.Thread(target=self._run, name="line watch", daemon=True).start()

    def know(self, connection: socket.socket) -> None:
        """Watch over a socket, too: TLS puts another one in the place of the first."""
        with self._lock:
            self._connections.append(connection)

    def follow(self, thread: threading.Thread) -> None:
        """Watch until this thread ends: without it nobody reads or writes any more."""
        self._followed = thread

    def expect(self, what: str, seconds: float) -> None:
        """Give something a deadline; it has to be :meth:`met` before."""
        with self._lock:
            self._deadlines[what] = time.monotonic() + seconds

    def met(self, what: str) -> None:
        """Forget a deadline."""
        with self._lock:
            self._deadlines.pop(what, None)

    def close(self) -> None:
        """Watch no more: the connection has ended."""
        self._done.set()

    def cut(self) -> None:
        """End the connection now: whoever reads or writes is woken with an error."""
        self.expired = True
        with self._lock:
            known = list(self._connections)
        for connection in known:
            with suppress(OSError):
                # That of the plain class: the one of a TLS socket takes its state from a reader.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._done.wait(_LOOK_SECONDS):
            if self._followed is not None and not self._followed.is_alive():
                break
            is_stopping = self._stopping()
            with self._lock:
                if is_stopping:
                    self._deadlines.setdefault("stop", time.monotonic() + _STOP_SECONDS)
                first = min(self._deadlines.values(), default=None)
            if self.expired or (first is not None and time.monotonic() >= first):
                self.cut()  # again and again: a connection may have opened since
        # pynetdicom does not close what was shut down before.
        for connection in self._connections:
            with suppress(OSError):
                connection.close()


def hang_up() -> None:
    """End every connection of this process that has a deadline for all of it."""
    for watch in list(LineWatch._bounded):
        watch.cut()


def probe(connection: Any) -> None:
    """Have the kernel notice a peer that is gone while nothing is said."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_SECONDS),
        ("TCP_KEEPINTVL", _KEEPALIVE_SECONDS),
        ("TCP_USER_TIMEOUT", 4000 * _KEEPALIVE_SECONDS),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

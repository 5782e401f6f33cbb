"""Accepting connections in an event loop, and going on when the system is short of descriptors."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_log = logging.getLogger(__name__)

_SHORT_OF_DESCRIPTORS_SECONDS = 0.2
_ACCEPTED_AT_ONCE = 64
_HANDSHAKE_SECONDS = 10.0

Admit = Callable[[socket.socket, str, ssl.SSLContext | None], None]
"""Takes a connection: its socket, the IP address of the other end, the context of its TLS."""


@dataclass(frozen=True)
class ListeningSocket:
    """A socket that listens, with the context of its TLS where it has one."""

    socket: socket.socket
    context: ssl.SSLContext | None = None


class Acceptor:
    """Accepts connections until it is closed; use it in the thread of its loop.

    Args:
        sockets: that are listened on; :meth:`close` closes them.
        admit: called with each connection.
        kind: of connections, for the log: ``HL7 connection``.
    """

    def __init__(self, sockets: Iterable[ListeningSocket], admit: Admit, kind: str) -> None:
        self._sockets = tuple(sockets)
        self._admit = admit
        self._kind = kind
        self._closed = False

    def start(self) -> None:
        """Accept from now on, in the loop that runs."""
        self._loop = asyncio.get_running_loop()
        for each in self._sockets:
            each.socket.setblocking(False)
            self._loop.add_reader(each.socket, self._accept, each)

    def close(self) -> None:
        """Accept nothing more."""
        self._closed = True
        for each in self._sockets:
            self._loop.remove_reader(each.socket)
            each.socket.close()

    def _accept(self, listening: ListeningSocket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, peer = listening.socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                _log.error("no %s can be accepted: %s", self._kind, error.strerror)
                self._loop.remove_reader(listening.socket)
                self._loop.call_later(_SHORT_OF_DESCRIPTORS_SECONDS, self._accept_again, listening)
                return
            accepted.setblocking(False)
            self._admit(accepted, str(peer[0]), listening.context)

    def _accept_again(self, listening: ListeningSocket) -> None:
        if not self._closed:
            self._loop.add_reader(listening.socket, self._accept, listening)


async def connect(
    protocol: asyncio.BaseProtocol, accepted: socket.socket, context: ssl.SSLContext | None
) -> str:
    """Hand an accepted connection to a protocol, after the handshake of TLS where there is one.

    Returns:
        Empty, or why there is no connection; then, and when cancelled, the socket is closed.
    """
    loop = asyncio.get_running_loop()
    seconds = _HANDSHAKE_SECONDS if context is not None else None
    try:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.connect_accepted_socket(
            lambda: protocol, accepted, ssl=context, ssl_handshake_timeout=seconds
        )
    except OSError as error:
        accepted.close()
        # ssl.SSLError is one; its reason is of OpenSSL, not of the peer.
        return str(getattr(error, "reason", None) or type(error).__name__)
    except asyncio.CancelledError:
        accepted.close()
        raise
    return ""

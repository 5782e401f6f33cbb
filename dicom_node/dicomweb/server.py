"""HTTP/1.1 on sockets of our parent: uvicorn's protocol with limits of connections and time.

Connections are counted before TLS, so that nobody can take all places with handshakes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from dicom_node.accepting import Acceptor, ListeningSocket, connect
from dicom_node.dicomweb.application import StoreService
from dicom_node.dicomweb_settings import DicomwebSettings
from dicom_node.doorkeeper import Doorkeeper
from dicom_node.tls import fingerprint

log = logging.getLogger(__name__)

_REQUEST_HEAD_SECONDS = 10.0
_KEEP_ALIVE_SECONDS = 15
_CLOSE_SECONDS = 10.0
_GRACE_SECONDS = 3.0
_REQUEST_HEAD_BYTES = 32 * 1024


class _Connection(H11Protocol):
    """A connection that must say what it wants in time, and close in time.

    Args:
        config: of uvicorn.
        state: shared with all other connections.
        address: IP address of the other end.
        left: called with it once it is gone.

    Attributes:
        address: IP address of the other end.
        opening: what makes the connection stand, TLS handshake included.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        address: str,
        left: Callable[[_Connection], object],
    ) -> None:
        super().__init__(config, state, {"address": address, "certificate": ""})
        self.address = address
        self.opening: asyncio.Task[None] | None = None
        self._left = left
        self._heard_at = self.loop.time()
        self._head_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    @property
    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def idle_since(self) -> float | None:
        """Return when it was last heard of; None while a request is answered."""
        return self._heard_at if self._between_requests else None

    def close(self) -> None:
        """Close it: another needs its place more."""
        if self.transport is not None:
            self.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, its TLS handshake included."""
        super().connection_made(transport)  # type: ignore[arg-type]
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        certificate = secured.getpeercert(binary_form=True) if secured is not None else None
        if certificate:
            self.app_state["certificate"] = fingerprint(certificate)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Bytes came; a request must be whole, up to its body, soon after its first byte."""
        self._heard_at = self.loop.time()
        if self._between_requests and self._head_timer is None:
            self._await_head()
        super().data_received(data)
        self._head_came()

    def handle_events(self) -> None:
        """Deal with what has come, now or while an earlier request was answered."""
        super().handle_events()
        self._head_came()

    def on_response_complete(self) -> None:
        """A request was answered."""
        self._heard_at = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing():
            self._close_soon()

    def timeout_keep_alive_handler(self) -> None:
        """No further request came."""
        super().timeout_keep_alive_handler()
        self._close_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        for timer in (self._head_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._left(self)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(_REQUEST_HEAD_SECONDS, self._too_late)

    def _head_came(self) -> None:
        if self._head_timer is not None and not self._between_requests:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        self._head_timer = None
        if self._between_requests and not self.transport.is_closing():
            self.transport.abort()

    def _close_soon(self) -> None:
        """Give the client a moment to take its answer."""
        if self._close_timer is None:
            self._close_timer = self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)


class Server:
    """Accepts connections and serves them.

    Args:
        settings: how many connections there may be.
        service: answers requests.
        sockets: that are listened on; the server closes them.
        ready: called once connections are accepted.
    """

    def __init__(
        self,
        settings: DicomwebSettings,
        service: StoreService,
        sockets: Mapping[str, ListeningSocket],
        ready: Callable[[], object] = lambda: None,
    ) -> None:
        self._service = service
        self._acceptor = Acceptor(sockets.values(), self._admit, "connection")
        self._ready = ready
        application: Any = service
        self._config = uvicorn.Config(
            application,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,  # who calls is what the kernel says, never a header
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=_REQUEST_HEAD_BYTES,
        )
        self._state = ServerState()
        self._door: Doorkeeper[_Connection] = Doorkeeper(
            settings.maximum_connections, settings.connections_per_address
        )
        self._opening: set[asyncio.Task[None]] = set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set; requests that run then get a moment to end."""
        self._loop = asyncio.get_running_loop()
        self._acceptor.start()
        self._ready()
        try:
            await stop.wait()
        finally:
            await self._finish()

    def _admit(self, accepted: socket.socket, address: str, context: ssl.SSLContext | None) -> None:
        connection = _Connection(self._config, self._state, address, self._door.left)
        if not self._door.admit(connection, self._loop.time()):
            log.warning("a connection of %s was closed: too many are open", address)
            accepted.close()
            return
        task = self._loop.create_task(self._open(connection, accepted, context))
        connection.opening = task
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(
        self, connection: _Connection, accepted: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        if reason := await connect(connection, accepted, context):
            log.warning("a connection of %s failed: %s", connection.address, reason)
            self._door.left(connection)

    async def _finish(self) -> None:
        """Take nothing more; let requests that run end for a moment; discard the rest."""
        self._service.stopping = True
        self._acceptor.close()
        for task in list(self._opening):
            task.cancel()
        for connection in list(self._state.connections):
            connection.shutdown()
        if tasks := set(self._state.tasks):
            _, late = await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_GRACE_SECONDS)

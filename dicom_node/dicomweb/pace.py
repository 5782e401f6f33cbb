"""How long a client may take to send the body of its request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dicom_node.dicomweb.refusal import Refusal

Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class Disconnected(Exception):
    """The client has gone: nobody waits for an answer."""


class PacedBody:
    """Receives a body piece by piece, as long as the client keeps its pace.

    Only time in which we waited for the client counts, not that of our disk.

    Args:
        receive: of the ASGI server.
        window: seconds of waiting over which the pace is judged; silence for so long ends it.
        minimum_bytes_per_second: the pace; 0: any but silence.
        maximum_bytes: of the whole body.
    """

    def __init__(
        self,
        receive: Receive,
        *,
        window: float,
        minimum_bytes_per_second: int,
        maximum_bytes: int,
    ) -> None:
        self._receive = receive
        self._window = window
        self._least = max(window * minimum_bytes_per_second, 1)
        self._maximum = maximum_bytes
        self._received = 0
        self._waited = 0.0
        self._window_bytes = 0

    async def next_piece(self) -> tuple[bytes, bool]:
        """Return bytes, possibly none, and whether more follow.

        Raises:
            Refusal: 408 for a client that is too slow, 413 for a body that is too long.
            Disconnected: the client is gone.
        """
        message = await self._next_message()
        if message["type"] != "http.request":
            raise Disconnected
        data: bytes = message.get("body", b"")
        self._window_bytes += len(data)
        self._received += len(data)
        if self._received > self._maximum:
            raise Refusal(413, "the request is longer than this node takes at a time")
        return data, bool(message.get("more_body", False))

    async def _next_message(self) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(max(self._window - self._waited, 0)):
                    return await self._receive()
            except TimeoutError:
                if self._window_bytes < self._least:
                    raise Refusal(408, "the body came too slowly") from None
                self._waited = self._window_bytes = 0
                began = loop.time()
            finally:
                self._waited += loop.time() - began

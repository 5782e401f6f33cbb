"""The MLLP listener: many messages on each connection, each answered after it was stored.

The listener knows framing and deadlines; what a message means is the caller's. Nothing a peer
does stops it from accepting the next connection.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from dicom_node.database import Clock, utc_now
from dicom_node.errors import Transient
from dicom_node.hl7.envelope import build_ack
from dicom_node.hl7.text import ContentFault
from dicom_node.mllp.framing import Event, Fault, Frame, FrameReader, Noise, Refused, frame
from dicom_node.settings import Hl7Settings

StoreMessage = Callable[[bytes], bytes]
"""Stores one message and returns its acknowledgement; it returns only after the commit."""

KeepRefused = Callable[[bytes, str], bytes]
"""Keeps the bytes of a refused stream, with the reason; returns the negative acknowledgement."""

_CHUNK = 65536
_STORING_THREADS = 4
_LINGER_SECONDS = 2.0
_IDLE_SECONDS = 3600.0
_log = logging.getLogger(__name__)


class MllpListener:
    """Listens for HL7 messages in a thread of its own.

    Args:
        settings: address, caps and deadline.
        store_message: called in a worker thread for each message.
        keep_refused: called for what arrived of a refused stream; without it, the peer gets AR
            and the bytes are not kept.
        clock: gives the time of the acknowledgements that the listener makes itself.
    """

    def __init__(
        self,
        settings: Hl7Settings,
        store_message: StoreMessage,
        keep_refused: KeepRefused | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._store_message = store_message
        self._keep_refused = keep_refused
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._workers = ThreadPoolExecutor(_STORING_THREADS, thread_name_prefix="hl7-store")
        self._thread = threading.Thread(target=self._run, name="mllp", daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = settings.port

    def start(self) -> None:
        """Bind, listen and return; ``port`` then holds the real port.

        Raises:
            Transient: the address is in use or not available.
        """
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except OSError as error:
            self._finish()
            raise Transient(f"the HL7 port cannot be opened: {error.strerror}") from error

    def stop(self) -> None:
        """Stop accepting, let messages in storage finish and get their answer, then close."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._finish()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _finish(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._workers.shutdown()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, self._settings.host, self._settings.port, limit=_CHUNK, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self._settings.maximum_connections:
            _log.warning("an HL7 connection was closed: %d are open", len(self._connections))
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._converse(_Connection(reader, writer, self._settings))
        except (ConnectionError, TimeoutError, asyncio.CancelledError) as error:
            _log.info("an HL7 connection ended: %s", type(error).__name__)
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), timeout=1)

    async def _converse(self, connection: _Connection) -> None:
        while not connection.over:
            for event in await connection.events():
                if isinstance(event, Noise):
                    _log.warning("%d bytes before an HL7 message were skipped", event.count)
                    continue
                await self._finished(self._answer(connection, event))
                if isinstance(event, Refused):
                    await connection.linger()

    @staticmethod
    async def _finished(work: Coroutine[Any, Any, None]) -> None:
        """Run to the end even when the listener stops: a stored message gets its answer."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await task
            raise

    async def _answer(self, connection: _Connection, event: Frame | Refused) -> None:
        work = self._stored if isinstance(event, Frame) else self._refused
        ack = await self._loop.run_in_executor(self._workers, work, event)
        await connection.send(ack)

    def _stored(self, event: Frame | Refused) -> bytes:
        try:
            return self._store_message(event.content)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, nothing was stored
            _log.error("an HL7 message could not be stored: %s", type(error).__name__)
            return self._negative("AE", event.content, 207, "the message could not be stored")

    def _refused(self, event: Frame | Refused) -> bytes:
        reason = event.fault.value if isinstance(event, Refused) else ""
        _log.warning("an HL7 stream was refused: %s", reason)
        ack = self._negative("AR", event.content, 100, reason)
        if self._keep_refused is None or not event.content:
            return ack
        try:
            return self._keep_refused(event.content, reason)
        except Exception as error:  # noqa: BLE001 - the peer still gets its negative answer
            _log.error("a refused HL7 stream could not be kept: %s", type(error).__name__)
            return ack

    def _negative(self, code: str, content: bytes, number: int, sentence: str) -> bytes:
        return build_ack(code, content, self._clock(), ContentFault("MSH", 0, number, sentence))


class _Connection:
    """One peer: its frames, and how long each may take."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: Hl7Settings
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader(settings.maximum_message_bytes)
        self._allowed = settings.frame_deadline_seconds
        self._deadline: float | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will be read: the peer ended, or the stream was refused."""
        return self._frames.closed

    async def events(self) -> list[Event]:
        """Read until a whole message, a refusal or the end of the stream."""
        while not self._frames.closed:
            if events := await self._read():
                return events
        return []

    async def _read(self) -> list[Event]:
        try:
            async with asyncio.timeout(self._patience()):
                data = await self._reader.read(_CHUNK)
        except TimeoutError:
            return self._silence()
        except ConnectionError:
            data = b""
        events = self._frames.feed(data) if data else self._frames.close()
        if any(isinstance(event, Frame) for event in events):
            self._deadline = None
        return events

    def _patience(self) -> float:
        now = asyncio.get_running_loop().time()
        if not self._frames.begun:
            self._deadline = None
            return _IDLE_SECONDS
        if self._deadline is None:
            self._deadline = now + self._allowed
        return max(0.0, self._deadline - now)

    def _silence(self) -> list[Event]:
        self._deadline = None
        if self._frames.begun:
            return [self._frames.refuse(Fault.TOO_SLOW)]
        return self._frames.close()

    async def send(self, ack: bytes) -> None:
        """Send an acknowledgement; a peer that does not take it in time is left."""
        self._writer.write(frame(ack))
        async with asyncio.timeout(self._allowed):
            await self._writer.drain()

    async def linger(self) -> None:
        """Read on for a moment: closing on unread bytes would reset away the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                while await self._reader.read(_CHUNK):
                    pass

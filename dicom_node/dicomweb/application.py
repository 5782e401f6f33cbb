"""The store service of DICOMweb as an ASGI application (PS3.18 10.5): STOW-RS, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from starlette.datastructures import Headers

from dicom_node.dicomweb.media_types import DICOM_JSON, boundary_of, check_accept
from dicom_node.dicomweb.outcome import status_of, store_response
from dicom_node.dicomweb.pace import Disconnected, PacedBody, Receive
from dicom_node.dicomweb.refusal import Refusal
from dicom_node.dicomweb.senders import Senders
from dicom_node.dicomweb.shelf import Shelf
from dicom_node.dicomweb.transaction import Transaction
from dicom_node.dicomweb_settings import DicomwebSettings
from dicom_node.durable import StorageFailed
from dicom_node.file_meta import is_uid
from dicom_node.settings import DicomSettings

log = logging.getLogger(__name__)

Send = Callable[[Mapping[str, Any]], Awaitable[None]]

_PATH = re.compile(r"/studies(?:/([^/]+))?")
_ONCE = ("authorization", "content-type", "content-encoding", "content-length")
_WINDOW_SECONDS = 30.0
_ANSWER_SECONDS = 30.0
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 64 * 1024**2
_RETRY_SECONDS = "5"


@dataclass(frozen=True)
class _Answer:
    status: int
    content: bytes
    media_type: str
    headers: Mapping[str, str]


class StoreService:
    """Answers requests; bodies are parsed and written in threads of its own.

    Args:
        settings: who may store, and how much at a time.
        dicom: limits and rates that C-STORE has as well.
        shelf: where objects go.
        disk_failed: called once the disk has failed and the answer to that request was sent.
    """

    def __init__(
        self,
        settings: DicomwebSettings,
        dicom: DicomSettings,
        shelf: Shelf,
        disk_failed: Callable[[], object] = lambda: None,
    ) -> None:
        self._settings = settings
        self._dicom = dicom
        self._shelf = shelf
        self._disk_failed = disk_failed
        self._senders = Senders(settings.senders)
        self._workers = ThreadPoolExecutor(settings.maximum_requests, thread_name_prefix="stow")
        self._running: Counter[str] = Counter()  # requests that are stored now, by sender
        self.stopping = False
        """Whether no more requests are taken."""

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except Disconnected:
            return
        except Refusal as refusal:
            log.warning("a request was refused with %d: %s", refusal.status, refusal)
            answer = _refused(refusal)
        except Exception as error:
            log.error("a request failed: %s", type(error).__name__)
            log.debug("traceback", exc_info=True)
            answer = _refused(Refusal(500, "the node failed"))
        if self._shelf.disk_failed:
            # Whatever was prepared: this disk's word is worth nothing now.
            answer = _refused(Refusal(503, "the node cannot store"))
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await _respond(answer, receive, send)
        if self._shelf.disk_failed:
            self._disk_failed()

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> _Answer:
        headers = Headers(raw=list(scope["headers"]))
        if any(len(headers.getlist(name)) > 1 for name in _ONCE):
            raise Refusal(400, "a header stands twice")
        state = scope["state"]
        sender = self._senders.identify(
            headers.get("authorization", ""), state["address"], state["certificate"]
        )
        study = _study_of(scope)
        boundary = boundary_of(headers.get("content-type", ""))
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Refusal(415, "a compressed request is not taken")
        check_accept(", ".join(headers.getlist("accept")))
        if _length_of(headers) > self._settings.maximum_request_bytes:
            raise Refusal(413, "the request is longer than this node takes at a time")
        if not self._shelf.has_room:
            raise Refusal(507, "there is no room", {"Retry-After": _RETRY_SECONDS})
        if self.stopping or not self._has_place(sender):
            raise Refusal(503, "too many are storing now", {"Retry-After": _RETRY_SECONDS})
        transaction = Transaction(
            self._shelf,
            sender,
            boundary,
            study_instance_uid=study,
            maximum_parts=self._settings.maximum_parts,
        )
        self._running[sender] += 1
        try:
            return await self._store(transaction, receive)
        finally:
            self._running[sender] -= 1

    def _has_place(self, sender: str) -> bool:
        settings = self._settings
        return (
            self._running.total() < settings.maximum_requests
            and self._running[sender] < settings.requests_per_sender
        )

    async def _store(self, transaction: Transaction, receive: Receive) -> _Answer:
        patience = self._dicom.network_timeout_seconds
        body = PacedBody(
            receive,
            window=min(_WINDOW_SECONDS, patience),
            minimum_bytes_per_second=self._dicom.minimum_bytes_per_second,
            maximum_bytes=self._settings.maximum_request_bytes,
        )
        loop = asyncio.get_running_loop()
        try:
            more = True
            while more:
                data, more = await body.next_piece()
                if data:
                    await loop.run_in_executor(self._workers, transaction.feed, data)
            await loop.run_in_executor(self._workers, transaction.finish)
        except StorageFailed as error:
            self._shelf.fail(error)
            raise Refusal(503, "the node cannot store") from None
        finally:
            # A thread may still be writing where this task was cancelled; this waits for it.
            await loop.run_in_executor(self._workers, transaction.discard)
        outcomes = transaction.outcomes
        status = status_of(outcomes, ran_out_of_space=transaction.ran_out_of_space)
        return _Answer(status, store_response(outcomes), DICOM_JSON, {})


def _study_of(scope: Mapping[str, Any]) -> str:
    """Return the study that a request stores to; empty: any.

    Raises:
        Refusal: 404 for another resource, 405 for another method, 400 for a UID that is none.
    """
    found = _PATH.fullmatch(scope["path"])
    if found is None:
        raise Refusal(404, "there is no such resource")
    if scope["method"] != "POST":
        raise Refusal(405, "objects are stored here, nothing else", {"Allow": "POST"})
    study = found.group(1) or ""
    if study and not is_uid(study):
        raise Refusal(400, "the resource names no study")
    return study


def _length_of(headers: Headers) -> int:
    """Return the length that a request announces; 0 where it announces none."""
    announced = headers.get("content-length", "0")
    return int(announced) if announced.isascii() and announced.isdigit() else 0


def _refused(refusal: Refusal) -> _Answer:
    content = f"{refusal}\n".encode("ascii")
    headers = {**refusal.headers, "Connection": "close"}
    return _Answer(refusal.status, content, "text/plain; charset=utf-8", headers)


async def _respond(answer: _Answer, receive: Receive, send: Send) -> None:
    headers = {
        "Content-Type": answer.media_type,
        "Content-Length": str(len(answer.content)),
        "Date": formatdate(usegmt=True),
        "Cache-Control": "no-store",
        **answer.headers,
    }
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.content, "more_body": True})
    if "Connection" in answer.headers:
        await _linger(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _linger(receive: Receive) -> None:
    """Read on for a moment: closing on a client that still sends would reset the answer away."""
    drained = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while drained < _LINGER_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return

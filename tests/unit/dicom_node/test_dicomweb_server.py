"""The deadlines of the DICOMweb server, shortened: who does not say what it wants is cut off."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dicom_node.accepting import ListeningSocket
from dicom_node.dicomweb import application, server
from dicom_node.dicomweb.application import StoreService
from dicom_node.dicomweb.pace import Disconnected, PacedBody
from dicom_node.dicomweb.refusal import Refusal
from dicom_node.dicomweb.server import Server
from dicom_node.dicomweb.shelf import Shelf
from dicom_node.dicomweb_settings import DicomwebSettings
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from tests.builders import mr_image
from tests.dicomweb_room import SENDER, TOKEN, body_of, part10, raw_request, token_digest

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]
SENDERS = [{"ae_title": SENDER, "token_sha256": token_digest(TOKEN)}]


def converse(folder: Path, talk: Talk) -> bytes:
    """Run a server in this process while a client talks to it."""
    store = DicomStore(folder)
    store.recover()
    dicom = DicomSettings(minimum_free_bytes=0)
    settings = DicomwebSettings.model_validate({"senders": SENDERS})

    async def run() -> bytes:
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        service = StoreService(settings, dicom, Shelf(store.intake, dicom))
        stop = asyncio.Event()
        serving = asyncio.create_task(
            Server(settings, service, {"plain": ListeningSocket(listening)}).serve(stop)
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(20):
                return await talk(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            stop.set()
            await serving

    return asyncio.run(run())


async def everything(reader: asyncio.StreamReader) -> bytes:
    with suppress(ConnectionError):
        return await reader.read()
    return b"reset"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_REQUEST_HEAD_SECONDS", 0.2)
    monkeypatch.setattr(application, "_LINGER_SECONDS", 0.2)


@pytest.mark.parametrize("head", [b"", b"POST /studies HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_request_must_begin_and_be_whole_up_to_its_body(
    tmp_path: Path, short: None, head: bytes
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head)
        return await everything(reader)

    assert converse(tmp_path, talk) in (b"", b"reset")


def test_a_second_request_must_be_whole_as_well(tmp_path: Path, short: None) -> None:
    good = raw_request(body_of([part10(mr_image())])).replace(b"Connection: close\r\n", b"")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(good)
        first = await reader.readuntil(b"\r\n\r\n")
        writer.write(good[:30])
        return first + await everything(reader)

    assert converse(tmp_path, talk).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_nobody_wants_is_not_read_for_ever(tmp_path: Path, short: None) -> None:
    endless = raw_request(b"", Authorization="Bearer nobody", Content_Length=str(1 << 40))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(endless)
        answer = await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(1000))
                await writer.drain()
                await asyncio.sleep(0.01)
        return answer

    assert converse(tmp_path, talk).startswith(b"HTTP/1.1 401 ")


def messages(*pieces: tuple[bytes, float]) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return a source of pieces, each after some seconds; then nothing more comes."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(3600)
        data, seconds = left.pop(0)
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": data, "more_body": True}

    return receive


def paced(receive: Any, **values: Any) -> PacedBody:
    limits = {"window": 0.2, "minimum_bytes_per_second": 100, "maximum_bytes": 1000}
    return PacedBody(receive, **(limits | values))


def read_all(body: PacedBody) -> None:
    async def run() -> None:
        while True:
            await body.next_piece()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("pieces", "values", "status"),
    [
        ([], {}, 408),
        ([(b"x", 0.05)] * 50, {}, 408),
        ([(b"x" * 50, 0.05)] * 50, {}, 413),
        ([(b"x", 0.05)] * 6, {"minimum_bytes_per_second": 0}, 408),
        ([(b"x" * 600, 0.0)] * 2, {}, 413),
    ],
)
def test_a_body_must_keep_its_pace(
    pieces: list[tuple[bytes, float]], values: dict[str, Any], status: int
) -> None:
    with pytest.raises(Refusal) as refused:
        read_all(paced(messages(*pieces), **values))
    assert refused.value.status == status


def test_a_client_that_is_gone_gets_no_answer() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(Disconnected):
        read_all(paced(gone))

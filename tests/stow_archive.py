"""An archive's DICOMweb service that answers whatever a test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"
JSON = "application/dicom+json"


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Scripted:
    """What is answered next, and what was asked so far."""

    port: int = 0
    status: int = 200
    content: bytes = b""
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The service's URL."""
        return f"http://{HOST}:{self.port}/web"

    def says(self, status: int, content: Any = b"", media_type: str = JSON, **headers: str) -> None:
        """Answer so from now on; what is no bytes is sent as JSON."""
        self.status, self.media_type = status, media_type
        self.content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def scripted_archive() -> Iterator[Scripted]:
    """Run the service while the block lasts."""
    script = Scripted()
    server = ThreadingHTTPServer((HOST, 0), _handler(script))
    script.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(script: Scripted) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            script.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            status, content = script.answers.get(self.command, (script.status, script.content))
            self.send_response(status)
            for name, value in script.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", script.media_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815

        def log_message(self, *_: Any) -> None:
            return

    return Handler


def reference(uid: str, sop_class: str, **more: int) -> dict[str, Any]:
    """Return an item that names an object; ``more`` are numbers by tag, with a T before it."""
    return {
        "00081150": {"vr": "UI", "Value": [sop_class]},
        "00081155": {"vr": "UI", "Value": [uid]},
    } | {tag[1:]: {"vr": "US", "Value": [number]} for tag, number in more.items()}


def sequence(*items: dict[str, Any]) -> dict[str, Any]:
    """Return a sequence element."""
    return {"vr": "SQ", "Value": list(items)}

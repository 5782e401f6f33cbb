"""A read-only status page on loopback: the state of the node at a glance, and its health."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from plugin.settings import Settings
from plugin.status import node_status

__all__ = ["ConsoleServer", "application"]

# No script at all, and nothing from elsewhere: what peers sent can only ever be text.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


def application(settings: Settings) -> Starlette:
    """Return the web application: ``/``, ``/status.json`` and ``/health``; GET only."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )

    def page(_: Request) -> Response:
        text = templates.get_template("status.html").render(status=node_status(settings))
        return HTMLResponse(text, headers=_HEADERS)

    def status(_: Request) -> Response:
        return JSONResponse(node_status(settings), headers=_HEADERS)

    def health(_: Request) -> Response:
        return JSONResponse({"alive": True}, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/status.json", status),
            Route("/health", health),
        ],
        # Another name that resolves to this address would let a foreign page read ours.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS)],
    )


class ConsoleServer:
    """Serves the status page in a thread."""

    def __init__(self, settings: Settings) -> None:
        family = socket.AF_INET6 if ":" in settings.console.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((settings.console.host, settings.console.port))
        self.port: int = self._socket.getsockname()[1]
        config: Any = uvicorn.Config(
            application(settings), log_level="error", access_log=False, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="console", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()

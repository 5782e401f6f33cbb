"""The local socket of a running node: commands that change something go through its process.

One request is one JSON line; answers are JSON lines: any number of ``progress``, then one
``result`` or ``error``. The socket lies in the data folder (0700) and is itself 0600.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plugin import errors
from plugin.context import Progress

Operation = Callable[[str, dict[str, Any], Progress], dict[str, Any]]
"""Runs the named operation with its arguments; returns a JSON-ready result."""

HEALTH = "health"
"""A question and no operation: it is answered by the node itself, and only while it runs."""

_MAXIMUM_REQUEST = 1024 * 1024
_AWAITED_SECONDS = 20.0


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        try:
            request = json.loads(self.rfile.readline(_MAXIMUM_REQUEST))
            command, arguments = str(request["command"]), dict(request["arguments"])
        except (ValueError, KeyError, TypeError):
            self._answer({"error": "the request is not understood", "class": "Permanent"})
            return
        try:
            with self.server.counted(command):
                result = self.server.operation(command, arguments, self._progress)
        except Exception as error:  # noqa: BLE001 - every failure must reach the caller
            self._answer({"error": str(error), "class": type(error).__name__})
        else:
            self._answer({"result": result})

    def _progress(self, line: str) -> None:
        self._answer({"progress": line})

    def _answer(self, value: dict[str, Any]) -> None:
        # A caller that went away does not stop the work it asked for.
        try:
            self.wfile.write(json.dumps(value).encode() + b"\n")
            self.wfile.flush()
        except OSError:
            return


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    operation: Operation
    awaited: Collection[str] = ()

    def __init__(self, path: str, handler: type[_Handler]) -> None:
        super().__init__(path, handler)
        self._changed = threading.Condition()
        self._running = 0

    @contextmanager
    def counted(self, command: str) -> Iterator[None]:
        """Count a command that is waited for while it runs."""
        number = int(command in self.awaited)
        with self._changed:
            self._running += number
        try:
            yield
        finally:
            with self._changed:
                self._running -= number
                self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until none that is waited for runs any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running, seconds)


class ControlServer:
    """Serves operations on the local socket in a thread.

    Args:
        path: of the socket.
        operation: runs a command.
        awaited: commands that end soon after the node begins to end, and are waited for.
    """

    def __init__(self, path: Path, operation: Operation, awaited: Collection[str] = ()) -> None:
        path.unlink(missing_ok=True)
        with _short_path(path) as short:
            self._server = _Server(short, _Handler)
        path.chmod(0o600)
        self._server.operation = operation
        self._server.awaited = awaited
        self._path = path
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="control", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving, wait for the commands that end with the node, and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server.wait(_AWAITED_SECONDS)
        self._path.unlink(missing_ok=True)


def call(path: Path, command: str, arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Ask the running node to run ``command``; return its result.

    Raises:
        ConnectionError: no node listens at ``path``.
        PluginError: the node answered with an error.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection, _short_path(path) as short:
        try:
            connection.connect(short)
        except FileNotFoundError as error:
            raise ConnectionRefusedError(str(error)) from None
        request = json.dumps({"command": command, "arguments": arguments}) + "\n"
        connection.sendall(request.encode())
        with connection.makefile("rb") as answers:
            for line in answers:
                answer = json.loads(line)
                if "progress" in answer:
                    progress(answer["progress"])
                elif "error" in answer:
                    raise _error_class(answer["class"])(answer["error"])
                else:
                    result: dict[str, Any] = answer["result"]
                    return result
    raise errors.Transient("the node ended before it answered")


def health(path: Path) -> dict[str, Any]:
    """Return what the running node says of itself; empty where none runs."""
    try:
        return call(path, HEALTH, {}, lambda _line: None)
    except (OSError, errors.PluginError):
        return {}


def _error_class(name: str) -> type[errors.PluginError]:
    found = getattr(errors, name, errors.Permanent)
    return found if issubclass(found, errors.PluginError) else errors.Permanent


class _short_path:  # noqa: N801 - a context manager, used like a function
    """A path to the socket that fits in sockaddr_un (108 bytes) however deep the folder lies."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> str:
        try:
            self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError as error:
            raise ConnectionRefusedError(str(error)) from None
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)

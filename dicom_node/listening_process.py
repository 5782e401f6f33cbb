"""A process that listens on sockets of its parent, is watched by it and replaced when it dies.

:class:`ListeningProcess` is the parent's side; :func:`serve_until_told` runs in the child.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from dicom_node.child_process import (
    DISK_FAILED,
    close_lifeline,
    end_child,
    listen_on,
    start_child,
)

log = logging.getLogger(__name__)

PLAIN, TLS = "plain", "tls"
"""Names of the sockets."""

_WATCH_SECONDS = 0.2
_STOP_SECONDS = 10.0
_READY_SECONDS = 30.0
_READY_CHECK_SECONDS = 0.02
_SHORTEST_LIFE_SECONDS = 2.0
_RESTART_DELAY_SECONDS = 2.0


class ListeningProcess:
    """Binds ports and keeps the process that serves them alive.

    Args:
        module: what the process runs, as ``python -m module``.
        host: address to listen on.
        ports: by name; port 0 takes any free port.
        order: what the process is told besides ``sockets`` and ``ready``, as JSON.
        subjects: what it receives, for the log: ``messages``.

    Attributes:
        addresses: address and port by name.
        failure: why receiving ended for good, or empty.

    Raises:
        OSError: a port cannot be bound.
    """

    def __init__(
        self,
        module: str,
        host: str,
        ports: Mapping[str, int],
        order: Mapping[str, Any],
        subjects: str,
    ) -> None:
        self.failure = ""
        self._module = module
        self._order = dict(order)
        self._subjects = subjects
        self._sockets = listen_on(host, ports)
        self.addresses: dict[str, tuple[str, int]] = {
            name: each.getsockname()[:2] for name, each in self._sockets.items()
        }
        self._ready, self._ready_child = os.pipe()
        os.set_blocking(self._ready, False)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=module, daemon=True)

    @property
    def port(self) -> int:
        """The port without TLS, or that with TLS where there is no other."""
        return (self.addresses.get(PLAIN) or self.addresses[TLS])[1]

    @property
    def process_id(self) -> int:
        """Process id of the child; 0 where none runs."""
        with self._lock:
            process = self._process
            return process.pid if process is not None and process.poll() is None else 0

    def start(self) -> None:
        """Start the process and watch over it; connections are queued from now on."""
        self._start_child()
        self._watcher.start()

    def wait_until_ready(self) -> None:
        """Return when the process accepts; sooner where receiving failed or takes too long."""
        deadline = time.monotonic() + _READY_SECONDS
        while not (self._is_ready() or self.failure or time.monotonic() > deadline):
            self._stopping.wait(_READY_CHECK_SECONDS)

    def stop(self) -> None:
        """End the process: what arrived whole is stored and answered first."""
        self._stopping.set()
        if self._watcher.is_alive() and threading.current_thread() is not self._watcher:
            self._watcher.join()
        with self._lock:
            process = self._process
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            end_child(process, _STOP_SECONDS)
        self._close_sockets()
        for descriptor in (self._ready, self._ready_child):
            os.close(descriptor)

    def _is_ready(self) -> bool:
        try:
            return bool(os.read(self._ready, 1))
        except BlockingIOError:
            return False

    def _close_sockets(self) -> None:
        for each in self._sockets.values():
            each.close()

    def _start_child(self) -> None:
        descriptors = {name: each.fileno() for name, each in self._sockets.items()}
        order = self._order | {"sockets": descriptors, "ready": self._ready_child}
        process = start_child(self._module, order, (*descriptors.values(), self._ready_child))
        with self._lock:
            self._process, self._started = process, time.monotonic()

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_SECONDS):
            process = self._process
            if process is None or process.poll() is None:
                continue
            close_lifeline(process)
            if process.returncode == DISK_FAILED:
                self.failure = f"the disk failed while {self._subjects} were stored"
                log.critical("%s are not received any more: %s", self._subjects, self.failure)
                self._close_sockets()
                return
            log.error("%s ended with %s and is replaced", self._module, process.returncode)
            if time.monotonic() - self._started < _SHORTEST_LIFE_SECONDS:
                self._stopping.wait(_RESTART_DELAY_SECONDS)  # it cannot even start: do not spin
            self._replace()

    def _replace(self) -> None:
        """Start another process, however often that fails: memory may be short for a moment."""
        while not self._stopping.is_set():
            try:
                self._start_child()
            except OSError as error:
                log.error("%s cannot be started: %s", self._module, error.strerror)
                self._stopping.wait(_RESTART_DELAY_SECONDS)
            else:
                return


def inherited_sockets(order: Mapping[str, Any]) -> dict[str, socket.socket]:
    """Return the listening sockets of the order, by name."""
    return {name: socket.socket(fileno=each) for name, each in order["sockets"].items()}


def tell_ready(order: Mapping[str, Any]) -> Callable[[], object]:
    """Return what the child calls once it accepts connections."""
    descriptor: int = order["ready"]
    return lambda: os.write(descriptor, b"1")


def data_folder(order: Mapping[str, Any]) -> Path:
    """Return the data folder of the order."""
    return Path(order["data_folder"])


def serve_until_told(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run ``serve`` with an event that SIGTERM, or the end of standard input, sets."""
    import uvloop

    async def run() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)

        def end() -> None:
            loop.remove_reader(0)
            stop.set()

        # Standard input is the lifeline: it ends with the parent.
        loop.add_reader(0, end)
        await serve(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())

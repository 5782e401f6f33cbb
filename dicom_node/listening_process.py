"""A process that listens on sockets of its parent, is watched by it and replaced when it dies.

:class:`ListeningProcess` is the parent's side; :func:`serve_until_told` runs in the child.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from dicom_node.child_process import listen_on, start_child
from dicom_node.watched_children import WatchedChildren

PLAIN, TLS = "plain", "tls"
"""Names of the sockets."""


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
        self._module = module
        self._order = dict(order)
        self._sockets = listen_on(host, ports)
        self.addresses: dict[str, tuple[str, int]] = {
            name: each.getsockname()[:2] for name, each in self._sockets.items()
        }
        self._ready, self._ready_child = os.pipe()
        os.set_blocking(self._ready, False)
        self._children = WatchedChildren(
            module, subjects, 1, self._start_child, at_failure=self._close_sockets
        )

    @property
    def failure(self) -> str:
        """Why receiving ended for good, or empty."""
        return self._children.failure

    @property
    def port(self) -> int:
        """The port without TLS, or that with TLS where there is no other."""
        return (self.addresses.get(PLAIN) or self.addresses[TLS])[1]

    @property
    def process_id(self) -> int:
        """Process id of the child; 0 where none runs."""
        return next(iter(self._children.alive), 0)

    def start(self) -> None:
        """Start the process and watch over it; connections are queued from now on."""
        self._children.start()

    def wait_until_ready(self) -> None:
        """Return when the process accepts; sooner where receiving failed or takes too long."""
        self._children.wait_until(self._is_ready)

    def stop(self) -> None:
        """End the process: what arrived whole is stored and answered first."""
        self._children.stop()
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

    def _start_child(self, _slot: int) -> subprocess.Popen[bytes]:
        descriptors = {name: each.fileno() for name, each in self._sockets.items()}
        order = self._order | {"sockets": descriptors, "ready": self._ready_child}
        return start_child(self._module, order, (*descriptors.values(), self._ready_child))


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

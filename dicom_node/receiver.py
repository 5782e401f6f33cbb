"""Receiver processes: several share the listening sockets, none of them opens the database.

:class:`Receivers` is the parent's side. The child's side is ``python -m dicom_node.receiver``: it
inherits the listening sockets, reads its settings as one JSON line from standard input, and ends
when that input ends, so it cannot outlive its parent.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.balance import Balance, new_balance
from dicom_node.child_process import (
    DISK_FAILED,
    begin_child,
    close_lifeline,
    end_child,
    listen_on,
    start_child,
)
from dicom_node.settings import DicomSettings
from dicom_node.sop_classes import negotiable
from dicom_node.tls import server_context

log = logging.getLogger(__name__)

_PLAIN, _TLS = "plain", "tls"
_WATCH_SECONDS = 0.2
_STOP_SECONDS = 10.0
_READY_SECONDS = 30.0
_READY_CHECK_SECONDS = 0.02
_SHORTEST_LIFE_SECONDS = 2.0
_RESTART_DELAY_SECONDS = 2.0


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)


class Receivers:
    """Binds the DICOM port and keeps the receiver processes alive.

    Args:
        settings: host, port, number of processes and limits; port 0 takes any free port.
        data_folder: root of the folder store, whose folders exist already.

    Raises:
        OSError: a port cannot be bound.
        InvalidSettings: the receivers could not work with these settings.
    """

    def __init__(self, settings: DicomSettings, data_folder: Path) -> None:
        self._settings = settings
        self._data_folder = data_folder
        _check(settings)
        self._listeners = _listen(settings)
        self.addresses: dict[str, tuple[str, int]] = {
            name: listener.getsockname()[:2] for name, listener in self._listeners.items()
        }
        self._balance = new_balance(settings.receiver_processes)
        self._children: list[_Child] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="receivers", daemon=True)
        self.failure = ""
        """Why receiving ended for good, or empty."""

    @property
    def address(self) -> tuple[str, int]:
        """Address and port that are listened on, those without TLS where there are both."""
        return self.addresses.get(_PLAIN) or self.addresses[_TLS]

    @property
    def port(self) -> int:
        """The port of :attr:`address`."""
        return self.address[1]

    @property
    def alive(self) -> int:
        """How many receiver processes run."""
        with self._lock:
            return sum(1 for child in self._children if child.process.poll() is None)

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the receivers."""
        with self._lock:
            return [child.process.pid for child in self._children]

    def start(self) -> None:
        """Start the processes and watch over them; connections are queued from now on."""
        with self._lock:
            self._children = [
                self._start_child(slot) for slot in range(self._settings.receiver_processes)
            ]
        self._watcher.start()

    def wait_until_ready(self) -> None:
        """Return when every process serves; sooner where receiving has failed or takes too long.

        Before that, one early process would take all the connections that queue.
        """
        balance = Balance(self._balance, 0)
        deadline = time.monotonic() + _READY_SECONDS
        while not (balance.everybody_is_there() or self.failure or time.monotonic() > deadline):
            self._stopping.wait(_READY_CHECK_SECONDS)

    def stop(self) -> None:
        """End the processes: running associations get a moment to finish."""
        self._stopping.set()
        if self._watcher.is_alive() and threading.current_thread() is not self._watcher:
            self._watcher.join()
        self._end_children()
        self._close_listeners()
        os.close(self._balance)

    def _close_listeners(self) -> None:
        for listener in self._listeners.values():
            listener.close()

    def _start_child(self, slot: int) -> _Child:
        descriptors = {name: each.fileno() for name, each in self._listeners.items()}
        order = {
            "listeners": descriptors,
            "balance": [self._balance, slot],
            "data_folder": str(self._data_folder),
            "settings": self._settings.model_dump(mode="json"),
        }
        inherited = (*descriptors.values(), self._balance)
        return _Child(start_child("dicom_node.receiver", order, inherited))

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_SECONDS):
            with self._lock:
                dead = [child for child in self._children if child.process.poll() is not None]
            if any(child.process.returncode == DISK_FAILED for child in dead):
                self.failure = "the disk failed while an object was stored"
                log.critical("receiving has stopped: %s", self.failure)
                # At once: what the others would still acknowledge lies on the same disk.
                self._end_children(signal.SIGKILL)
                self._close_listeners()
                return
            for child in dead:
                self._replace(child)

    def _replace(self, child: _Child) -> None:
        log.error("a receiver process ended with %s and is replaced", child.process.returncode)
        close_lifeline(child.process)
        if time.monotonic() - child.started < _SHORTEST_LIFE_SECONDS:
            # It cannot even start: do not spin.
            self._stopping.wait(_RESTART_DELAY_SECONDS)
        if self._stopping.is_set():
            return
        with self._lock:
            slot = self._children.index(child)
            # Until the new process is there, nobody must wait for it to accept.
            Balance(self._balance, slot).leave()
            try:
                self._children[slot] = self._start_child(slot)
                return
            except OSError as error:
                # Memory may be short for a moment; the watch comes by again.
                log.error("a receiver process cannot be started: %s", error.strerror)
        self._stopping.wait(_RESTART_DELAY_SECONDS)

    def _end_children(self, how: signal.Signals = signal.SIGTERM) -> None:
        with self._lock:
            for child in self._children:
                if child.process.poll() is None:
                    child.process.send_signal(how)
            deadline = time.monotonic() + _STOP_SECONDS
            for child in self._children:
                end_child(child.process, max(deadline - time.monotonic(), 0.1))


def _check(settings: DicomSettings) -> None:
    """Try what the processes will need, so that it fails here and not in each of them for ever."""
    negotiable(settings)
    if settings.tls is not None:
        server_context(settings.tls)


def _listen(settings: DicomSettings) -> dict[str, socket.socket]:
    """Return the listening sockets by name."""
    ports = {_PLAIN: settings.port} if settings.plain else {}
    if settings.tls is not None:
        ports[_TLS] = settings.tls.port
    return listen_on(settings.host, ports)


def main() -> None:
    """Run one receiver process; the first line of standard input says how."""
    order = begin_child()

    from dicom_node.reactor import Listener
    from dicom_node.storage import DicomStore
    from dicom_node.storage_scp import StorageProvider

    settings = DicomSettings.model_validate(order["settings"])
    store = DicomStore(Path(order["data_folder"]), minimum_free_bytes=settings.minimum_free_bytes)
    listeners = [
        Listener(
            socket.socket(fileno=descriptor),
            server_context(settings.tls) if name == _TLS and settings.tls else None,
        )
        for name, descriptor in order["listeners"].items()
    ]
    balance = Balance(*order["balance"])
    provider = StorageProvider(listeners, settings, store, lifeline=0, balance=balance)
    signal.signal(signal.SIGTERM, lambda *_: provider.stop())
    provider.run()
    # A thread that waits for a dying disk must not keep the process.
    os._exit(DISK_FAILED if provider.disk_failed else 0)


if __name__ == "__main__":
    main()

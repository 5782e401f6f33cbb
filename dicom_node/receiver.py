"""Receiver processes: several share one listening socket, none of them opens the database.

:class:`Receivers` is the parent's side. The child's side is ``python -m dicom_node.receiver``: it
inherits the listening socket, reads its settings as one JSON line from standard input, and ends
when that input ends, so it cannot outlive its parent.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.settings import DicomSettings

log = logging.getLogger(__name__)

DISK_FAILED = 74  # EX_IOERR of sysexits.h
_BACKLOG = 512
_WATCH_SECONDS = 0.2
_STOP_SECONDS = 10.0
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
        OSError: the port cannot be bound.
    """

    def __init__(self, settings: DicomSettings, data_folder: Path) -> None:
        self._settings = settings
        self._data_folder = data_folder
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        self._listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=_BACKLOG
        )
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._children: list[_Child] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="receivers", daemon=True)
        self.failure = ""
        """Why receiving ended for good, or empty."""

    @property
    def port(self) -> int:
        """The port that is listened on."""
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
            self._children = [self._start_child() for _ in range(self._settings.receiver_processes)]
        self._watcher.start()

    def stop(self) -> None:
        """End the processes: running associations get a moment to finish."""
        self._stopping.set()
        if self._watcher.is_alive() and threading.current_thread() is not self._watcher:
            self._watcher.join()
        self._end_children()
        self._listener.close()

    def _start_child(self) -> _Child:
        descriptor = self._listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "dicom_node.receiver", str(descriptor)],
            stdin=subprocess.PIPE,
            pass_fds=(descriptor,),
        )
        order = {
            "data_folder": str(self._data_folder),
            "settings": self._settings.model_dump(mode="json"),
        }
        if process.stdin is not None:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        return _Child(process)

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_SECONDS):
            with self._lock:
                dead = [child for child in self._children if child.process.poll() is not None]
            if any(child.process.returncode == DISK_FAILED for child in dead):
                self.failure = "the disk failed while an object was stored"
                log.critical("receiving has stopped: %s", self.failure)
                self._end_children()
                self._listener.close()
                return
            for child in dead:
                self._replace(child)

    def _replace(self, child: _Child) -> None:
        log.error("a receiver process ended with %s and is replaced", child.process.returncode)
        _close_lifeline(child.process)
        if time.monotonic() - child.started < _SHORTEST_LIFE_SECONDS:
            # It cannot even start: do not spin.
            self._stopping.wait(_RESTART_DELAY_SECONDS)
        if self._stopping.is_set():
            return
        with self._lock:
            self._children[self._children.index(child)] = self._start_child()

    def _end_children(self) -> None:
        with self._lock:
            for child in self._children:
                if child.process.poll() is None:
                    child.process.terminate()
            deadline = time.monotonic() + _STOP_SECONDS
            for child in self._children:
                try:
                    child.process.wait(max(deadline - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()
                _close_lifeline(child.process)


def _close_lifeline(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        try:
            process.stdin.close()
        except BrokenPipeError:
            # The child is gone; so is its end of the pipe.
            return


def main() -> None:
    """Run one receiver process; the descriptor of the listening socket is its only argument."""
    # The parent decides when to end: a Ctrl-C at the terminal reaches every process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    order = json.loads(_first_line(0))

    from dicom_node.storage import DicomStore
    from dicom_node.storage_scp import StorageProvider

    settings = DicomSettings.model_validate(order["settings"])
    store = DicomStore(Path(order["data_folder"]), minimum_free_bytes=settings.minimum_free_bytes)
    listener = socket.socket(fileno=int(sys.argv[1]))
    provider = StorageProvider(listener, settings, store, lifeline=0)
    signal.signal(signal.SIGTERM, lambda *_: provider.stop())
    provider.run()
    # Threads of half-open associations must not keep the process; what was acknowledged is on disk.
    os._exit(DISK_FAILED if provider.disk_failed else 0)


def _first_line(descriptor: int) -> bytes:
    """Read a line without taking a byte more, which would hide the end of the input."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return bytes(line)


if __name__ == "__main__":
    main()

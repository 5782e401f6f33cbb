"""The process that receives HL7 messages; it shares nothing with filing but the journal's folder.

:class:`MessageReceiver` is the parent's side. The child's side is ``python -m
dicom_node.mllp.process``: it inherits the listening sockets and ends with its parent.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

from dicom_node.child_process import (
    DISK_FAILED,
    begin_child,
    close_lifeline,
    end_child,
    listen_on,
    start_child,
)
from dicom_node.durable import OutOfSpace, StorageFailed
from dicom_node.errors import InvalidSettings, Transient
from dicom_node.settings import Hl7Settings
from dicom_node.tls import server_context

log = logging.getLogger(__name__)

JOURNAL_FOLDER = "hl7"
PROFILES_FOLDER = "feeds"

_PLAIN, _TLS = "plain", "tls"
_WATCH_SECONDS = 0.2
_STOP_SECONDS = 10.0
_READY_SECONDS = 30.0
_READY_CHECK_SECONDS = 0.02
_SHORTEST_LIFE_SECONDS = 2.0
_RESTART_DELAY_SECONDS = 2.0
_SWITCH_SECONDS = 0.0005
_COLLECT_AFTER = 50_000


class MessageReceiver:
    """Binds the HL7 ports and keeps the listener process alive.

    Args:
        settings: addresses, caps and deadlines; port 0 takes any free port.
        data_folder: the journal lies in its folder ``hl7``, feed profiles in ``feeds``.

    Attributes:
        addresses: address and port by ``plain`` and ``tls``.
        failure: why receiving ended for good, or empty.

    Raises:
        OSError: a port cannot be bound.
        InvalidSettings: the listener could not work with these settings.
    """

    def __init__(self, settings: Hl7Settings, data_folder: Path) -> None:
        self.failure = ""
        self._settings = settings
        self._data_folder = data_folder
        _tls_context(settings)  # fails here and not in each new process for ever
        ports = {_PLAIN: settings.port} if settings.plain else {}
        if settings.tls is not None:
            ports[_TLS] = settings.tls.port
        self._sockets = listen_on(settings.host, ports)
        self.addresses: dict[str, tuple[str, int]] = {
            name: each.getsockname()[:2] for name, each in self._sockets.items()
        }
        self._ready, self._ready_child = os.pipe()
        os.set_blocking(self._ready, False)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="hl7", daemon=True)

    @property
    def port(self) -> int:
        """The port without TLS, or that with TLS where there is no other."""
        return (self.addresses.get(_PLAIN) or self.addresses[_TLS])[1]

    @property
    def process_id(self) -> int:
        """Process id of the listener; 0 where none runs."""
        with self._lock:
            process = self._process
            return process.pid if process is not None and process.poll() is None else 0

    def start(self) -> None:
        """Start the process and watch over it; connections are queued from now on."""
        self._start_child()
        self._watcher.start()

    def wait_until_ready(self) -> None:
        """Return when the listener accepts; sooner where receiving failed or takes too long."""
        deadline = time.monotonic() + _READY_SECONDS
        while not (self._is_ready() or self.failure or time.monotonic() > deadline):
            self._stopping.wait(_READY_CHECK_SECONDS)

    def stop(self) -> None:
        """End the process: messages that arrived whole are stored and answered first."""
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
        order = {
            "sockets": descriptors,
            "ready": self._ready_child,
            "data_folder": str(self._data_folder),
            "settings": self._settings.model_dump(mode="json"),
        }
        inherited = (*descriptors.values(), self._ready_child)
        process = start_child("dicom_node.mllp.process", order, inherited)
        with self._lock:
            self._process, self._started = process, time.monotonic()

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_SECONDS):
            process = self._process
            if process is None or process.poll() is None:
                continue
            close_lifeline(process)
            if process.returncode == DISK_FAILED:
                self.failure = "the disk failed while a message was stored"
                log.critical("HL7 messages are not received any more: %s", self.failure)
                self._close_sockets()
                return
            log.error("the HL7 listener ended with %s and is replaced", process.returncode)
            if time.monotonic() - self._started < _SHORTEST_LIFE_SECONDS:
                self._stopping.wait(_RESTART_DELAY_SECONDS)  # it cannot even start: do not spin
            if not self._stopping.is_set():
                self._start_child()


def _tls_context(settings: Hl7Settings) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    try:
        return server_context(settings.tls)
    except InvalidSettings as error:
        raise InvalidSettings(str(error).replace("dicom.tls", "hl7.tls")) from None


def main() -> None:
    """Run the listener process; the first line of standard input says how."""
    order = begin_child()
    settings = Hl7Settings.model_validate(order["settings"])
    # A thread that returns from a sync must not wait long for the one that reads messages.
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        failed = _listen(settings, Path(order["data_folder"]), order["sockets"], order["ready"])
    except StorageFailed as error:
        log.critical("the HL7 journal cannot be opened: %s", error)
        failed = True
    except (OutOfSpace, Transient) as error:
        log.error("the HL7 journal cannot be opened: %s", error)
        sys.exit(1)
    # A thread that waits for a dying disk must not keep the process.
    logging.shutdown()
    os._exit(DISK_FAILED if failed else 0)


def _listen(
    settings: Hl7Settings, data_folder: Path, descriptors: dict[str, int], ready: int
) -> bool:
    """Listen until told to stop; tell whether the disk failed."""
    import uvloop

    from dicom_node.feeds.registry import Profiles
    from dicom_node.mllp.journal import Journal
    from dicom_node.mllp.listener import Listener, ListeningSocket

    context = _tls_context(settings)
    sockets = {
        name: ListeningSocket(socket.socket(fileno=descriptor), context if name == _TLS else None)
        for name, descriptor in descriptors.items()
    }
    listener = Listener(
        settings,
        Journal(data_folder / JOURNAL_FOLDER),
        sockets,
        Profiles(settings, data_folder / PROFILES_FOLDER),
        data_folder,
        ready=lambda: os.write(ready, b"1"),
    )
    # What exists by now stays; messages leave no cycles behind.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)

        def end() -> None:
            loop.remove_reader(0)
            stop.set()

        # Standard input is the lifeline: it ends with the parent.
        loop.add_reader(0, end)
        await listener.serve(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    except Exception as error:
        if not listener.failure:
            raise
        # Such an end is replaced by a new listener, which would acknowledge on the same disk.
        log.error("the HL7 listener did not end in order: %s", type(error).__name__)
    return bool(listener.failure)


if __name__ == "__main__":
    main()

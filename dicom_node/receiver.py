"""Receiver processes: several share the listening sockets, none of them opens the database.

:class:`Receivers` is the parent's side. The child's side is ``python -m dicom_node.receiver``: it
inherits the listening sockets, reads its settings as one JSON line from standard input, and ends
when that input ends, so it cannot outlive its parent.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from dicom_node.balance import Balance, new_balance
from dicom_node.child_process import DISK_FAILED, begin_child, listen_on, start_child
from dicom_node.settings import DicomSettings
from dicom_node.sop_classes import negotiable
from dicom_node.tls import server_context
from dicom_node.watched_children import WatchedChildren

_PLAIN, _TLS = "plain", "tls"


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
        self._children = WatchedChildren(
            "a receiver process",
            "objects",
            settings.receiver_processes,
            self._start_child,
            # Until the new process is there, nobody must wait for it to accept.
            at_death=lambda slot: Balance(self._balance, slot).leave(),
            at_failure=self._close_listeners,
        )

    @property
    def failure(self) -> str:
        """Why receiving ended for good, or empty."""
        return self._children.failure

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
        return len(self._children.alive)

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the receivers."""
        return self._children.process_ids

    def start(self) -> None:
        """Start the processes and watch over them; connections are queued from now on."""
        self._children.start()

    def wait_until_ready(self) -> None:
        """Return when every process serves; sooner where receiving has failed or takes too long.

        Before that, one early process would take all the connections that queue.
        """
        self._children.wait_until(Balance(self._balance, 0).everybody_is_there)

    def stop(self) -> None:
        """End the processes: running associations get a moment to finish."""
        self._children.stop()
        self._close_listeners()
        os.close(self._balance)

    def _close_listeners(self) -> None:
        for listener in self._listeners.values():
            listener.close()

    def _start_child(self, slot: int) -> subprocess.Popen[bytes]:
        descriptors = {name: each.fileno() for name, each in self._listeners.items()}
        order = {
            "listeners": descriptors,
            "balance": [self._balance, slot],
            "data_folder": str(self._data_folder),
            "settings": self._settings.model_dump(mode="json"),
        }
        inherited = (*descriptors.values(), self._balance)
        return start_child("dicom_node.receiver", order, inherited)


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

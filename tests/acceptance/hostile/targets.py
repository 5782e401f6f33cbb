"""The victims: each started on a free loopback port with its store in a folder that is watched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dicom_node.storage import DicomStore
from plugin.demo.settings import Ports
from plugin.simulation.orthanc import OrthancPacs
from plugin.simulation.ports import free_ports
from tests.acceptance.hostile.observe import kept_tokens, tree
from tests.certificates import CertificateOffice
from tests.nodes import TestNode, prepare_node
from tests.raw_dicom import RawAssociation

GOOD_TITLE = "MODALITY"
"""AE title of the harmless modality."""

_START_SECONDS = 40.0
_SETTLE_SECONDS = 90.0
_DEPTH = ("a", "b", "c", "d", "e", "f")
"""Folders between the watched one and the victim's, so that a climbing name stays in sight."""


class Target(ABC):
    """A storage provider under attack.

    Args:
        scratch: a folder of its own; everything that appears in it is looked at.

    Attributes:
        name: what it is called in the tables.
        ours: whether it is the node that must keep every requirement.
        called: its AE title.
        object_cap: the largest object it accepts by its settings in bytes, or None.
        tls_port: where it speaks TLS, or None.
    """

    name = ""
    ours = False
    called = "RADLOOP"
    object_cap: int | None = None
    tls_port: int | None = None

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.root = scratch.joinpath(*_DEPTH)
        self.root.mkdir(parents=True, exist_ok=True)
        self.host, self.port = "127.0.0.1", 0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the listener."""
        return self.host, self.port

    @property
    def store(self) -> Path | None:
        """Where its objects lie, or None where that cannot be seen."""
        return self.root

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The main process, or None where that cannot be seen."""

    @abstractmethod
    def start(self, **options: Any) -> None:
        """Start it; options are of the kind of target."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""

    def wait_until_settled(self) -> None:
        """Wait until what it received has been worked on; at once for those that do no more."""
        return

    @property
    def logs(self) -> Sequence[Path]:
        """Its log files."""
        return ()

    def kept(self) -> dict[str, int] | None:
        """Return how many files hold each token, or None where the store cannot be seen."""
        return kept_tokens(self.store) if self.store else None

    def processes(self) -> list[int]:
        """Return the process tree."""
        return tree(self.pid) if self.pid else []

    def _await_echo(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with RawAssociation(
                    self.address, called=self.called, calling=GOOD_TITLE, timeout=5
                ) as association:
                    if association.answer == 2 and association.echo() == 0:
                        association.release()
                        return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} did not start")
            time.sleep(0.1)


class Radloop(Target):
    """The node as a user starts it: ``radloop init`` and ``radloop serve``."""

    name = "radloop"
    ours = True

    def __init__(self, scratch: Path) -> None:
        super().__init__(scratch)
        self._node: TestNode | None = None
        self._ports: Ports | None = None

    @property
    def node(self) -> TestNode:
        """The running node."""
        if self._node is None:
            raise RuntimeError("the node is not running")
        return self._node

    @property
    def store(self) -> Path:
        """Its data folder."""
        return self.root / "node" / "data"

    @property
    def pid(self) -> int | None:
        """The process of ``radloop serve``."""
        process = self.node._process
        return process.pid if process else None

    @property
    def logs(self) -> Sequence[Path]:
        """The log of the service."""
        return (self.root / "node" / "node.log",)

    def start(self, **options: Any) -> None:
        """Start the node, or start it again as it was set up before.

        Args:
            options: ``dicom`` holds lines for the section [dicom], ``tail`` goes to the end of
                the settings, ``tls`` asks for a port with TLS where openssl is installed.
        """
        folder = self.root / "node"
        if self._ports is None or not (folder / "radloop.toml").exists():
            self._node = self._prepared(folder, options)
            self._ports = self._node.ports
        else:
            self._node = TestNode(folder / "radloop.toml", folder / "node.log", self._ports)
        self._node.start()
        self.port = self._ports.dicom
        self._await_echo()

    def _prepared(self, folder: Path, options: Mapping[str, Any]) -> TestNode:
        tail = str(options.get("tail", ""))
        if options.get("tls") and shutil.which("openssl"):
            tail += self._tls_section()
        node = prepare_node(folder, tail)
        text = node.config.read_text(encoding="utf-8")
        lines = str(options.get("dicom", ""))
        stated = {line.partition("=")[0].strip() for line in lines.splitlines()}
        kept = [line for line in text.splitlines() if line.partition("=")[0].strip() not in stated]
        text = "\n".join(kept) + "\n"
        node.config.write_text(text.replace("[dicom]", f"[dicom]\n{lines}\n#", 1), encoding="utf-8")
        return node

    def _tls_section(self) -> str:
        office = CertificateOffice(self.root / "certificates")
        authority = office.authority("authority")
        own = office.issue(authority, "radloop")
        (self.tls_port,) = free_ports(1)
        return (
            f'\n[dicom.tls]\nport = {self.tls_port}\ncertificate = "{own.certificate}"\n'
            f'key = "{own.key}"\nauthorities = "{authority.certificate}"\n'
        )

    def stop(self) -> None:
        """Stop the node in order."""
        if self._node is not None:
            self._node.stop()
            self._node = None

    def wait_until_settled(self) -> None:
        """Wait until the spool is empty."""
        store = DicomStore(self.store)
        deadline = time.monotonic() + _SETTLE_SECONDS
        spool = self.store / "spool"
        while store.spooled_count() or any(spool.glob("*.json")):
            if time.monotonic() > deadline:
                raise TimeoutError("the node does not index what it received")
            time.sleep(0.1)


class Orthanc(Target):
    """Orthanc with what its own default configuration says about DICOM."""

    name = "Orthanc"
    called = "ORTHANC"

    def __init__(self, scratch: Path) -> None:
        super().__init__(scratch)
        self._orthanc: OrthancPacs | None = None

    @property
    def pid(self) -> int | None:
        """Its process."""
        return self._orthanc.pid if self._orthanc else None

    @property
    def logs(self) -> Sequence[Path]:
        """Its log."""
        return (self.root / "orthanc.log",)

    def start(self, **options: Any) -> None:
        """Start Orthanc; options are configuration entries."""
        defaults = {
            "DicomCheckCalledAet": False,
            "StrictAetComparison": False,
            "DicomAlwaysAllowFind": False,
            "OverwriteInstances": False,
        }
        self._orthanc = OrthancPacs(self.root, self.called, options=defaults | options).start()
        self.port = self._orthanc.port
        self._await_echo()

    def stop(self) -> None:
        """End Orthanc."""
        if self._orthanc is not None:
            self._orthanc.stop()
            self._orthanc = None


class Program(Target):
    """A provider that is one command."""

    def __init__(self, scratch: Path) -> None:
        super().__init__(scratch)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its main process."""
        return self._process.pid if self._process else None

    @property
    def store(self) -> Path:
        """Its output folder."""
        folder = self.root / "store"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def logs(self) -> Sequence[Path]:
        """What it printed."""
        return (self.root / "output.log",)

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """Return the command line."""

    def start(self, **_options: Any) -> None:
        """Start the program on a free port."""
        (self.port,) = free_ports(1)
        environment: Mapping[str, str] = {**os.environ, "TCP_NODELAY": "1"}
        with self.logs[0].open("ab") as log:
            self._process = subprocess.Popen(
                self.command(self.port),
                env=environment,
                cwd=self.store,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._await_echo()

    def stop(self) -> None:
        """End the program and what it forked."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Storescp(Program):
    """DCMTK's storescp, which serves one association after the other."""

    name = "storescp"

    def command(self, port: int) -> list[str]:
        """Return the command line."""
        return ["storescp", *self.options(), "+xa", "-od", str(self.store), str(port)]

    def options(self) -> list[str]:
        """Return further options."""
        return []


class ForkingStorescp(Storescp):
    """DCMTK's storescp with one process for each association."""

    name = "storescp --fork"

    def options(self) -> list[str]:
        """Return further options."""
        return ["--fork"]


class PynetdicomStorescp(Program):
    """pynetdicom's own storage application."""

    name = "pynetdicom storescp"

    def command(self, port: int) -> list[str]:
        """Return the command line."""
        options = ["-ba", "127.0.0.1", "-od", str(self.store)]
        return [sys.executable, "-m", "pynetdicom", "storescp", *options, str(port)]


class PynetdicomQrscp(Program):
    """pynetdicom's query/retrieve application, the victim of ICSMA-26-176-01."""

    name = "pynetdicom qrscp"
    called = "QRSCP"

    def command(self, port: int) -> list[str]:
        """Return the command line."""
        options = ["-ba", "127.0.0.1", "--port", str(port)]
        options += ["--instance-location", str(self.store)]
        options += ["--database-location", str(self.root / "qrscp.sqlite")]
        return [sys.executable, "-m", "pynetdicom", "qrscp", *options]


class Remote(Target):
    """A provider that runs already: only what the network shows is known of it."""

    def __init__(self, scratch: Path, host: str, port: int, called: str, pid: int | None) -> None:
        super().__init__(scratch)
        self.host, self.port, self.called = socket.gethostbyname(host), port, called
        self.name = f"{host}:{port}"
        self._pid = pid

    @property
    def pid(self) -> int | None:
        """What the caller said."""
        return self._pid

    @property
    def store(self) -> None:
        """Unknown."""
        return None

    def start(self, **_options: Any) -> None:
        """Check that it answers."""
        self._await_echo()

    def stop(self) -> None:
        """Leave it alone."""


KINDS: Mapping[str, Sequence[type[Target]]] = {
    "radloop": (Radloop,),
    "orthanc": (Orthanc,),
    "dcmtk": (Storescp, ForkingStorescp),
    "pynetdicom": (PynetdicomStorescp, PynetdicomQrscp),
}
"""Targets by the name they have on the command line."""

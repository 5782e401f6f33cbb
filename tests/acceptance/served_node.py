"""A node as processes that a test may kill, trace or fill the disk of: ``radloop serve``, raw.

:class:`tests.nodes.TestNode` waits through ``radloop status``, a process of its own and seconds
on a busy machine; here readiness is what a peer sees: a C-ECHO answered and HL7 accepted.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.mllp.journal import Position, waiting_bytes
from plugin import control
from plugin.folders import DataFolder
from tests.nodes import prepare_node
from tests.raw_dicom import RawAssociation

LOOPBACK = "127.0.0.1"
_READY_SECONDS = 90.0
_LAST_LINES = 150
_STACK_SECONDS = 1.0
_POLL_SECONDS = 0.02


class NotReady(Exception):
    """The node did not come to answer."""


@dataclass(frozen=True)
class Process:
    """A process of the machine as /proc shows it."""

    pid: int
    parent: int
    command: str


class ServedNode:
    """One data folder and the processes that serve it.

    Args:
        folder: does not exist yet; takes settings, log and, unless ``data`` is another, data.
        settings: keys of the settings file with the values (TOML) that replace theirs.
        data: the data folder.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, data: Path | None = None
    ) -> None:
        self._made = prepare_node(folder)
        self.config = self._made.config
        self.data = data or self._made.data
        changed = {"data_folder": f'"{self.data}"', **(settings or {})}
        self.config.write_text(with_values(self.config.read_text("utf-8"), changed), "utf-8")
        self.ports = self._made.ports
        self.dicom = (LOOPBACK, self.ports.dicom)
        self.log = folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, prefix: Sequence[str] = (), environment: dict[str, str] | None = None) -> float:
        """Start serving, under the command ``prefix``; return the seconds until it answers.

        A peer may be answered before the last receiver process stands, and what a test measures of
        them then is of processes that still begin; so the node's own word is awaited as well.

        Raises:
            NotReady: the process ended or did not answer in time; its log says why.
        """
        started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "plugin.cli", "serve", "--config", self.config],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | (environment or {}),
            )
        while not (self._says_ready() and self.answers()):
            if self.process.poll() is not None:
                raise NotReady(f"the node ended with {self.process.returncode}")
            if time.monotonic() - started > _READY_SECONDS:
                raise NotReady("the node did not answer in time")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - started

    def _says_ready(self) -> bool:
        """Tell whether the node answers its own commands, which it does when every part serves."""
        return bool(control.health(DataFolder(self.data).control_socket))

    def answers(self) -> bool:
        """Tell whether a C-ECHO is answered and HL7 connections are taken."""
        try:
            with socket.create_connection((LOOPBACK, self.ports.hl7), 5):
                pass
            with RawAssociation(self.dicom, timeout=5) as association:
                return association.answer == 2 and association.echo() == 0
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """The process id of what was started: the main process, or its tracer."""
        if self.process is None:
            raise NotReady("the node was not started")
        return self.process.pid

    @property
    def main_pid(self) -> int:
        """The process id of the main process, whether or not a tracer started it."""
        for each in self.tree():
            if each.parent == self.pid and "plugin.cli serve" in each.command:
                return each.pid
        return self.pid

    def tree(self) -> list[Process]:
        """Return every process of the node but the one that was started, children first."""
        return [each for each in processes() if each.pid in _session(self.pid)]

    def receivers(self) -> list[Process]:
        """Return the receiver processes."""
        return [each for each in self.tree() if "dicom_node.receiver" in each.command]

    def listeners(self) -> list[Process]:
        """Return the process that listens for HL7 messages."""
        return [each for each in self.tree() if "dicom_node.mllp.process" in each.command]

    def kill_group(self) -> None:
        """SIGKILL to every process of the group, orphans included."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self, seconds: float = 30.0) -> None:
        """End in order, and by force what does not end."""
        self._made.stop()
        if self.process is None:
            return
        if self.process.poll() is None:
            os.kill(self.main_pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        self.kill_group()

    def status(self) -> dict[str, Any]:
        """Return what ``radloop status --json`` says."""
        return self._made.status()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Read from the node's database beside the node."""
        path = self.data / "radloop.sqlite"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait until a condition holds.

        Raises:
            NotReady: it did not in time; with the node's last words and where its threads stand.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                said = self._last_words()
                raise NotReady(f"{what} did not come within {seconds:.0f} s; its log ends:\n{said}")
            time.sleep(_POLL_SECONDS)

    def _last_words(self) -> str:
        for each in (self.main_pid, *(each.pid for each in self.receivers())):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGUSR1)
        time.sleep(_STACK_SECONDS)
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:])

    def wait_until_indexed(self, seconds: float = 120.0) -> None:
        """Wait until nothing lies in the spool, every file is where its row says, and every
        message is filed.
        """
        spool = self.data / "spool"
        self.wait_until(lambda: not any(spool.iterdir()), "an empty spool", seconds)
        misplaced = "SELECT 1 FROM misplaced_file"
        self.wait_until(lambda: not self.rows(misplaced), "every file's place", seconds)
        self.wait_until(lambda: not self._unfiled(), "the filing of messages", seconds)

    def _unfiled(self) -> int:
        """Return how many bytes of the journal wait to be filed."""
        found = self.rows("SELECT segment, offset FROM filed_position")
        return waiting_bytes(self.data / "hl7", Position(*found[0]) if found else None)


@contextmanager
def served_node(
    folder: Path, settings: Mapping[str, str] | None = None, data: Path | None = None
) -> Iterator[ServedNode]:
    """Serve while the block runs."""
    node = ServedNode(folder, settings, data)
    try:
        node.start()
        yield node
    finally:
        node.stop()


def with_values(text: str, values: Mapping[str, str]) -> str:
    """Return a settings file in which keys have other values.

    Raises:
        KeyError: a key does not stand in the file exactly once.
    """
    for key, value in values.items():
        text, count = re.subn(rf"(?m)^{key} = \S+", f"{key} = {value}", text)
        if count != 1:
            raise KeyError(key)
    return text


def processes() -> Iterator[Process]:
    """Read /proc; a process that ends meanwhile is left out."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state != "Z":
            yield Process(int(entry.name), int(parent), command)


def _session(leader: int) -> set[int]:
    """Return the processes whose session was begun by ``leader``, orphans included, without it."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.add(int(entry.name))
    return found - {leader}


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_descriptors(pid: int) -> int:
    """Return how many descriptors a process holds."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())

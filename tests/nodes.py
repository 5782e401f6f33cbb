"""A node for tests: made as by ``radloop init``, run by ``radloop serve``, asked by its status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plugin.cli import init
from plugin.demo.node import DemoNode, wait_until
from plugin.demo.settings import Ports, choose_ports
from plugin.settings import load_settings
from plugin.status import node_status


class TestNode(DemoNode):
    """A node under test, with its ports."""

    __test__ = False

    def __init__(self, config: Path, log: Path, ports: Ports) -> None:
        super().__init__(config, log)
        self.log, self.ports = log, ports
        self.data = config.parent / "data"

    @property
    def pid(self) -> int:
        """The process id of the main process."""
        assert self._process is not None
        return self._process.pid

    def status(self) -> dict[str, Any]:
        """Return what ``radloop status --json`` says, without a process for each look.

        A wait asks often, and a process that imports everything takes the node's processor from
        it; the command itself has tests of its own.
        """
        found: dict[str, Any] = json.loads(json.dumps(node_status(load_settings(self.config))))
        return found

    def wait_for(
        self, condition: Callable[[dict[str, Any]], bool], what: str, timeout: float = 60
    ) -> dict[str, Any]:
        """Wait until the status fulfils a condition and return it."""
        wait_until(lambda: condition(self.status()), timeout, what)
        return self.status()


def radloop(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "plugin.cli", *arguments],
        check=check,
        capture_output=True,
        text=True,
        timeout=120,
    )


def prepare_node(folder: Path, extra: str = "") -> TestNode:
    """Make a node in ``folder`` with free ports, a short quiet time and ``extra`` settings."""
    ports = choose_ports()
    init(folder, dicom_port=ports.dicom, hl7_port=ports.hl7, http_port=ports.http)
    config = folder / "radloop.toml"
    text = config.read_text(encoding="utf-8")
    text = text.replace("study_quiet_seconds = 60.0 ", "study_quiet_seconds = 0.5 ")
    text = text.replace("minimum_free_bytes = 1073741824", "minimum_free_bytes = 1048576")
    config.write_text(text + extra, encoding="utf-8")
    return TestNode(config, folder / "node.log", ports)


@contextmanager
def running_node(folder: Path, extra: str = "") -> Iterator[TestNode]:
    """Run a node while the block runs."""
    node = prepare_node(folder, extra)
    try:
        node.start()
        yield node
    finally:
        node.stop()

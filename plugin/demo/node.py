"""The node of the demonstration, started and asked as a user would: by its command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from plugin.errors import ChildFailed


class DemoNode:
    """``radloop serve`` as a process of its own; commands run as processes too."""

    def __init__(
        self, config: Path, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.config = config
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._log = log.open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 60.0) -> None:
        """Start serving and wait until the node answers.

        Raises:
            ChildFailed: it ended or did not answer in time; its log says why.
        """
        self._process = subprocess.Popen(
            [*_radloop(), "serve", "--config", str(self.config)],
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env=self._environment,
        )
        wait_until(lambda: self._ended() or bool(self.status()["running"]), timeout, "the node")
        if self._ended():
            raise ChildFailed(f"the node did not start: see {self._log.name}")

    def kill(self) -> None:
        """Kill every process of the node without warning (SIGKILL)."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Stop the node in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()

    def status(self) -> dict[str, Any]:
        """Return what ``radloop status --json`` says."""
        return self.command("status")

    def command(
        self,
        *arguments: str,
        progress: Callable[[str], None] | None = None,
        statuses: Collection[int] = (0,),
    ) -> dict[str, Any]:
        """Run a radloop command with ``--json`` and return its result.

        Args:
            arguments: of the command.
            progress: takes each line of progress.
            statuses: the exit statuses with which it gives a result.

        Raises:
            ChildFailed: the command failed; the message is its own.
        """
        said = ["no message"]
        # The result goes to a file: two pipes read one after the other could block each other.
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [*_radloop(), *arguments, "--config", str(self.config), "--json"],
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                env=self._environment,
            )
            with process:
                for line in process.stderr or ():
                    said.append(line.strip())
                    if progress is not None:
                        progress(line.strip())
            if process.returncode not in statuses:
                raise ChildFailed(f"radloop {' '.join(arguments)}: {said[-1]}")
            output.seek(0)
            result: dict[str, Any] = json.load(output)
        return result

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


def _radloop() -> list[str]:
    return [sys.executable, "-m", "plugin.cli"]


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Wait until ``condition`` holds.

    Raises:
        ChildFailed: it did not within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ChildFailed(f"{what} was not ready within {timeout:.0f} s")
        time.sleep(0.3)

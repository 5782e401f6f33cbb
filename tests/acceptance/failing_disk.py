"""fsync fails once, with EIO, in a process of the node: what is acknowledged afterwards?

strace injects the error into a running process (``inject=fsync,fdatasync:error=EIO:when=1``: the
first call of each thread, so that a second try would succeed and be seen) and records what follows.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.strace_log import TRACED
from tests.peers import find_program

_FAILED = re.compile(r"f(?:data)?sync(?:\(| resumed).*= -1 EIO")
_INJECTION = "inject=fsync,fdatasync:error=EIO:when=1"


@dataclass
class Injection:
    """An error that waits for a process."""

    pid: int
    log: Path
    lines: list[str] = field(default_factory=list)

    def read(self) -> list[str]:
        """Return the trace so far."""
        self.lines = self.log.read_text(encoding="ascii").splitlines()
        return self.lines

    @property
    def failed(self) -> bool:
        """Whether a sync has failed."""
        return any(_FAILED.search(line) for line in self.read())

    def after_failure(self) -> list[str]:
        """Return what the process did after the first failed sync, in lines of the trace."""
        lines = self.read()
        first = next(number for number, line in enumerate(lines) if _FAILED.search(line))
        return lines[first + 1 :]


@contextmanager
def failing_sync(pid: int, log: Path) -> Iterator[Injection]:
    """Let the next sync of every thread of a process fail while the block lasts."""
    tracer = subprocess.Popen(
        [
            *(find_program("strace"), "-f", "-yy", "-xx", "-s", "65536", "-o", log),
            *("-e", f"trace={TRACED}", "-e", _INJECTION, "-p", str(pid)),
        ],
        stderr=subprocess.PIPE,
    )
    try:
        if tracer.stderr is None or b"attached" not in tracer.stderr.readline():
            raise RuntimeError("strace could not attach")
        yield Injection(pid, log)
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        if tracer.stderr is not None:
            tracer.stderr.close()
        tracer.wait()

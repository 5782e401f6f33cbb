"""Child processes that are watched: one that dies is replaced, one whose disk fails ends them all.

The parent binds what the children share; here is only their life (:mod:`dicom_node.child_process`
is how one begins and ends).
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dicom_node.child_process import DISK_FAILED, close_lifeline, end_child

log = logging.getLogger(__name__)

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


class WatchedChildren:
    """Keeps a number of processes alive.

    Args:
        what: what one of them is called in the log.
        subjects: what they receive, for the log: ``messages``.
        count: how many there are.
        start_one: starts the process of a slot, 0 to ``count`` - 1; OSError where it cannot.
        at_death: is told the slot of each that died, before it is replaced.
        at_failure: is called when receiving has ended for good, after the last process did.

    Attributes:
        failure: why receiving ended for good, or empty.
    """

    def __init__(
        self,
        what: str,
        subjects: str,
        count: int,
        start_one: Callable[[int], subprocess.Popen[bytes]],
        *,
        at_death: Callable[[int], None] = lambda _: None,
        at_failure: Callable[[], None],
    ) -> None:
        self.failure = ""
        self._what = what
        self._subjects = subjects
        self._count = count
        self._start_one = start_one
        self._at_death = at_death
        self._at_failure = at_failure
        self._children: list[_Child] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=what, daemon=True)

    @property
    def process_ids(self) -> list[int]:
        """Process ids, those of processes that have died included until they are replaced."""
        with self._lock:
            return [child.process.pid for child in self._children]

    @property
    def alive(self) -> list[int]:
        """Process ids of those that run."""
        with self._lock:
            return [c.process.pid for c in self._children if c.process.poll() is None]

    def start(self) -> None:
        """Start the processes and watch over them.

        Raises:
            OSError: one cannot be started.
        """
        with self._lock:
            for slot in range(self._count):
                self._children.append(_Child(self._start_one(slot)))
        self._watcher.start()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when ``ready`` holds; sooner where receiving failed or that takes too long."""
        deadline = time.monotonic() + _READY_SECONDS
        while not (ready() or self.failure or time.monotonic() > deadline):
            self._stopping.wait(_READY_CHECK_SECONDS)

    def stop(self) -> None:
        """End the processes; they get a moment to finish what they do."""
        self._stopping.set()
        if self._watcher.is_alive() and threading.current_thread() is not self._watcher:
            self._watcher.join()
        self._end(signal.SIGTERM)

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_SECONDS):
            with self._lock:
                dead = [
                    (slot, child)
                    for slot, child in enumerate(self._children)
                    if child.process.poll() is not None
                ]
            if any(child.process.returncode == DISK_FAILED for _, child in dead):
                self.failure = f"the disk failed while {self._subjects} were stored"
                log.critical("%s are not received any more: %s", self._subjects, self.failure)
                # At once: what the others would still acknowledge lies on the same disk.
                self._end(signal.SIGKILL)
                self._at_failure()
                return
            for slot, child in dead:
                self._replace(slot, child)

    def _replace(self, slot: int, child: _Child) -> None:
        log.error("%s ended with %s and is replaced", self._what, child.process.returncode)
        close_lifeline(child.process)
        if time.monotonic() - child.started < _SHORTEST_LIFE_SECONDS:
            # It cannot even start: do not spin.
            self._stopping.wait(_RESTART_DELAY_SECONDS)
        if self._stopping.is_set():
            return
        with self._lock:
            self._at_death(slot)
            try:
                self._children[slot] = _Child(self._start_one(slot))
                return
            except OSError as error:
                # Memory may be short for a moment; the watch comes by again.
                log.error("%s cannot be started: %s", self._what, error.strerror)
        self._stopping.wait(_RESTART_DELAY_SECONDS)

    def _end(self, how: signal.Signals) -> None:
        with self._lock:
            for child in self._children:
                if child.process.poll() is None:
                    child.process.send_signal(how)
            deadline = time.monotonic() + _STOP_SECONDS
            for child in self._children:
                end_child(child.process, max(deadline - time.monotonic(), 0.1))

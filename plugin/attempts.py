"""Attempts at storage commitment in this process: one for each peer at a time, none while closed.

The rows say what is due and which attempt runs; this says what is queued already, so that a sweep
does not fill the queue, and lets an erasure or the end of the node wait for what runs.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dicom_node.line_watch import hang_up

log = logging.getLogger("radloop")

_LOST_SECONDS = 3600.0  # what the queue has not begun by then is queued again
_HOLD_SECONDS = 60.0
_GRACE_SECONDS = 5.0


@dataclass
class _Queued:
    peer: str
    until: float
    begun: bool = False


class Attempts:
    """What is queued and what runs; safe for several threads.

    Args:
        monotonic: seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._queued: dict[tuple[str, int], _Queued] = {}
        self._running = 0
        self._open = True
        self._boot = secrets.token_hex(8)
        self._number = 0

    def queue(self, kind: str, key: int, peer: str) -> str:
        """Note that a row is to be queued; return a name that no attempt ever had, or nothing.

        Nothing: it is queued already, as is another one for the same peer.
        """
        now = self._monotonic()
        with self._changed:
            for known, each in list(self._queued.items()):
                if not each.begun and each.until <= now:
                    del self._queued[known]
            busy = any(
                known[0] == kind and each.peer == peer for known, each in self._queued.items()
            )
            if busy or (kind, key) in self._queued:
                return ""
            self._queued[kind, key] = _Queued(peer, now + _LOST_SECONDS)
            self._number += 1
            return f"{self._boot}:{self._number}"

    @contextmanager
    def running(self, kind: str, key: int) -> Iterator[bool]:
        """Hold what waits for attempts to end; yields whether this one may be made.

        An error passes, and the peer is left alone for a minute: the row may not know of it.
        """
        with self._changed:
            going = self._open
            if going:
                self._running += 1
                if (kind, key) in self._queued:
                    self._queued[kind, key].begun = True
        hold = False
        try:
            yield going
        except BaseException:
            hold = True
            raise
        finally:
            with self._changed:
                queued = self._queued.pop((kind, key), None)
                if hold and queued is not None:
                    until = self._monotonic() + _HOLD_SECONDS
                    self._queued[kind, key] = _Queued(queued.peer, until)
                if going:
                    self._running -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let none begin any more, and wait for those that run.

        After a few seconds their connections are ended; each attempt then ends as one that failed.
        """
        with self._changed:
            self._open = False
            while not self._changed.wait_for(lambda: not self._running, _GRACE_SECONDS):
                hang_up()

    def reopen(self) -> None:
        """Let attempts begin again."""
        with self._changed:
            self._open = True

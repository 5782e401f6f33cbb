"""Imports that run in this process: they can be stopped by a command, and end with the node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from plugin.errors import Permanent

_END_SECONDS = 15.0  # systemd waits 60 for the whole node; a sync of a slow disk fits in


class Going:
    """One import, or trial of one, at work.

    Args:
        abort: ends what its source waits for, from another thread.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        self.key: int | None = None
        """Its row; None for a trial, which has none."""
        self.ended = threading.Event()
        self._abort = abort
        self._stopped = threading.Event()
        self._why = ""

    @property
    def why(self) -> str:
        """By whom or what it was stopped; empty while nothing has."""
        return self._why if self._stopped.is_set() else ""

    def stop(self, why: str) -> None:
        """Have it end before its next piece; what was taken stays."""
        if not self._stopped.is_set():
            self._why = why
            self._stopped.set()
            self._abort()


class ImportDesk:
    """Knows what runs; safe for several threads."""

    def __init__(self) -> None:
        self._going: list[Going] = []
        self._lock = threading.Lock()
        self.closed = False

    @contextmanager
    def going(self, abort: Callable[[], None]) -> Iterator[Going]:
        """Let an import be known here while the block runs.

        Raises:
            Permanent: the node is stopping.
        """
        one = Going(abort)
        with self._lock:
            if self.closed:
                raise Permanent("the node is stopping: import when it runs again")
            self._going.append(one)
        try:
            yield one
        finally:
            with self._lock:
                self._going.remove(one)
            one.ended.set()

    def stop(self, by: str, key: int | None = None) -> list[Going]:
        """Stop one import, or with None everything that runs, trials too; return what was stopped.

        Raises:
            Permanent: nothing of that kind runs here.
        """
        with self._lock:
            found = [each for each in self._going if key in (None, each.key)]
        if not found:
            which = "no import" if key is None else f"no import {key}"
            raise Permanent(f"{which} runs in the node: radloop import list shows them")
        for each in found:
            each.stop(by)
        for each in found:
            each.ended.wait(_END_SECONDS)
        return found

    def close(self) -> None:
        """Take no more, and end what runs; whatever does not end in 15 s is left to the exit."""
        with self._lock:
            self.closed = True
            found = list(self._going)
        for each in found:
            each.stop("the end of the node")
        for each in found:
            each.ended.wait(_END_SECONDS)

"""A log that a peer cannot fill: what is said again and again is said a few times and counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_SECONDS = 60.0
_TIMES = 10


class RepeatFilter(logging.Filter):
    """Lets each message pass ten times a minute and says at the next one how many were left out.

    Messages are told apart by their text before values are filled in, so no peer can make a new
    one. Errors above WARNING always pass.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is written; one that follows silence tells of it."""
        if record.levelno > logging.WARNING:
            return True
        key = record.name, str(record.msg)
        now = self._clock()
        with self._lock:
            began, count = self._seen.get(key, (now, 0))
            left_out = 0
            if now >= began + _SECONDS:
                left_out, began, count = max(count - _TIMES, 0), now, 0
            self._seen[key] = (began, count + 1)
        if left_out:
            record.msg = f"{record.msg} (and {left_out} times more before)"
        return count < _TIMES

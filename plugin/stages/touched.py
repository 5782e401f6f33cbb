"""Which studies a stage must look at again: new ones, grown ones, or all.

What is remembered here saves work and decides nothing: a new process looks at every study.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class TouchedStudies:
    """Study Instance UIDs to look at; in the beginning that is every study."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._touched: set[str] | None = None  # None: every study

    def touch(self, study_instance_uids: Iterable[str]) -> None:
        """Look at these studies again: they are new or have grown."""
        with self._lock:
            if self._touched is not None:
                self._touched |= set(study_instance_uids)

    def touch_all(self) -> None:
        """Look at every study again."""
        with self._lock:
            self._touched = None

    @contextmanager
    def taken(self) -> Iterator[set[str] | None]:
        """Hand out what is touched, None for all; it is touched again where the block fails."""
        with self._lock:
            touched, self._touched = self._touched, set()
        try:
            yield touched
        except BaseException:
            if touched is None:
                self.touch_all()
            else:
                self.touch(touched)
            raise

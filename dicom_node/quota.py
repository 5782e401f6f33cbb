"""How many bytes of unfinished objects each sender may have on our disk at a time."""

from __future__ import annotations

from collections import Counter


class Quota:
    """Counts bytes by sender.

    Args:
        limit: the most that one sender may hold.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()

    def take(self, sender: str, size: int) -> bool:
        """Count ``size`` more bytes; tell whether the sender stays within its limit."""
        held = self._held[sender] + size
        if held:
            # Who holds nothing has no entry: peers may have any number of titles.
            self._held[sender] = held
        return held <= self._limit

    def give_back(self, sender: str, size: int) -> None:
        """Count ``size`` bytes less."""
        self._held[sender] -= size
        if self._held[sender] <= 0:
            del self._held[sender]

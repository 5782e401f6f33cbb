"""Reading an input as choices: whatever it holds means something."""

from __future__ import annotations


class Source:
    """Takes choices from the front of an input; where it ends, every choice is zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """Return the next byte."""
        taken = self.take(1)
        return taken[0] if taken else 0

    def take(self, count: int) -> bytes:
        """Return up to ``count`` bytes."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))

    def sizes(self) -> list[int]:
        """Return sizes of pieces; a byte says how many there are."""
        return [each + 1 for each in self.take(self.byte() % 32)]

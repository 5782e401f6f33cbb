"""Sequences of like length are read together, in shapes that depend on nothing but the length.

The rounding of a product of matrices depends on their shapes. Where a length alone decides the
shape in which it is read, a report's answer does not depend on the reports beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Buckets:
    """How sequences are put together.

    Args:
        step: lengths are padded to a multiple of this.
        most: tokens read at once, padding included; a longer sequence is read alone.
    """

    step: int
    most: int

    def padded(self, length: int) -> int:
        """Return the length to which a sequence is padded, at least one step."""
        return -(-max(1, length) // self.step) * self.step

    def rows(self, padded: int) -> int:
        """Return how many sequences of a padded length are read at once."""
        return max(1, self.most // padded)

    def fill(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield places in ``lengths``, the shortest first, in batches that are padded alike."""
        batch: list[int] = []
        shape = 0
        for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
            padded = self.padded(lengths[place])
            if batch and (padded != shape or len(batch) == self.rows(shape)):
                yield batch
                batch = []
            shape = padded
            batch.append(place)
        if batch:
            yield batch

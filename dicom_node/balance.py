"""How many connections each receiver process holds, seen by all of them: who should accept next.

The kernel wakes whichever process it likes, mostly the same one. Processes that share the counts
leave a new connection to the one that holds the fewest, so that several senders use several cores.
"""

from __future__ import annotations

import mmap
import os
import struct

_COUNT = struct.Struct("=L")
_NOBODY = 0xFFFFFFFF


class Balance:
    """Counts of all processes in shared memory; each process writes its own.

    Args:
        descriptor: of :func:`new_balance`.
        slot: which count is ours.
    """

    def __init__(self, descriptor: int, slot: int) -> None:
        self._slot = slot
        self._memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)

    def publish(self, count: int) -> None:
        """Tell the others how many connections this process holds."""
        _COUNT.pack_into(self._memory, self._slot * _COUNT.size, count)

    def leave(self) -> None:
        """Tell the others not to wait for this process."""
        self.publish(_NOBODY)

    def is_lightest(self) -> bool:
        """Tell whether no other process holds fewer connections."""
        counts = [count for (count,) in _COUNT.iter_unpack(self._memory[:])]
        return bool(counts[self._slot] <= min(counts))

    def everybody_is_there(self) -> bool:
        """Tell whether every process counts."""
        return all(count != _NOBODY for (count,) in _COUNT.iter_unpack(self._memory[:]))


def new_balance(slots: int) -> int:
    """Return a descriptor of shared memory for so many processes, none of which is there yet."""
    descriptor = os.memfd_create("radloop-balance", os.MFD_CLOEXEC)
    os.write(descriptor, _COUNT.pack(_NOBODY) * slots)
    return descriptor

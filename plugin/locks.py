"""One process at a time: locks on open files and folders, which end with whoever holds them."""

from __future__ import annotations

import fcntl
from typing import IO, Any


def take(opened: int | IO[Any], refused: Exception) -> None:
    """Lock an open file or folder for this process alone; closing it gives it back.

    Args:
        opened: file object or descriptor.
        refused: raised where another process holds it.
    """
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise refused from None

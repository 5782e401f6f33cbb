"""The journal of messages in an erasure: segments with a patient's messages must be gone.

A segment goes when it is filed and the listener has begun another one. The listener does that by
itself every few seconds; where none runs, it is done here.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dicom_node.errors import Transient
from dicom_node.mllp.journal import Journal
from plugin.context import Context
from plugin.stages.file_messages import file_waiting

_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.2


def newest_segment(folder: Path) -> int:
    """Return the number of the newest segment that holds anything; 0 where there is none."""
    return max(_filled(folder), default=0)


def dropped_up_to(folder: Path) -> int:
    """Return up to which number no segment holds anything any more."""
    return min(_filled(folder), default=sys.maxsize) - 1


def drop_segments(context: Context) -> int:
    """File and drop what can be dropped; return up to which number no segment is left.

    The caller holds filing still.
    """
    folder = context.folder.messages
    file_waiting(context, context.linking())
    if _filled(folder):
        _end_segment(context)
    return dropped_up_to(folder)


def _end_segment(context: Context) -> None:
    """Begin another segment, or wait a while until the listener has; file what stands before.

    A listener holds the journal for as long as it lives; that of a node that was just killed lets
    it go in a moment.
    """
    folder = context.folder.messages
    newest, deadline = newest_segment(folder), time.monotonic() + _PATIENCE_SECONDS
    while not _begun(folder) and dropped_up_to(folder) < newest and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        file_waiting(context, context.linking())
    file_waiting(context, context.linking())


def _begun(folder: Path) -> bool:
    """Begin a segment unless another process writes the journal; tell whether that was done."""
    try:
        Journal(folder, patience_seconds=0).close()
    except Transient:
        return False
    return True


def _filled(folder: Path) -> list[int]:
    """Return the numbers of the segments that hold anything."""
    found = []
    for path in folder.glob("*.journal"):
        try:
            if path.stem.isdigit() and path.stat().st_size:
                found.append(int(path.stem))
        except FileNotFoundError:
            continue  # dropped since it was listed
    return found

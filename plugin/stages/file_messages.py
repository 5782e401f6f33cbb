"""Stage: what the HL7 listener acknowledged is filed, and its links are decided."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy.exc import OperationalError

from dicom_node.durable import StorageFailed
from dicom_node.errors import Transient
from dicom_node.linking.links import Linking
from dicom_node.messages import file_records, filed_position
from dicom_node.mllp.journal import Position, Record, drop_filed, read_records
from plugin.context import Context

_BATCH = 500
_BATCH_BYTES = 32 * 1024**2
_COMMON_FAILURES = (Transient, StorageFailed, OperationalError, OSError, MemoryError)
"""What no single message is to blame for: all of them wait."""

_log = logging.getLogger(__name__)

_Batch = Sequence[tuple[Position, Record]]


def file_waiting(context: Context, linking: Linking) -> int:
    """File everything that waits in the journal, in batches; return the number of records.

    A crash between the commit and the removal of a filed segment is harmless: the position says
    where to go on. A message that cannot be filed is quarantined, so that those behind it go on.
    """
    with context.database.read() as session:
        position = filed_position(session)
    filed = 0
    while batch := _next_batch(context, position):
        context.profiles.reload_if_changed()
        position = batch[-1][0]
        _file(context, linking, batch)
        filed += len(batch)
    if position is not None:
        drop_filed(context.folder.messages, position)
    return filed


def _file(context: Context, linking: Linking, batch: _Batch, unread: str = "") -> None:
    """File a batch; where that fails, in halves, until the message that fails is alone."""
    try:
        file_records(
            context.database,
            [record for _, record in batch],
            profiles=context.profiles,
            linking=linking,
            clock=context.clock,
            document_text=context.sandbox.document_text,
            position=batch[-1][0],
            unread=unread,
        )
    except _COMMON_FAILURES:
        raise
    except Exception as error:  # a linker may come from anywhere
        if len(batch) > 1:
            half = len(batch) // 2
            _file(context, linking, batch[:half])
            _file(context, linking, batch[half:])
            return
        if unread or batch[0][1].kind != "message":
            raise
        # The class only: the text of an unexpected error may name a patient.
        name = type(error).__name__
        _log.critical("an HL7 message cannot be filed and is quarantined: %s", name)
        _file(context, linking, batch, f"it could not be filed ({name}): radloop hl7 replay")


def _next_batch(context: Context, position: Position | None) -> list[tuple[Position, Record]]:
    batch: list[tuple[Position, Record]] = []
    size = 0
    for place, record in read_records(context.folder.messages, position):
        batch.append((place, record))
        size += len(record.content)
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            break
    return batch

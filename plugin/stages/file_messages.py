"""Stage: what the HL7 listener acknowledged is filed, and its links are decided."""

from __future__ import annotations

from dicom_node.linking.links import Linking
from dicom_node.messages import file_records, filed_position
from dicom_node.mllp.journal import Position, Record, drop_filed, read_records
from plugin.context import Context

_BATCH = 500
_BATCH_BYTES = 32 * 1024**2


def file_waiting(context: Context, linking: Linking) -> int:
    """File everything that waits in the journal, in batches; return the number of records.

    A crash between the commit and the removal of a filed segment is harmless: the position says
    where to go on.
    """
    context.profiles.reload_if_changed()
    with context.database.read() as session:
        position = filed_position(session)
    filed = 0
    while batch := _next_batch(context, position):
        position = batch[-1][0]
        file_records(
            context.database,
            [record for _, record in batch],
            profiles=context.profiles,
            linking=linking,
            clock=context.clock,
            document_text=context.sandbox.document_text,
            position=position,
        )
        filed += len(batch)
    if position is not None:
        drop_filed(context.folder.messages, position)
    return filed


def _next_batch(context: Context, position: Position | None) -> list[tuple[Position, Record]]:
    batch: list[tuple[Position, Record]] = []
    size = 0
    for place, record in read_records(context.folder.messages, position):
        batch.append((place, record))
        size += len(record.content)
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            break
    return batch

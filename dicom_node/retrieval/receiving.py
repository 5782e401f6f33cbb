"""Objects that come over our own association (C-GET): kept as a receiver keeps them.

What is acknowledged is durable, in the same folders and by the same examination as in
:mod:`dicom_node.storage_scp`, and says in its file that this node asked for it. An object is held
in memory until it is whole, so it may be no longer than :data:`GET_OBJECT_BYTES`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from dicom_node.dimse import OUT_OF_RESOURCES
from dicom_node.durable import OutOfSpace, StorageFailed
from dicom_node.errors import Transient
from dicom_node.examination import examine
from dicom_node.file_meta import RETRIEVED
from dicom_node.intake import Intake, Origin

log = logging.getLogger(__name__)

GET_OBJECT_BYTES = 512 * 1024**2
_NOT_ASKED_FOR = 0x0124  # Refused: Not Authorized (PS3.7 C.5.21)


class Receiving:
    """Stores the objects of one C-GET.

    Args:
        intake: where objects go.
        sender: AE title of the archive.
        called: our AE title.
        expected: SOP Instance UIDs that were asked for; None: unknown, everything is taken.
        maximum_object_bytes: of one object; never more than :data:`GET_OBJECT_BYTES`.
        maximum_bytes: of all of them together.
    """

    def __init__(
        self,
        intake: Intake,
        sender: str,
        called: str,
        expected: frozenset[str] | None,
        *,
        maximum_object_bytes: int = GET_OBJECT_BYTES,
        maximum_bytes: int = 64 * 1024**3,
    ) -> None:
        self._intake = intake
        self._sender, self._called = sender, called
        self._expected = expected
        self._left = maximum_bytes
        self.maximum_object_bytes = min(maximum_object_bytes, GET_OBJECT_BYTES)
        self.on_excess: Callable[[str], None] = lambda _reason: None
        """Called once more comes than may."""
        self.kept = self.refused = 0
        self._failure: Exception | None = None

    def store(self, event: Any) -> int:
        """Keep one object; return the status of the response, 0x0000 once it is durable."""
        request = event.request
        if self._expected is not None and str(request.AffectedSOPInstanceUID) not in self._expected:
            self.refused += 1
            return _NOT_ASKED_FOR
        data = request.DataSet.getbuffer()
        self._left -= len(data)
        if self._failure is not None or self._left < 0:
            self.on_excess("the study is larger than it may be")
            self._failure = self._failure or Transient("the study is larger than it may be")
            return OUT_OF_RESOURCES
        try:
            return self._keep(event, data)
        except (OutOfSpace, StorageFailed) as error:
            self._failure = error
            self.on_excess("nothing more can be stored")
            return OUT_OF_RESOURCES

    def check(self) -> None:
        """Raise what kept objects from being stored.

        Raises:
            StorageFailed: the disk failed; a failed sync is never tried again.
            Transient: no room, or the study is larger than it may be.
        """
        if isinstance(self._failure, OutOfSpace):
            raise Transient("there is no room for more objects") from self._failure
        if self._failure is not None:
            raise self._failure

    def _keep(self, event: Any, data: memoryview) -> int:
        origin = Origin(
            sop_class_uid=str(event.request.AffectedSOPClassUID),
            sop_instance_uid=str(event.request.AffectedSOPInstanceUID),
            transfer_syntax_uid=str(event.context.transfer_syntax),
            calling_ae_title=self._sender,
            called_ae_title=self._called,
            way=RETRIEVED,
        )
        incoming = self._intake.begin(origin)
        try:
            incoming.write(data)
            status, reason = examine(incoming, str(event.context.abstract_syntax))
            if reason:
                incoming.set_aside(reason)
                log.warning("object quarantined: %s", reason)
            else:
                incoming.keep()
                self.kept += 1
            return status
        finally:
            incoming.discard()

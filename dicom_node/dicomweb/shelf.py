"""What all requests of the store service share: the store, its limits, whether its disk fails."""

from __future__ import annotations

import logging
import threading

from dicom_node.durable import StorageFailed
from dicom_node.intake import IncomingObject, Intake, Origin
from dicom_node.quota import Quota
from dicom_node.settings import DicomSettings
from dicom_node.sop_classes import negotiable

log = logging.getLogger(__name__)


class Shelf:
    """Opens incoming objects for requests; safe for several threads at once.

    Args:
        intake: where objects go.
        settings: the same limits and rules as for C-STORE.

    Attributes:
        accepts: SOP classes and transfer syntaxes that are taken.
        ae_title: ours, which stored files name as receiver.
        disk_failed: nothing may be acknowledged any more.

    Raises:
        InvalidSettings: the settings accept what cannot be stored.
    """

    def __init__(self, intake: Intake, settings: DicomSettings) -> None:
        self.accepts = negotiable(settings)
        self.ae_title = settings.ae_title
        self.disk_failed = False
        self._intake = intake
        self._settings = settings
        self._unfinished = Quota(settings.unfinished_bytes_per_peer)
        self._lock = threading.Lock()

    @property
    def has_room(self) -> bool:
        """Whether requests should be taken: the file system is above its free-space mark."""
        return self._intake.has_room

    def maximum_object_bytes(self, sender: str) -> int:
        """Return how long an object of a sender may be: the least of its lines in the AE table."""
        own = [
            peer.maximum_object_bytes
            for peer in self._settings.peers
            if peer.ae_title == sender and peer.maximum_object_bytes
        ]
        return min(own, default=self._settings.maximum_object_bytes)

    def begin(self, origin: Origin) -> IncomingObject:
        """Open an object.

        Raises:
            OutOfSpace: no room.
            StorageFailed: the disk failed, now or earlier.
        """
        if self.disk_failed:
            raise StorageFailed("the disk has failed")
        return self._intake.begin(origin)

    def take(self, sender: str, size: int) -> bool:
        """Count bytes of unfinished objects; tell whether the sender stays within its quota."""
        with self._lock:
            return self._unfinished.take(sender, size)

    def give_back(self, sender: str, size: int) -> None:
        """Count ``size`` bytes less."""
        if size:
            with self._lock:
                self._unfinished.give_back(sender, size)

    def fail(self, error: StorageFailed) -> None:
        """Stop for good: a failed sync is never tried again."""
        if not self.disk_failed:
            log.critical("storing stops: %s", error)
        self.disk_failed = True

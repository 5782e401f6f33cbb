"""Service class provider of one receiver process: Storage, Verification, Storage Commitment.

(PS3.4 Annexes A, B and J.)

Objects are kept as they came: the data set is never decoded here. Who may open an association is
decided in :mod:`dicom_node.admission`, the protocol is spoken in :mod:`dicom_node.association`,
bytes become files in :mod:`dicom_node.intake`, and :mod:`dicom_node.reactor` serves everybody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from dicom_node.admission import REJECTIONS, Admission, Applicant
from dicom_node.association import Association
from dicom_node.balance import Balance
from dicom_node.commitment.notices import IncomingNotice, Sender
from dicom_node.connection import Connection, Deadlines
from dicom_node.durable import StorageFailed
from dicom_node.examination import examine
from dicom_node.file_meta import RETRIEVED, ROUTED
from dicom_node.intake import IncomingObject, Origin
from dicom_node.negotiation import (
    AcceptedContext,
    AssociationRequest,
    agree,
)
from dicom_node.quota import Quota
from dicom_node.reactor import Listener, Places, Reactor
from dicom_node.settings import DicomSettings
from dicom_node.sop_classes import negotiable
from dicom_node.storage import DicomStore
from dicom_node.tls import fingerprint
from dicom_node.upper_layer import reject_pdu

log = logging.getLogger(__name__)

_FIRST_PDU_SECONDS = 10.0
_PDU_SECONDS = 10.0
_GRACE_SECONDS = 3.0
_ABORT_SECONDS = 0.5
_TICK_SECONDS = 0.1


class StorageProvider:
    """Receives objects on listening sockets until it is stopped or the disk fails.

    Args:
        listeners: bound, listening sockets, possibly shared with other processes.
        settings: AE title, limits and peers.
        store: where objects go.
        lifeline: a descriptor that becomes readable at its end when the parent is gone, or None.
        balance: the connections of the processes that share the listeners, or None.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        settings: DicomSettings,
        store: DicomStore,
        lifeline: int | None = None,
        balance: Balance | None = None,
    ) -> None:
        self._settings = settings
        self._intake = store.intake
        self._admission = Admission(settings)
        self._negotiable = negotiable(settings)
        self._of_peer: Counter[str] = Counter()  # associations by calling AE title
        self._stopping = threading.Event()
        self.unfinished = Quota(settings.unfinished_bytes_per_peer)
        self.disk_failed = False
        self._reactor = Reactor(
            listeners,
            lambda connection: Association(connection, self._reactor, self),
            Places(
                associations=settings.associations_per_process,
                per_address=settings.connections_per_address,
            ),
            _deadlines(settings),
            lifeline,
            balance,
        )

    @property
    def maximum_pdu_bytes(self) -> int:
        """The longest P-DATA-TF that is offered to peers."""
        return self._settings.maximum_pdu_size

    @property
    def accepts_nothing(self) -> bool:
        """Whether the disk has failed: then nothing may be acknowledged."""
        return self.disk_failed

    def run(self) -> None:
        """Serve until :meth:`stop`, the end of the lifeline or a failed disk; then close."""
        while not (self._stopping.is_set() or self._reactor.orphaned or self.disk_failed):
            self._reactor.step(_TICK_SECONDS, accepting=True)
        self._reactor.stop_accepting()
        self._finish_associations()
        self._reactor.close()

    def stop(self) -> None:
        """Ask :meth:`run` to end; safe in a signal handler."""
        self._stopping.set()

    def _finish_associations(self) -> None:
        """Let running associations finish for a moment, unless the disk has failed."""
        seconds = _ABORT_SECONDS if self.disk_failed else _GRACE_SECONDS
        deadline = time.monotonic() + seconds
        while self._reactor.established and time.monotonic() < deadline:
            self._reactor.step(_TICK_SECONDS, accepting=False)

    def decide(
        self, request: AssociationRequest, connection: Connection
    ) -> tuple[bytes, Mapping[int, AcceptedContext]]:
        """Return the answer to an association request and the contexts that it accepts."""
        refusal = self._admission.refusal(
            _applicant(request, connection),
            associations=self._reactor.established,
            peer_associations=self._of_peer[request.calling_ae_title],
            has_room=self._intake.has_room and not self.disk_failed,
        )
        if refusal:
            # The address is the kernel's word; the title is the peer's, and stays out of the log.
            log.warning("association refused: %s, from %s", refusal, connection.address)
            return reject_pdu(*REJECTIONS[refusal]), {}
        self._of_peer[request.calling_ae_title] += 1
        return agree(
            request,
            self._negotiable.sop_classes,
            self._negotiable.transfer_syntaxes,
            self.maximum_pdu_bytes,
        )

    def maximum_object_bytes(self, request: AssociationRequest, connection: Connection) -> int:
        """Return how long an object of this peer may be."""
        peer = self._admission.peer(_applicant(request, connection))
        own = peer.maximum_object_bytes if peer else 0
        return own or self._settings.maximum_object_bytes

    def way_of(self, move_originator_ae_title: str) -> str:
        """Return how an object comes: what our own C-MOVE brings is not the sender's idea.

        Move Originator Application Entity Title (0000,1030), PS3.7 table 9.3-1.
        """
        ours = move_originator_ae_title.strip(" ") == self._settings.ae_title.strip(" ")
        return RETRIEVED if ours else ROUTED

    def left(self, request: AssociationRequest) -> None:
        """Note that an established association is over."""
        self._of_peer[request.calling_ae_title] -= 1
        if not self._of_peer[request.calling_ae_title]:
            del self._of_peer[request.calling_ae_title]

    def begin(self, origin: Origin) -> IncomingObject:
        """Open an object.

        Raises:
            OutOfSpace: no room.
            StorageFailed: the disk failed, now or earlier.
        """
        if self.disk_failed:
            raise StorageFailed("the disk has failed")
        return self._intake.begin(origin)

    def begin_notice(
        self, kind: str, type_id: int, sender: Sender, transfer_syntax_uid: str
    ) -> IncomingNotice:
        """Open a request or report of storage commitment.

        Raises:
            OutOfSpace: no room.
            StorageFailed: the disk failed, now or earlier.
        """
        if self.disk_failed:
            raise StorageFailed("the disk has failed")
        return IncomingNotice(self._intake, kind, type_id, sender, transfer_syntax_uid)

    def finish(
        self, incoming: IncomingObject | IncomingNotice, abstract_syntax: str
    ) -> tuple[int, str]:
        """Keep an object, request or report durably; return the response's status and a comment.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed.
        """
        if isinstance(incoming, IncomingNotice):
            return incoming.keep()
        status, reason = examine(incoming, abstract_syntax)
        if reason:
            incoming.set_aside(reason)
            log.warning("object quarantined: %s", reason)
        else:
            incoming.keep()
        return status, reason

    def fail(self, error: StorageFailed) -> None:
        """Stop for good: a failed sync is never tried again."""
        if not self.disk_failed:
            log.critical("receiving stops: %s", error)
        self.disk_failed = True


def _applicant(request: AssociationRequest, connection: Connection) -> Applicant:
    certificate = connection.certificate
    return Applicant(
        calling_ae_title=request.calling_ae_title,
        called_ae_title=request.called_ae_title,
        address=connection.address,
        certificate=fingerprint(certificate) if certificate else "",
    )


def _deadlines(settings: DicomSettings) -> Deadlines:
    patience = settings.network_timeout_seconds
    return Deadlines(
        first_pdu=min(_FIRST_PDU_SECONDS, patience),
        pdu=min(_PDU_SECONDS, patience),
        idle=patience,
        unread=patience,
        window=min(3 * _PDU_SECONDS, patience),
        minimum_bytes_per_second=settings.minimum_bytes_per_second,
    )

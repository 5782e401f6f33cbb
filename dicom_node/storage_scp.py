"""Storage and Verification service class provider (PS3.4 Annexes A and B) on one shared socket.

A receiver process runs one :class:`StorageProvider`. Objects are stored as they came: the handler
takes the encoded data set of the request and never decodes it. Connections wait in the lobby of
:mod:`dicom_node.lobby` until their first PDU is here, so a silent peer costs no thread.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from pynetdicom import AE, _config, build_context, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext
from pynetdicom.sop_class import Verification
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.admission import REJECTIONS, Admission, Applicant
from dicom_node.file_meta import is_uid, leading_uids
from dicom_node.lobby import Lobby
from dicom_node.pdu_socket import PduLimits, PduSocket
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore, OutOfSpace, ReceivedObject, StorageFailed

log = logging.getLogger(__name__)

# C-STORE statuses (PS3.4 table B.2-1).
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

_C_STORE_REQUEST = 0x0001  # PS3.7 table E.1-1

_FIRST_PDU_SECONDS = 10.0
_PDU_SECONDS = 10.0
_GRACE_SECONDS = 3.0
_ABORT_SECONDS = 1.0
_TICK_SECONDS = 0.1

# In these the whole data set is compressed: a few bytes could become gigabytes (PS3.5 Annex A.5).
_DEFLATED = frozenset(
    ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
)
TRANSFER_SYNTAXES = frozenset(ALL_TRANSFER_SYNTAXES) - _DEFLATED
STORAGE_SOP_CLASSES = frozenset(
    str(context.abstract_syntax) for context in AllStoragePresentationContexts
)


class StorageProvider:
    """Receives objects on a listening socket until it is stopped or the disk fails.

    Args:
        listener: a bound, listening socket, possibly shared with other processes.
        settings: AE title, limits and peers.
        store: where objects go.
        lifeline: a descriptor that becomes readable at its end when the parent is gone, or None.
    """

    def __init__(
        self,
        listener: socket.socket,
        settings: DicomSettings,
        store: DicomStore,
        lifeline: int | None = None,
    ) -> None:
        _configure_library()
        self._settings = settings
        self._store = store
        self._admission = Admission(settings)
        self._stopping = threading.Event()
        self.disk_failed = False
        self._ae = AE(settings.ae_title)
        self._ae.maximum_pdu_size = settings.maximum_pdu_size
        # Connections that wait for negotiation are not associations: Admission counts those.
        self._ae.maximum_associations = 1_000_000
        self._ae.acse_timeout = _FIRST_PDU_SECONDS
        self._ae.dimse_timeout = settings.network_timeout_seconds
        self._ae.network_timeout = settings.network_timeout_seconds
        self._ae.add_supported_context(Verification)
        self._server = self._ae.make_server(
            listener.getsockname(),
            server_class=_SharedServer,
            listener=listener,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._on_request),
                (evt.EVT_DIMSE_RECV, _abort_nameless_store),
                (evt.EVT_C_ECHO, lambda _event: SUCCESS),
                (evt.EVT_C_STORE, self._on_store),
            ],
        )
        limits = PduLimits(
            maximum_pdu_bytes=settings.maximum_pdu_size,
            maximum_object_bytes=settings.maximum_object_bytes,
            deadline_seconds=min(_PDU_SECONDS, settings.network_timeout_seconds),
            send_timeout_seconds=settings.network_timeout_seconds,
        )
        self._lobby = Lobby(
            listener,
            lambda connection, address: self._admit(PduSocket.adopt(connection, limits), address),
            first_pdu_seconds=min(_FIRST_PDU_SECONDS, settings.network_timeout_seconds),
            lifeline=lifeline,
        )

    def run(self) -> None:
        """Serve until :meth:`stop`, the end of the lifeline or a failed disk; then close."""
        while not self._stopping.is_set() and not self._lobby.orphaned:
            has_place = self._established() < self._settings.associations_per_process
            self._lobby.step(_TICK_SECONDS, eager=has_place)
        self._lobby.close()
        self._end_associations()

    def stop(self) -> None:
        """Ask :meth:`run` to end; safe in a signal handler."""
        self._stopping.set()

    def _admit(self, connection: PduSocket, address: Any) -> None:
        try:
            self._server.finish_request(connection, address)
        except (OSError, RuntimeError) as error:
            # No thread or no descriptor is left; the peer sees a closed connection and retries.
            log.error("a connection could not be served: %s", type(error).__name__)
            connection.close()

    def _established(self) -> int:
        return sum(1 for each in self._ae.active_associations if each.is_established)

    def _established_by(self, calling_ae_title: str) -> int:
        title = calling_ae_title.strip()
        return sum(
            1
            for each in self._ae.active_associations
            if each.is_established and each.requestor.ae_title.strip() == title
        )

    def _end_associations(self) -> None:
        """Let running associations finish for a moment, then abort what is left."""
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._established() and time.monotonic() < deadline and not self.disk_failed:
            time.sleep(_TICK_SECONDS)
        for association in self._ae.active_associations:
            association.abort(block=False)
        deadline = time.monotonic() + _ABORT_SECONDS
        while self._ae.active_associations and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS)

    def _on_request(self, event: Any) -> None:
        """Decide on an association request and offer exactly what its peer proposes."""
        association = event.assoc
        proposed = association.requestor.primitive
        refusal = self._admission.refusal(
            Applicant(
                calling_ae_title=proposed.calling_ae_title,
                called_ae_title=proposed.called_ae_title,
                address=association.requestor.address,
            ),
            associations=self._established(),
            peer_associations=self._established_by(proposed.calling_ae_title),
            has_room=self._store.has_room,
        )
        if refusal:
            log.warning("association refused: %s", refusal)
            association.acse.send_reject(*REJECTIONS[refusal])
            association.kill()
            return
        association.acceptor.supported_contexts = supported_contexts(
            proposed.presentation_context_definition_list
        )

    def _on_store(self, event: Any) -> int:
        """Store an object and return the status of the response, which only a stored one gets."""
        request = event.request
        data_set = request.DataSet
        received = ReceivedObject(
            sop_class_uid=str(request.AffectedSOPClassUID or ""),
            sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
            transfer_syntax_uid=str(event.context.transfer_syntax),
            calling_ae_title=event.assoc.requestor.ae_title.strip(),
            called_ae_title=event.assoc.requestor.primitive.called_ae_title.strip(),
            data=data_set.getbuffer() if data_set else b"",
        )
        try:
            status, reason = examine(received, str(event.context.abstract_syntax))
            if reason:
                self._store.quarantine(received, reason)
                log.warning("object quarantined: %s", reason)
            else:
                self._store.store(received)
            return status
        except OutOfSpace as error:
            log.error("object refused: %s", error)
            return OUT_OF_RESOURCES
        except StorageFailed as error:
            log.critical("receiving stops: %s", error)
            self.disk_failed = True
            self._stopping.set()
            return OUT_OF_RESOURCES


def examine(received: ReceivedObject, abstract_syntax: str) -> tuple[int, str]:
    """Return the C-STORE status and, where the object must not be used, the reason."""
    named = (received.sop_class_uid, received.sop_instance_uid)
    if not all(is_uid(uid) for uid in named):
        return DATA_SET_MISMATCH, "the command holds a UID that is not one"
    if received.sop_class_uid != abstract_syntax:
        return DATA_SET_MISMATCH, "the command is not of the SOP class that was negotiated"
    try:
        stated = leading_uids(received.data, received.transfer_syntax_uid)
    except ValueError as error:
        return CANNOT_UNDERSTAND, f"the data set cannot be understood: {error}"
    if stated is not None and stated != named:
        return DATA_SET_MISMATCH, "the data set is not the object that the command names"
    return SUCCESS, ""


def supported_contexts(proposed: Sequence[PresentationContext]) -> list[PresentationContext]:
    """Return contexts that accept what is proposed, in the order in which the peer prefers it.

    Every storage SOP class and every transfer syntax is taken, but for those that deflate the whole
    data set: objects are kept as sent, so nothing needs to be converted.
    """
    wanted: dict[str, list[str]] = {}
    for context in proposed:
        uid = str(context.abstract_syntax)
        if uid in STORAGE_SOP_CLASSES or uid == Verification:
            syntaxes = wanted.setdefault(uid, [])
            syntaxes += [
                syntax
                for syntax in map(str, context.transfer_syntax)
                if syntax in TRANSFER_SYNTAXES and syntax not in syntaxes
            ]
    return [build_context(uid, syntaxes) for uid, syntaxes in wanted.items() if syntaxes]


def _abort_nameless_store(event: Any) -> None:
    """Abort where a C-STORE request lacks what a response needs; the library would stay silent."""
    command = event.message.command_set
    if command.get("CommandField") == _C_STORE_REQUEST and not all(
        command.get(keyword) for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID")
    ):
        log.warning("association aborted: a request names no object")
        event.assoc.abort(block=False)


class _SharedServer(ThreadedAssociationServer):  # type: ignore[misc]
    """Takes a socket that is already listening, and accepts nothing by itself."""

    def __init__(self, *args: Any, listener: socket.socket, **kwargs: Any) -> None:
        self._listener = listener
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        """Use the inherited socket instead of a new one."""
        self.socket.close()
        self.socket: socket.socket = self._listener
        self.server_address = self._listener.getsockname()

    def server_activate(self) -> None:
        """Do nothing: the socket listens already."""


def _configure_library() -> None:
    """Set what the library only offers as globals of its own process."""
    # Its log lines and its event handlers repeat what a peer sent, identifiers included.
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.STORE_RECV_CHUNKED_DATASET = False
    _config.UNRESTRICTED_STORAGE_SERVICE = False
    # A malformed UID must reach the handler, which keeps the bytes, instead of ending in an abort.
    _config.VALIDATORS["UI"] = lambda _value: (True, "")
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

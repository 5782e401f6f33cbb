"""One association as acceptor: from the request to its end, message by message (PS3.7 and PS3.8).

The bytes are cut into events by :mod:`dicom_node.upper_layer`; an image goes from them straight to
its file. While the disk syncs, nothing is read from this peer, and others are served.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

from dicom_node.association_parties import Line, Provider
from dicom_node.commitment.acceptance import KINDS, refusal
from dicom_node.commitment.notices import IncomingNotice, Sender
from dicom_node.commitment.vocabulary import MAXIMUM_INFORMATION_BYTES, STORAGE_COMMITMENT
from dicom_node.connection import Connection
from dicom_node.dimse import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    OUT_OF_RESOURCES,
    RESOURCE_LIMITATION,
    SUCCESS,
    UNRECOGNISED_OPERATION,
    Command,
    decode_command,
    encode_response,
)
from dicom_node.durable import OutOfSpace, StorageFailed
from dicom_node.intake import IncomingObject, Origin
from dicom_node.negotiation import (
    AcceptedContext,
    AssociationRequest,
    decode_request,
)
from dicom_node.tls import fingerprint
from dicom_node.upper_layer import (
    INVALID_PARAMETER,
    RELEASE_RESPONSE,
    UNEXPECTED_PDU,
    UNSPECIFIED,
    Aborted,
    AssociateRequest,
    Event,
    Fragment,
    ProtocolViolation,
    ReleaseRequest,
    State,
    UpperLayer,
    abort_pdu,
    data_pdus,
)

log = logging.getLogger(__name__)

_MAXIMUM_COMMAND_BYTES = 64 * 1024
_EVENTS_AT_A_TIME = 500  # then others are served: fragments can be as short as a byte
_TOO_LONG = "longer than this node takes, or the quota is used up"
_NO_ROOM = "no room to store the object"


class Association:
    """The conversation over one connection.

    Args:
        connection: carries it.
        line: the loop.
        provider: decides and stores.
    """

    def __init__(self, connection: Connection, line: Line, provider: Provider) -> None:
        self._connection = connection
        self._line = line
        self._provider = provider
        self._layer = UpperLayer(provider.maximum_pdu_bytes)
        self._backlog = b""
        self._accepted: Mapping[int, AcceptedContext] = {}
        self._peer: AssociationRequest | None = None
        self._object_limit = 0
        self._data_bytes = 0  # of the data set in progress, kept or not
        self._held = 0  # bytes of the unfinished object, counted against the sender
        self._inside_command = False
        self._command_bytes = bytearray()
        self._command: Command | None = None  # whose data set is being received
        self._context_id = 0
        self._incoming: IncomingObject | IncomingNotice | None = None
        self._limit = 0  # of the data set in progress
        self._no_room = OUT_OF_RESOURCES  # the status of its response where there is none
        self._refusal = (SUCCESS, "")  # the answer where the data set is not kept
        self._waiting = self._lost = False

    def receive(self, data: memoryview) -> None:
        """Take bytes from the peer; they are only valid during the call."""
        self._converse(data, fresh_bytes=len(data))

    def _converse(self, data: memoryview, fresh_bytes: int) -> None:
        self._layer.supply(data)
        try:
            self._handle_events()
        except ProtocolViolation as violation:
            self._abort(violation.reason, str(violation))
        if self._waiting:
            self._backlog = self._layer.take_back()
        self._connection.progress(
            fresh_bytes,
            pdu=self._layer.unfinished_pdu,
            inside_message=self._inside_command or self._command is not None,
            now=time.monotonic(),
        )

    def _handle_events(self) -> None:
        handled = 0
        while not self._stopped and (event := self._layer.next_event()) is not None:
            self._handle(event)
            handled += 1
            if handled % _EVENTS_AT_A_TIME == 0 and not self._stopped:
                self._wait()
                self._line.defer(lambda: None, lambda _: self._go_on())

    @property
    def _stopped(self) -> bool:
        return self._waiting or self._lost or self._connection.closing

    def _wait(self) -> None:
        """Take nothing from the peer until :meth:`_go_on`."""
        self._waiting = True
        self._line.pause(self._connection)

    def _go_on(self) -> None:
        """Deal with what came before the pause, then read again."""
        self._waiting = False
        if self._stopped:
            return
        self._line.resume(self._connection)
        backlog, self._backlog = self._backlog, b""
        if backlog:
            self._converse(memoryview(backlog), fresh_bytes=0)

    def cut_off(self) -> None:
        """Abort because the peer is late or the process ends."""
        self._abort(UNSPECIFIED, "")

    def lost(self) -> None:
        """Forget what has not been received whole."""
        self._lost = True
        self._drop_incoming()
        if self._peer is not None and self._layer.state is not State.AWAITING_REQUEST:
            self._provider.left(self._peer)
            self._peer = None

    def _handle(self, event: Event) -> None:
        if isinstance(event, Fragment):
            (self._take_command if event.is_command else self._take_data)(event)
        elif isinstance(event, AssociateRequest):
            self._negotiate(event.pdu)
        elif isinstance(event, ReleaseRequest):
            self._line.send(self._connection, RELEASE_RESPONSE)
            self._end()
        elif isinstance(event, Aborted):
            self._end()

    def _negotiate(self, pdu: bytes) -> None:
        request = decode_request(pdu)
        answer, accepted = self._provider.decide(request, self._connection)
        if accepted is not None and answer[0] == 2:
            self._layer.state = State.ESTABLISHED
            self._accepted = accepted
            # Its contexts have had their answer, and can be many.
            self._peer = replace(request, contexts=(), echoed=b"")
            self._object_limit = self._provider.maximum_object_bytes(request, self._connection)
            self._line.establish(self._connection)
        self._line.send(self._connection, answer)
        if self._layer.state is not State.ESTABLISHED:
            self._end()

    def _take_command(self, fragment: Fragment) -> None:
        if self._command is not None:
            raise ProtocolViolation(UNEXPECTED_PDU, "a command where a data set is due")
        if self._inside_command and fragment.context_id != self._context_id:
            raise ProtocolViolation(INVALID_PARAMETER, "a command changes its context")
        if fragment.context_id not in self._accepted:
            raise ProtocolViolation(INVALID_PARAMETER, "a context that was not accepted")
        self._context_id = fragment.context_id
        self._inside_command = not fragment.is_last
        self._command_bytes += fragment.data
        if len(self._command_bytes) > _MAXIMUM_COMMAND_BYTES:
            raise ProtocolViolation(INVALID_PARAMETER, "a command is longer than allowed")
        if fragment.is_last:
            self._begin_message()

    def _begin_message(self) -> None:
        try:
            command = decode_command(self._command_bytes)
        except ValueError as error:
            raise ProtocolViolation(INVALID_PARAMETER, str(error)) from None
        self._command_bytes.clear()
        if command.field == C_CANCEL_RQ:
            return
        self._limit, self._no_room = self._object_limit, OUT_OF_RESOURCES
        accepted = self._accepted[self._context_id]
        if accepted.abstract_syntax == STORAGE_COMMITMENT and self._is_request(command):
            self._begin_notice(command, accepted)
        elif command.field == C_STORE_RQ:
            self._begin_store(command)
        elif command.field == C_ECHO_RQ:
            self._refusal = (SUCCESS, "")
        elif command.is_response:
            raise ProtocolViolation(UNSPECIFIED, "a response that nobody asked for")
        else:
            self._refusal = (UNRECOGNISED_OPERATION, "this node stores and echoes, nothing else")
        if command.has_data_set:
            self._command, self._data_bytes = command, 0
        else:
            self._respond(command, *self._refusal)

    @staticmethod
    def _is_request(command: Command) -> bool:
        return not command.is_response and command.field != C_ECHO_RQ

    def _begin_notice(self, command: Command, accepted: AcceptedContext) -> None:
        self._refusal = refusal(command, accepted.roles)
        peer, certificate = self._peer, self._connection.certificate
        if peer is None:
            raise ProtocolViolation(UNEXPECTED_PDU, "a request without an association")
        if self._refusal[0] != SUCCESS:
            return
        self._limit, self._no_room = MAXIMUM_INFORMATION_BYTES, RESOURCE_LIMITATION
        sender = Sender(
            calling_ae_title=peer.calling_ae_title,
            called_ae_title=peer.called_ae_title,
            address=self._connection.address,
            certificate=fingerprint(certificate) if certificate else "",
        )
        with self._guard():
            self._incoming = self._provider.begin_notice(
                KINDS[command.field], command.type_id, sender, accepted.transfer_syntax
            )

    def _begin_store(self, command: Command) -> None:
        if not (command.sop_class_uid and command.sop_instance_uid and command.has_data_set):
            raise ProtocolViolation(UNSPECIFIED, "a request names no object or has no data set")
        peer = self._peer
        if peer is None:
            raise ProtocolViolation(UNEXPECTED_PDU, "a request without an association")
        origin = Origin(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax_uid=self._accepted[self._context_id].transfer_syntax,
            calling_ae_title=peer.calling_ae_title,
            called_ae_title=peer.called_ae_title,
            way=self._provider.way_of(command.move_originator_ae_title),
        )
        with self._guard():
            self._incoming = self._provider.begin(origin)

    def _take_data(self, fragment: Fragment) -> None:
        command = self._command
        if command is None or fragment.context_id != self._context_id:
            raise ProtocolViolation(UNEXPECTED_PDU, "a data set that no command announced")
        self._data_bytes += len(fragment.data)
        # A data set that is not kept could be endless as well.
        if self._data_bytes > self._limit or not self._within_quota(len(fragment.data)):
            self._refuse_length(command)
            return
        incoming = self._incoming
        if incoming is not None:
            with self._guard():
                incoming.write(fragment.data)
        if not fragment.is_last:
            return
        self._command = None
        self._give_back()
        incoming, self._incoming = self._incoming, None
        # None as well where the disk has just refused its last piece.
        if incoming is None:
            self._respond(command, *self._refusal)
        else:
            self._keep(command, incoming)

    def _within_quota(self, size: int) -> bool:
        if self._incoming is None or self._peer is None:
            return True
        self._held += size
        return self._provider.unfinished.take(self._peer.calling_ae_title, size)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn an error of the disk into the answer; the rest of the object passes unread."""
        try:
            yield
        except OutOfSpace as error:
            log.error("object refused: %s", error)
            self._incoming = None
            self._refusal = (self._no_room, _NO_ROOM)
        except StorageFailed as error:
            self._incoming = None
            self._refusal = (self._no_room, "")
            self._provider.fail(error)

    def _refuse_length(self, command: Command) -> None:
        """Answer at once and end: the rest could be endless."""
        log.warning("object refused: %s", _TOO_LONG)
        self._drop_incoming()
        self._respond(command, self._no_room, _TOO_LONG)
        self._abort(UNSPECIFIED, _TOO_LONG)

    def _keep(self, command: Command, incoming: IncomingObject | IncomingNotice) -> None:
        abstract_syntax, no_room = self._accepted[self._context_id].abstract_syntax, self._no_room
        self._wait()

        def answer(future: Future[tuple[int, str]]) -> None:
            status, comment = _outcome(future, self._provider, no_room)
            if not (self._lost or self._connection.closing):
                self._respond(command, status, comment)
            self._go_on()

        self._line.defer(lambda: self._provider.finish(incoming, abstract_syntax), answer)

    def _respond(self, command: Command, status: int, comment: str = "") -> None:
        room = self._peer.maximum_pdu_bytes if self._peer else 0
        response = encode_response(command, status, comment)
        self._line.send(self._connection, data_pdus(self._context_id, response, room))

    def _abort(self, reason: int, text: str) -> None:
        if self._connection.closing or self._lost:
            return
        if text:
            log.warning("association aborted: %s", text)
        self._line.send(self._connection, abort_pdu(reason))
        self._end()

    def _end(self) -> None:
        self._drop_incoming()
        if not self._lost:
            self._line.end(self._connection)

    def _give_back(self) -> None:
        if self._peer is not None and self._held:
            self._provider.unfinished.give_back(self._peer.calling_ae_title, self._held)
            self._held = 0

    def _drop_incoming(self) -> None:
        incoming, self._incoming = self._incoming, None
        self._command = None
        self._give_back()
        if incoming is not None:
            incoming.discard()


def _outcome(future: Future[tuple[int, str]], provider: Provider, no_room: int) -> tuple[int, str]:
    """Return status and comment of what was kept or not; an error is never a success."""
    try:
        status, comment = future.result()
    except OutOfSpace as error:
        log.error("object refused: %s", error)
        return no_room, _NO_ROOM
    except StorageFailed as error:
        provider.fail(error)
        return no_room, ""
    if status == SUCCESS and provider.accepts_nothing:
        # Another object's sync has failed meanwhile: this disk's word is worth nothing now.
        return no_room, ""
    return status, comment

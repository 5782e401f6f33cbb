"""Requesting an association, plain or with TLS: the users' only door to the network.

The services that use it are beside: :mod:`dicom_node.verification_scu`,
:mod:`dicom_node.storage_scu`, :mod:`dicom_node.query_scu`, :mod:`dicom_node.retrieval`,
:mod:`dicom_node.commitment.asking`.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.presentation import build_context, build_role

from dicom_node.errors import Permanent, Transient
from dicom_node.line_watch import LineWatch, probe
from dicom_node.tls import CheckedSocket

# A path given to send_c_store is then read in pieces and sent undecoded.
_config.STORE_SEND_CHUNKED_DATASET = True
# Identifiers name patients; what is not logged is not decoded either.
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False

_PARTING_SECONDS = 2.0
_LONGEST_PDU = 1024**2
_MOST_WAITING = 256
_WAITING_SECONDS = 30.0
_PAUSE_SECONDS = 0.01
_GRACE_SECONDS = 5.0
ANSWER_BYTES = 16 * 1024**2
"""The longest message that a peer may send where nothing else is said."""

Notification = N_EVENT_REPORT
"""An N-EVENT-REPORT request or response as the library has it."""

Context = tuple[str, Sequence[str]]
"""A SOP Class UID and the transfer syntaxes that are proposed for it; none: little endian."""

# Explicit, then Implicit VR Little Endian: an answer cannot be a deflate bomb.
_MESSAGE_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


class Peer(Protocol):
    """Where a DICOM peer listens; the settings of a node and of an archive are such."""

    @property
    def host(self) -> str:
        """Host name or address."""

    @property
    def port(self) -> int:
        """TCP port."""

    @property
    def ae_title(self) -> str:
        """The AE title that is called."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds: to connect, to associate, for an answer, for any byte.

    A PDU that has begun to come or to go is whole within ``pdu``, or the connection ends, as it
    does once it has lasted ``total``; None: as long as its user goes on. It also ends, within eight
    seconds, once ``stopping`` says that the node is ending.
    """

    connection: float = 10.0
    association: float = 30.0
    response: float = 60.0
    network: float = 60.0
    pdu: float = 60.0
    total: float | None = None
    stopping: Callable[[], bool] = field(default=lambda: False)


class NothingAccepted(Permanent):
    """The peer accepts the association, but none of the services asked for."""


def associate(
    peer: Peer,
    calling_ae_title: str,
    contexts: Iterable[Context],
    timeouts: Timeouts | None = None,
    tls: ssl.SSLContext | None = None,
    *,
    roles: Iterable[tuple[str, bool, bool]] = (),
    store: Callable[[Any], int] | None = None,
    message_bytes: int = ANSWER_BYTES,
    total_bytes: int | None = None,
) -> Any:
    """Open an association.

    Args:
        peer: whom to call.
        calling_ae_title: our AE title.
        contexts: what is proposed, in order.
        timeouts: how long to wait for the peer.
        tls: how to secure the connection; None: plain.
        roles: SOP Class UID and whether we want to be its user and its provider (PS3.7 D.3.3.4);
            without one we are the user.
        store: answers a C-STORE of the peer with its status.
        message_bytes: the longest message that the peer may send; the connection ends beyond it.
        total_bytes: how much it may send on the association, in all; None: any number of messages.

    Raises:
        Transient: the peer cannot be reached or is not the one it should be, or it rejects or
            aborts the association.
        NothingAccepted: it refused every presentation context.
    """
    timeouts = timeouts or Timeouts()
    watch = LineWatch(timeouts.total, timeouts.stopping)
    watch.expect("association", timeouts.connection + timeouts.association + _GRACE_SECONDS)
    try:
        association = _associate(
            peer, calling_ae_title, contexts, timeouts, tls, roles, store,
            _Meter(watch, timeouts, message_bytes, total_bytes),
        )  # fmt: skip
    except BaseException:
        watch.close()
        raise
    watch.met("association")
    watch.follow(association.dul)
    association.line_watch = watch
    return association


def _associate(
    peer: Peer,
    calling_ae_title: str,
    contexts: Iterable[Context],
    timeouts: Timeouts,
    tls: ssl.SSLContext | None,
    roles: Iterable[tuple[str, bool, bool]],
    store: Callable[[Any], int] | None,
    meter: _Meter,
) -> Any:
    entity = _Entity(ae_title=calling_ae_title)
    entity.watch = meter.line
    entity.connection_timeout = timeouts.connection
    entity.acse_timeout = timeouts.association
    entity.dimse_timeout = timeouts.response
    entity.network_timeout = timeouts.network
    security = None if tls is None else _Security(tls, meter.line)
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=[
                build_context(kind, list(syntaxes) or list(_MESSAGE_SYNTAXES))
                for kind, syntaxes in contexts
            ],
            ae_title=peer.ae_title,
            ext_neg=[build_role(uid, user, provider) for uid, user, provider in roles],
            tls_args=None if security is None else (security, peer.host),
            evt_handlers=_handlers(meter, store),
        )
    except OSError as error:
        raise Transient(f"the peer's host cannot be found: {error.strerror}") from error
    if association.is_established:
        _keep_answers(association)
        return association
    entity.forget_failed(association)
    if security is not None:
        security.close()
    raise _failure(association, security)


def _handlers(meter: _Meter, store: Callable[[Any], int] | None) -> list[tuple[Any, Any]]:
    return [
        (evt.EVT_CONN_OPEN, _without_delay),
        (evt.EVT_CONN_OPEN, meter.watch),
        (evt.EVT_DATA_SENT, _acknowledge_soon),
        (evt.EVT_DIMSE_RECV, meter.begin_message),
        *(((evt.EVT_C_STORE, store),) if store is not None else ()),
    ]


def release(association: Any) -> None:
    """Release an association where it still stands; the connection ends in any case."""
    watch: LineWatch = association.line_watch
    watch.expect("release", association.acse_timeout + _GRACE_SECONDS)
    try:
        if association.is_established:
            association.release()
        if association.dul.is_alive():
            association.dul.join(_PARTING_SECONDS)
    finally:
        if association.dul.is_alive():
            watch.cut()
            association.dul.join(_PARTING_SECONDS)
        watch.close()


def abandon(association: Any) -> None:
    """Abort an association without waiting; the connection ends soon whatever the peer does."""
    association.line_watch.expect("abort", _GRACE_SECONDS)
    with suppress(Exception):
        association.abort(block=False)


def _failure(association: Any, security: _Security | None) -> Transient | NothingAccepted:
    """Return why an association was not established."""
    if association.is_rejected:
        primitive = association.acceptor.primitive
        return Transient(f"the peer rejects the association: {primitive.reason_str}")
    if association.rejected_contexts:
        return NothingAccepted("the peer accepts none of the services asked for")
    if security is not None and security.reason:
        return Transient(security.reason)
    return Transient("the peer cannot be reached or ended the association")


class _Entity(AE):  # type: ignore[misc]
    """An AE that closes the socket of a connection that failed, which pynetdicom leaves open."""

    watch: LineWatch
    _connection: Any = None

    def _create_socket(self, *arguments: Any) -> Any:
        created = super()._create_socket(*arguments)
        self._connection = created.socket
        self.watch.know(created.socket)
        return created

    def forget_failed(self, association: Any) -> None:
        """Close the socket once the thread of the association has done with it."""
        if association.dul.is_alive():
            association.dul.join(_PARTING_SECONDS)
        if association.dul.is_alive():
            self.watch.cut()
            association.dul.join(_PARTING_SECONDS)
        if self._connection is not None:
            self._connection.close()


class _Security:
    """Stands where pynetdicom expects a TLS context, and keeps what it hides: why TLS failed."""

    def __init__(self, context: ssl.SSLContext, watch: LineWatch) -> None:
        self._context = context
        self._watch = watch
        self._connection: ssl.SSLSocket | None = None

    def wrap_socket(
        self, connection: socket.socket, server_side: bool, server_hostname: str
    ) -> ssl.SSLSocket:
        """Secure a socket; the handshake follows when it connects."""
        self._connection = self._context.wrap_socket(
            connection, server_side=server_side, server_hostname=server_hostname
        )
        self._watch.know(self._connection)
        return self._connection

    @property
    def reason(self) -> str:
        """What went wrong with TLS, or empty."""
        failure = getattr(self._connection, "failure", None)
        if isinstance(failure, ssl.SSLCertVerificationError):
            reason = getattr(failure, "verify_message", "") or str(failure)
            return f"the peer's certificate is not accepted: {reason}"
        if failure is not None:
            return f"the TLS handshake failed: {failure.reason}"
        if isinstance(self._connection, CheckedSocket) and self._connection.shaken:
            # With TLS 1.3 a peer judges our certificate after our side of the handshake.
            return "the peer ended the connection after the TLS handshake"
        return ""

    def close(self) -> None:
        """Close the connection, which pynetdicom leaves open where the handshake failed."""
        if self._connection is not None:
            self._connection.close()


class _Meter:
    """Ends a connection whose peer sends a PDU or a message that is too long, or stops within one.

    pynetdicom takes whatever length a PDU states, keeps a message until it is whole, and waits for
    the rest of a PDU without end.
    """

    def __init__(
        self, line: LineWatch, timeouts: Timeouts, message_bytes: int, total_bytes: int | None
    ) -> None:
        self.line = line
        """Keeps the deadlines of the connection."""
        self._seconds = timeouts.pdu
        self._message_bytes = message_bytes
        self._left = total_bytes
        self._taken = 0

    def watch(self, event: Any) -> None:
        """Count and time what goes through the socket of a connection that was just opened."""
        connection = event.assoc.dul.socket
        waiting = event.assoc.dimse.msg_queue
        take, give = connection.recv, connection.send

        def recv(number: int) -> Any:
            given = time.monotonic() + _WAITING_SECONDS
            while (
                waiting.qsize() > _MOST_WAITING
                and time.monotonic() < given
                and not self.line.expired
            ):
                time.sleep(_PAUSE_SECONDS)  # TCP then slows the peer down
            self._count(number)
            if waiting.qsize() > 2 * _MOST_WAITING:
                raise OSError("the peer sends more than it may")
            return self._timed("the rest of a PDU", take, number)

        connection.recv = recv
        connection.send = lambda data: self._timed("room for a PDU", give, data)

    def _count(self, number: int) -> None:
        self._taken += number
        if number > _LONGEST_PDU or self._taken > self._message_bytes + _LONGEST_PDU:
            raise OSError("the peer sends more than it may")
        if self._left is not None:
            self._left -= number
            if self._left < 0:
                raise OSError("the peer sends more than it may")

    def _timed(self, what: str, work: Callable[[Any], Any], value: Any) -> Any:
        self.line.expect(what, self._seconds)
        try:
            return work(value)
        finally:
            self.line.met(what)

    def begin_message(self, _event: Any) -> None:
        """Count anew: a message is whole."""
        self._taken = 0


def _keep_answers(association: Any) -> None:
    """Keep the association's own thread from taking the answers that its caller waits for.

    The thread looks for requests of the peer. It may have passed its pause just before a message is
    sent, and then it takes the answer, and the caller waits until its timeout. A peer that we
    called sends no requests, so the thread needs no messages at all.
    """
    take = association.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        return (None, None) if threading.current_thread() is association else take(block)

    association.dimse.get_msg = get_msg


def _without_delay(event: Any) -> None:
    """Send small PDUs at once: with Nagle's algorithm each answer waits for a delayed ACK."""
    connection = event.assoc.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    probe(connection)


def _acknowledge_soon(event: Any) -> None:
    """Acknowledge the coming answer at once; the kernel forgets this wish, so it is repeated.

    A peer that writes header and body of a PDU apart, with Nagle's algorithm on, sends the body
    only when the header was acknowledged: 40 ms lost for each object.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        connection = event.assoc.dul.socket.socket
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

"""The storage user: sends stored files to a peer as they are, and asks the peer what it holds.

Files go out in the transfer syntax in which they lie, read in pieces and never decoded. What a
peer answers is classed by a table (PS3.4 B.2.3, PS3.7 C), so that the caller knows whether trying
again can help.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from dicom_node.dicom_files import StoredFile, find_dicom_files, read_stored_file
from dicom_node.errors import Permanent, Transient
from dicom_node.send_outcomes import Outcome, SendResult, outcome_of

__all__ = [
    "NothingAccepted",
    "Outcome",
    "Peer",
    "SendResult",
    "StorageSender",
    "StudyAnswer",
    "Timeouts",
    "echo",
    "find_dicom_files",
    "find_study_identity",
    "outcome_of",
    "send_instances",
]

# A path given to send_c_store is then read in pieces and sent undecoded.
_config.STORE_SEND_CHUNKED_DATASET = True

_MAXIMUM_CONTEXTS = 128
"""Presentation context ids are the odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""


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
    """How long to wait, in seconds: to connect, to associate, for an answer, for any byte."""

    connection: float = 10.0
    association: float = 30.0
    response: float = 60.0
    network: float = 60.0


class NothingAccepted(Permanent):
    """The peer accepts the association, but none of the services asked for."""


class StorageSender:
    """Sends files over one association that stays open; use it as a context manager.

    Args:
        peer: where to send.
        calling_ae_title: our AE title.
        contexts: pairs of SOP Class UID and Transfer Syntax UID that will be needed; a pair that
            is met only later costs a new association.
        timeouts: how long to wait for the peer.
    """

    def __init__(
        self,
        peer: Peer,
        calling_ae_title: str,
        contexts: Iterable[tuple[str, str]] = (),
        timeouts: Timeouts | None = None,
    ) -> None:
        self._peer = peer
        self._calling_ae_title = calling_ae_title
        self._timeouts = timeouts or Timeouts()
        self._wanted = dict.fromkeys(contexts)
        self._offered: list[tuple[str, str]] = []
        self._refused: set[tuple[str, str]] = set()
        self._association: Any = None
        self._message_id = 0
        self.reachable = True
        """False once the last try to open an association failed."""

    def __enter__(self) -> StorageSender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the association where one is open."""
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._association = None

    def send(self, path: Path) -> SendResult:
        """Send one file; every failure is a result, so that one bad file stops no other."""
        uid = ""
        try:
            stored = read_stored_file(path)
            uid = stored.sop_instance_uid
            self._open_for((stored.sop_class_uid, stored.transfer_syntax_uid))
            status = self._store(stored)
        except Transient as error:
            return SendResult(path, uid, None, Outcome.TRANSIENT, str(error))
        except Permanent as error:
            return SendResult(path, uid, None, Outcome.PERMANENT, str(error))
        outcome, reason = outcome_of(status)
        return SendResult(path, uid, status, outcome, reason)

    def _store(self, stored: StoredFile) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        try:
            answer = self._association.send_c_store(stored.path, self._message_id)
        except ValueError as error:
            raise Permanent("the peer accepts neither the SOP class nor its encoding") from error
        except RuntimeError as error:
            raise Transient("the association ended") from error
        except OSError as error:
            raise Permanent(f"cannot be read: {error.strerror}") from error
        if "Status" not in answer:
            self.close()
            raise Transient("the peer did not answer")
        return int(answer.Status)

    def _open_for(self, context: tuple[str, str]) -> None:
        """Have an association open that offers ``context``, and with it what comes after it."""
        established = self._association is not None and self._association.is_established
        if established and context in self._offered:
            return
        if context in self._refused:
            raise NothingAccepted("the peer accepts neither the SOP class nor its encoding")
        self.close()
        self._wanted.setdefault(context)
        wanted = list(self._wanted)
        start = wanted.index(context) if len(wanted) > _MAXIMUM_CONTEXTS else 0
        self._offered = wanted[start : start + _MAXIMUM_CONTEXTS]
        self._associate()

    def _associate(self) -> None:
        # One context for one encoding: the peer accepts or refuses each by itself.
        requested = [build_context(kind, [syntax]) for kind, syntax in self._offered]
        self.reachable = False
        try:
            self._association = _associate(
                self._peer, self._calling_ae_title, requested, self._timeouts
            )
            self.reachable = True
        except NothingAccepted:
            self._refused.update(self._offered)
            for pair in self._offered:
                del self._wanted[pair]
            self.reachable = True
            raise


def send_instances(
    peer: Peer,
    calling_ae_title: str,
    paths: Iterable[Path],
    timeouts: Timeouts | None = None,
) -> Iterator[SendResult]:
    """Send files in order over as few associations as their kinds allow.

    Once the peer cannot be reached, the remaining files are not tried.

    Yields:
        One result for each path.
    """
    paths = list(paths)
    unreachable = ""
    with StorageSender(peer, calling_ae_title, _contexts_of(paths), timeouts) as sender:
        for path in paths:
            if unreachable:
                yield SendResult(path, "", None, Outcome.TRANSIENT, unreachable)
                continue
            result = sender.send(path)
            unreachable = "" if sender.reachable else result.reason
            yield result


def echo(peer: Peer, calling_ae_title: str, timeouts: Timeouts | None = None) -> None:
    """Verify that the peer answers (C-ECHO, PS3.4 Annex A).

    Raises:
        Transient: it cannot be reached, refuses us, or does not answer with success.
        Permanent: it does not know the verification service.
    """
    requested = [build_context(Verification)]
    association = _associate(peer, calling_ae_title, requested, timeouts or Timeouts())
    try:
        answer = association.send_c_echo()
    except RuntimeError as error:
        raise Transient("the association ended") from error
    finally:
        _end(association)
    if answer.get("Status") != 0x0000:
        raise Transient("the peer did not answer the echo with success")


@dataclass(frozen=True)
class StudyAnswer:
    """What a peer answered about a study.

    Attributes:
        supported: False where the peer refuses the query service; then nothing is known.
        studies: the identifiers of the answers, empty where it does not hold the study.
    """

    supported: bool
    studies: tuple[Dataset, ...] = ()


_QUERIED = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "NumberOfStudyRelatedInstances",
)


def find_study_identity(
    peer: Peer, calling_ae_title: str, study_instance_uid: str, timeouts: Timeouts | None = None
) -> StudyAnswer:
    """Ask the peer whose study this is (C-FIND, Study Root, PS3.4 C.6.2).

    Compare the answer by :func:`dicom_node.sr_identity.identity_conflicts`.

    Raises:
        Transient: the peer cannot be reached or the query failed.
    """
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_instance_uid
    for keyword in _QUERIED:
        setattr(query, keyword, "")
    requested = [build_context(StudyRootQueryRetrieveInformationModelFind)]
    try:
        association = _associate(peer, calling_ae_title, requested, timeouts or Timeouts())
    except NothingAccepted:
        return StudyAnswer(supported=False)
    try:
        return StudyAnswer(True, tuple(_found(association, query)))
    except RuntimeError as error:
        raise Transient("the association ended") from error
    finally:
        _end(association)


_PENDING = (0xFF00, 0xFF01)


def _found(association: Any, query: Dataset) -> Iterator[Dataset]:
    """The pending answers that speak of the study that was asked for, and of no other."""
    model = StudyRootQueryRetrieveInformationModelFind
    status = None
    for answer, identifier in association.send_c_find(query, model):
        status = answer.get("Status")
        found = "" if identifier is None else str(identifier.get("StudyInstanceUID", "")).strip()
        if status in _PENDING and found == query.StudyInstanceUID:
            yield identifier
    if status != 0x0000:
        raise Transient("the peer did not complete the query")


def _contexts_of(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    seen = set()
    for path in paths:
        try:
            stored = read_stored_file(path)
        except Permanent:
            continue  # sending it gives the reason
        pair = (stored.sop_class_uid, stored.transfer_syntax_uid)
        if pair not in seen:
            seen.add(pair)
            yield pair


class _Entity(AE):  # type: ignore[misc]
    """An AE that closes the socket of a connection that failed, which pynetdicom leaves open."""

    _connection: Any = None

    def _create_socket(self, *arguments: Any) -> Any:
        created = super()._create_socket(*arguments)
        self._connection = created.socket
        return created

    def forget_failed(self, association: Any) -> None:
        """Close the socket, where the association has none any more."""
        if self._connection is not None and association.dul.socket.socket is None:
            self._connection.close()


def _associate(
    peer: Peer,
    calling_ae_title: str,
    contexts: list[PresentationContext],
    timeouts: Timeouts,
) -> Any:
    """Open an association.

    Raises:
        Transient: the peer cannot be reached, or rejects or aborts the association.
        NothingAccepted: it refused every presentation context.
    """
    entity = _Entity(ae_title=calling_ae_title)
    entity.connection_timeout = timeouts.connection
    entity.acse_timeout = timeouts.association
    entity.dimse_timeout = timeouts.response
    entity.network_timeout = timeouts.network
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, _without_delay),
                (evt.EVT_DATA_SENT, _acknowledge_soon),
            ],
        )
    except OSError as error:
        raise Transient(f"the peer's host cannot be found: {error.strerror}") from error
    if association.is_established:
        _keep_answers(association)
        return association
    entity.forget_failed(association)
    if association.is_rejected:
        primitive = association.acceptor.primitive
        raise Transient(f"the peer rejects the association: {primitive.reason_str}")
    if association.rejected_contexts:
        raise NothingAccepted("the peer accepts none of the services asked for")
    raise Transient("the peer cannot be reached or ended the association")


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


def _acknowledge_soon(event: Any) -> None:
    """Acknowledge the coming answer at once; the kernel forgets this wish, so it is repeated.

    A peer that writes header and body of a PDU apart, with Nagle's algorithm on, sends the body
    only when the header was acknowledged: 40 ms lost for each object.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        connection = event.assoc.dul.socket.socket
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _end(association: Any) -> None:
    if association.is_established:
        association.release()

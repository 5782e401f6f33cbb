"""Associations that we request for storage commitment: asking archives, reporting to askers.

An archive may report on the association on which it was asked, even before it answers the request.
Its messages are taken by the thread that asked and by no other, and read by our own bounded reader.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dicom_node.commitment.information import Information, data_set_of, decode_information
from dicom_node.commitment.vocabulary import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    MAXIMUM_INFORMATION_BYTES,
    REQUEST_COMMITMENT,
    STORAGE_COMMITMENT,
    TRANSFER_SYNTAXES,
    WELL_KNOWN_INSTANCE,
)
from dicom_node.dimse import (
    INVALID_ARGUMENT,
    NO_SUCH_CLASS,
    NO_SUCH_EVENT_TYPE,
    NO_SUCH_INSTANCE,
    SUCCESS,
)
from dicom_node.errors import Transient
from dicom_node.requestor import (
    NothingAccepted,
    Notification,
    Peer,
    Timeouts,
    associate,
    release,
)

TakeReport = Callable[[Information], bool]
"""Keeps a report durably; False where nobody asked for it."""

_CONTEXT = (STORAGE_COMMITMENT, TRANSFER_SYNTAXES)
_LOOK_SECONDS = 0.05
_MOST_REPORTS = 16  # on one association
_TOTAL_SECONDS = 180.0
_COMMAND_BYTES = 64 * 1024
# Reports of others' questions may come, too; one of them is not kept while the next one comes.
_MOST_BYTES = 8 * MAXIMUM_INFORMATION_BYTES


@dataclass(frozen=True)
class Answer:
    """The status of a response (PS3.7 annex C)."""

    status: int

    @property
    def succeeded(self) -> bool:
        """Whether the peer took what was sent."""
        return self.status == SUCCESS

    @property
    def may_pass(self) -> bool:
        """Whether trying again later may help: processing failure, resource limitation."""
        return self.status in (0x0110, 0x0213)


def send_report(
    peer: Peer,
    calling_ae_title: str,
    information: Information,
    timeouts: Timeouts | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Report to who asked, on an association of our own, as its provider (PS3.4 J.3.3).

    Raises:
        Transient: the peer cannot be reached, rejects us, or does not answer.
        NothingAccepted: it does not offer to be the user of this service.
    """
    roles = [(STORAGE_COMMITMENT, False, True)]
    association = associate(
        peer, calling_ae_title, [_CONTEXT], timeouts or Timeouts(total=_TOTAL_SECONDS), tls,
        roles=roles, message_bytes=_COMMAND_BYTES, total_bytes=_MOST_BYTES,
    )  # fmt: skip
    try:
        answered = association.acceptor.role_selection.get(STORAGE_COMMITMENT)
        # Who answers no selection may take reports all the same; who says no, means it.
        if answered is not None and not answered.scp_role:
            raise NothingAccepted("the peer does not let us be the provider of this service")
        status, _ = association.send_n_event_report(
            data_set_of(information),
            FAILURES_EXIST if information.failed else ALL_COMMITTED,
            STORAGE_COMMITMENT,
            WELL_KNOWN_INSTANCE,
        )
    except RuntimeError as error:
        raise Transient("the association ended") from error
    finally:
        release(association)
    return _answer(status)


def ask(
    peer: Peer,
    calling_ae_title: str,
    information: Information,
    take: TakeReport,
    linger_seconds: float,
    timeouts: Timeouts | None = None,
    tls: ssl.SSLContext | None = None,
    answered: Callable[[Answer], None] = lambda _: None,
) -> Answer:
    """Ask an archive to commit (N-ACTION) and take its report where it comes on the spot.

    Args:
        peer: the archive.
        calling_ae_title: our AE title.
        information: Transaction UID and what is asked about.
        take: called with a report, before it is answered.
        linger_seconds: how long the association stays open for a report.
        timeouts: how long to wait for the peer.
        tls: how to secure the connection; None: plain.
        answered: called with the answer to the request, before the association lingers.

    Raises:
        Transient: the archive cannot be reached, rejects us, or does not answer.
        NothingAccepted: it does not offer the service.
    """
    roles = [(STORAGE_COMMITMENT, True, True)]
    timeouts = timeouts or Timeouts(total=_TOTAL_SECONDS + linger_seconds)
    association = associate(
        peer, calling_ae_title, [_CONTEXT], timeouts, tls, roles=roles,
        message_bytes=MAXIMUM_INFORMATION_BYTES + _COMMAND_BYTES, total_bytes=_MOST_BYTES,
    )  # fmt: skip
    try:
        reports = _Reports(association, take)
        status, _ = association.send_n_action(
            data_set_of(information), REQUEST_COMMITMENT, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
        )
        answer = _answer(status)
        answered(answer)
        reports.serve(linger_seconds if answer.succeeded else 0.0)
    except ValueError as error:
        raise NothingAccepted("the peer does not let us be the user of this service") from error
    except RuntimeError as error:
        raise Transient("the association ended") from error
    finally:
        release(association)
    return answer


def _answer(status: Any) -> Answer:
    if "Status" not in status:
        raise Transient("the peer did not answer")
    return Answer(int(status.Status))


class _Reports:
    """Keeps reports apart from the responses that the caller waits for, and answers them.

    The library would serve a report in a thread of its own while the caller waits, and both would
    use the one association. So it is queued with the responses, and the caller's thread takes it.
    """

    def __init__(self, association: Any, take: TakeReport) -> None:
        self._association = association
        self._take = take
        self._taken = False
        self._left = _MOST_REPORTS
        self._next = association.dimse.get_msg
        association.dimse.get_msg = self._next_response
        queue = association.dimse.msg_queue
        association._serve_request = lambda message, context_id: queue.put((context_id, message))

    def _next_response(self, block: bool = False) -> Any:
        """Return what is no report; reports are answered at once, nothing else is sent meanwhile.

        Nothing comes any more from a peer that sends report after report.
        """
        while self._left:
            context_id, message = self._next(block)
            if not isinstance(message, Notification) or message.MessageID is None:
                return context_id, message
            self._left -= 1
            self._answer(context_id, message)
        return None, None

    def serve(self, seconds: float) -> None:
        """Answer reports until one was taken, the association ends or the time is over."""
        deadline = time.monotonic() + seconds
        while self._association.is_established and not self._taken and self._left:
            # What comes and is no report is nothing that was asked for.
            if self._next_response() == (None, None):
                if time.monotonic() >= deadline:
                    return
                time.sleep(_LOOK_SECONDS)

    def _answer(self, context_id: int, message: Any) -> None:
        response = Notification()
        response.MessageIDBeingRespondedTo = message.MessageID
        response.AffectedSOPClassUID = message.AffectedSOPClassUID
        response.AffectedSOPInstanceUID = message.AffectedSOPInstanceUID
        response.EventTypeID = message.EventTypeID
        response.Status = self._status(context_id, message)
        self._association.dimse.send_msg(response, context_id)

    def _status(self, context_id: int, message: Any) -> int:
        if message.AffectedSOPClassUID != STORAGE_COMMITMENT:
            return NO_SUCH_CLASS
        if message.AffectedSOPInstanceUID != WELL_KNOWN_INSTANCE:
            return NO_SUCH_INSTANCE
        if message.EventTypeID not in (ALL_COMMITTED, FAILURES_EXIST):
            return NO_SUCH_EVENT_TYPE
        contexts = {each.context_id: each for each in self._association.accepted_contexts}
        context, sent = contexts.get(context_id), message.EventInformation
        if context is None or sent is None:
            return INVALID_ARGUMENT
        data = sent.getvalue()
        try:
            if len(data) > MAXIMUM_INFORMATION_BYTES:
                raise ValueError("longer than this node takes")
            found = decode_information(data, str(context.transfer_syntax[0]))
        except ValueError:
            return INVALID_ARGUMENT
        if not self._take(found):
            return INVALID_ARGUMENT
        self._taken = True
        return SUCCESS

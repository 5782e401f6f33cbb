"""An archive that can be asked, and one operation of it: patient, bounded, and cancelled in order.

pynetdicom waits for one answer as long as its time-out says and cannot be interrupted. Here a wait
is cut into short ones, so that a stop or the end of the time becomes a C-CANCEL (PS3.7 9.3.2.3).
"""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from dicom_node.errors import Transient
from dicom_node.requestor import (
    Context,
    NothingAccepted,
    Peer,
    Timeouts,
    abandon,
    associate,
    release,
)

_LOOK_SECONDS = 0.2
_CANCEL_SECONDS = 5.0
_ABORT_SECONDS = 1.0
_FIND_BYTES = 1024**2
_OPERATION = "operation"


class Away(Transient):
    """The archive cannot be reached, or rejects the association: nothing of it can be asked now."""


class Stopped(Transient):
    """We stopped before the archive had answered all."""


@dataclass(frozen=True)
class Archive:
    """Whom to ask and how long to wait.

    Attributes:
        peer: where it listens.
        calling_ae_title: our AE title, which is also where a C-MOVE sends.
        tls: how to secure the connection; None: plain.
        stopping: whether we are ending; asked a few times a second.
        response_seconds: the longest silence of the archive while it works for us.
        total_seconds: the longest that the questions about one study may take, all of them
            together, and again the longest that fetching it may take.
        most_answers: the most answers to one query.
    """

    peer: Peer
    calling_ae_title: str
    tls: ssl.SSLContext | None = None
    stopping: Callable[[], bool] = field(default=lambda: False)
    response_seconds: float = 300.0
    total_seconds: float = 3600.0
    most_answers: int = 20000

    @contextmanager
    def association(
        self, contexts: list[Context], *, message_bytes: int = _FIND_BYTES, **more: Any
    ) -> Iterator[Any]:
        """Hold an association open; what was not answered to its end is aborted.

        Raises:
            Away: it cannot be reached or rejects us.
            Stopped: we are ending.
            NothingAccepted: it refuses every service asked for.
        """
        waits = Timeouts(
            response=self.response_seconds, network=self.total_seconds, stopping=self.stopping
        )
        try:
            opened = associate(
                self.peer,
                self.calling_ae_title,
                contexts,
                waits,
                self.tls,
                message_bytes=message_bytes,
                **more,
            )
        except NothingAccepted:
            raise
        except Transient as error:
            if self.stopping():
                raise Stopped("the node is stopping") from error
            raise Away(str(error)) from error
        try:
            yield opened
        except BaseException:
            abandon(opened)
            raise
        else:
            release(opened)

    def operation(
        self, association: Any, sop_class_uid: str, ends: float | None = None
    ) -> Operation:
        """Return what watches over one operation that is about to start on an association.

        Args:
            association: an open one.
            sop_class_uid: of the service.
            ends: when it is cancelled, by :func:`time.monotonic`; None: after ``total_seconds``.
        """
        ends = time.monotonic() + self.total_seconds if ends is None else ends
        return Operation(self, association, sop_class_uid, ends)


class Operation:
    """Waits for the answers to one C-FIND, C-MOVE or C-GET and cancels it when it must end.

    The connection itself ends where the archive does not end what was cancelled: pynetdicom may
    wait in it, be it for the rest of a PDU or for the archive's word on an abort.
    """

    def __init__(self, archive: Archive, association: Any, sop_class_uid: str, ends: float) -> None:
        self._archive = archive
        self._association = association
        self._sop_class_uid = sop_class_uid
        self._ends = ends
        self._silent_until = self._ends
        self._messages: queue.Queue[Any] = association.dimse.msg_queue
        self.cancelled = ""
        """Why it was cancelled, or empty."""
        self._heard()
        association.line_watch.expect(
            _OPERATION, max(0.0, ends - time.monotonic()) + _CANCEL_SECONDS + _ABORT_SECONDS
        )
        association.dimse.get_msg = self._get

    def cancel(self, reason: str) -> None:
        """Ask the archive to end it; what it does not end in a few seconds is aborted."""
        if self.cancelled:
            return
        self.cancelled = reason
        self._silent_until = self._ends = time.monotonic() + _CANCEL_SECONDS
        self._association.line_watch.expect(_OPERATION, _CANCEL_SECONDS + _ABORT_SECONDS)
        with suppress(RuntimeError, ValueError):
            self._association.send_c_cancel(1, query_model=self._sop_class_uid)

    def look(self) -> None:
        """Cancel where we are ending or the time is up."""
        if self._archive.stopping():
            self.cancel("the node is stopping")
        elif time.monotonic() > self._ends:
            self.cancel("the operation took longer than it may")

    def check(self, status: int | None) -> None:
        """Judge how it ended.

        Raises:
            Stopped: we are ending.
            Transient: the archive fell silent or ended the association.
        """
        if status is not None:
            self._association.line_watch.met(_OPERATION)
        if self._archive.stopping():
            raise Stopped("the node is stopping")
        if status is None:
            raise Transient(self.cancelled or "the archive did not answer to the end")

    def _heard(self) -> None:
        if not self.cancelled:
            silent = time.monotonic() + self._archive.response_seconds
            self._silent_until = min(self._ends, silent)

    def _get(self, block: bool = False) -> Any:
        if threading.current_thread() is self._association:
            return None, None  # the association's own thread must not take our answers
        while True:
            self.look()
            # Answers that come all the time leave no silence, and need not end when cancelled.
            if self.cancelled and time.monotonic() > self._silent_until:
                return self._give_up()
            try:
                message = self._messages.get(block=block, timeout=_LOOK_SECONDS)
            except queue.Empty:
                if block and time.monotonic() <= self._silent_until:
                    continue
                return self._give_up() if block else (None, None)
            self._heard()
            return message

    def _give_up(self) -> tuple[None, None]:
        """Have pynetdicom abort, which waits for the thread that reads: it is soon woken."""
        self._association.line_watch.expect(_OPERATION, _ABORT_SECONDS)
        return None, None

"""The storage user: sends stored files to a peer as they are (PS3.4 Annex B).

Files go out in the transfer syntax in which they lie, read in pieces and never decoded. What a
peer answers is classed by a table (PS3.4 B.2.3, PS3.7 C), so that the caller knows whether trying
again can help.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from dicom_node.dicom_files import StoredFile, read_stored_file
from dicom_node.errors import Permanent, Transient
from dicom_node.requestor import NothingAccepted, Peer, Timeouts, associate, release
from dicom_node.send_outcomes import Outcome, SendResult, outcome_of

_MAXIMUM_CONTEXTS = 128
"""Presentation context ids are the odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""


class StorageSender:
    """Sends files over one association that stays open; use it as a context manager.

    Args:
        peer: where to send.
        calling_ae_title: our AE title.
        contexts: pairs of SOP Class UID and Transfer Syntax UID that will be needed; a pair that
            is met only later costs a new association.
        timeouts: how long to wait for the peer.
        tls: how to secure the connection; None: plain.
    """

    def __init__(
        self,
        peer: Peer,
        calling_ae_title: str,
        contexts: Iterable[tuple[str, str]] = (),
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._peer = peer
        self._calling_ae_title = calling_ae_title
        self._timeouts = timeouts
        self._tls = tls
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
        if self._association is not None:
            release(self._association)
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
        requested = [(kind, (syntax,)) for kind, syntax in self._offered]
        self.reachable = False
        try:
            self._association = associate(
                self._peer, self._calling_ae_title, requested, self._timeouts, self._tls
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
    tls: ssl.SSLContext | None = None,
) -> Iterator[SendResult]:
    """Send files in order over as few associations as their kinds allow.

    Once the peer cannot be reached, the remaining files are not tried.

    Yields:
        One result for each path.
    """
    paths = list(paths)
    unreachable = ""
    with StorageSender(peer, calling_ae_title, _contexts_of(paths), timeouts, tls) as sender:
        for path in paths:
            if unreachable:
                yield SendResult(path, "", None, Outcome.TRANSIENT, unreachable)
                continue
            result = sender.send(path)
            unreachable = "" if sender.reachable else result.reason
            yield result


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

"""Peers for storage commitment, of pynetdicom alone: one that asks, one that is asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel

from tests.builders import uid

CLASS = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDS = 60.0

References = Sequence[tuple[str, str]]
"""Pairs of SOP class and SOP instance."""


@dataclass(frozen=True)
class Report:
    """An N-EVENT-REPORT as it came."""

    event_type: int
    transaction: str
    calling: str
    committed: tuple[tuple[str, str], ...]
    failed: dict[tuple[str, str], int]
    roles: tuple[bool, bool] | None


def action(transaction: str, references: References) -> Dataset:
    """Return Action Information."""
    data_set = Dataset()
    data_set.TransactionUID = transaction
    data_set.ReferencedSOPSequence = DicomSequence([_item(*each) for each in references])
    return data_set


def outcome(
    transaction: str, references: References, failed: dict[tuple[str, str], int]
) -> Dataset:
    """Return Event Information."""
    data_set = action(transaction, references)
    if failed:
        items = [_item(*each) for each in failed]
        for item, reason in zip(items, failed.values(), strict=True):
            item.FailureReason = reason
        data_set.FailedSOPSequence = DicomSequence(items)
    if not references:
        del data_set.ReferencedSOPSequence
    return data_set


def _item(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


def missing(number: int) -> tuple[str, str]:
    """Return an MR instance that nobody ever sent."""
    return MR, uid("missing", number)


@dataclass
class Asker:
    """A modality that asks a node to commit, and listens for its reports."""

    ae_title: str = "MODALITY"
    status: int = 0x0000  # that it gives to reports
    before_answer: Callable[[], None] = lambda: None
    reports: list[Report] = field(default_factory=list)
    _came: threading.Condition = field(default_factory=threading.Condition)
    _server: Any = None

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def listen(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        entity = AE(self.ae_title)
        entity.maximum_associations = 50
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self._server = entity.start_server(
            ("127.0.0.1", port),
            block=False,
            ssl_context=tls,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)],
        )

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def ask(
        self, address: tuple[str, int], transaction: str, references: References, **odd: Any
    ) -> int:
        """Send an N-ACTION; return its status, or -1 where there was no answer."""
        entity = AE(self.ae_title)
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate(*address, ae_title="RADLOOP")
        assert association.is_established
        try:
            status, _ = association.send_n_action(
                odd.get("data_set", action(transaction, references)),
                odd.get("action_type", 1),
                CLASS,
                odd.get("instance", INSTANCE),
            )
        finally:
            association.release()
        return int(status.Status) if "Status" in status else -1

    def wait(self, count: int, seconds: float = SECONDS) -> list[Report]:
        """Wait for so many reports and return all that have come."""
        with self._came:
            self._came.wait_for(lambda: len(self.reports) >= count, seconds)
            return list(self.reports)

    def _take(self, event: Any) -> tuple[int, None]:
        found = event.event_information
        referenced = found.get("ReferencedSOPSequence", ())
        failed = found.get("FailedSOPSequence", ())
        selected = event.assoc.requestor.role_selection.get(StorageCommitmentPushModel)
        report = Report(
            event.event_type,
            str(found.TransactionUID),
            event.assoc.requestor.ae_title,
            tuple(_pair(each) for each in referenced),
            {_pair(each): int(each.FailureReason) for each in failed},
            (selected.scu_role, selected.scp_role) if selected else None,
        )
        with self._came:
            self.reports.append(report)
            self._came.notify_all()
        self.before_answer()
        return self.status, None


def _pair(item: Dataset) -> tuple[str, str]:
    return str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)


@contextmanager
def asker(ae_title: str = "MODALITY") -> Iterator[Asker]:
    """Let a modality listen while the block runs."""
    peer = Asker(ae_title)
    peer.listen()
    try:
        yield peer
    finally:
        peer.close()


def report_to(
    address: tuple[str, int],
    calling: str,
    event_type: int,
    data_set: Dataset | None,
    roles: tuple[bool, bool] | None = (False, True),
) -> int:
    """Send an N-EVENT-REPORT to a node as an archive does later; return its status."""
    entity = AE(calling)
    entity.add_requested_context(StorageCommitmentPushModel)
    selected = [] if roles is None else [build_role(StorageCommitmentPushModel, *roles)]
    association = entity.associate(*address, ae_title="RADLOOP", ext_neg=selected)
    assert association.is_established
    try:
        status, _ = association.send_n_event_report(data_set, event_type, CLASS, INSTANCE)
    finally:
        association.release()
    return int(status.Status) if "Status" in status else -1


@dataclass
class Archive:
    """An archive that is asked to commit, and answers as it is told.

    Attributes:
        reports: "after" the response on the same association, "before" it, "never", or "foreign":
            after it, first under a Transaction UID that nobody used.
        failed: the failure reason of everything; 0 commits to everything.
        status: of the N-ACTION response.
        roles: those that it lets the requestor have; None: the class is not offered.
    """

    reports: str = "after"
    failed: int = 0
    status: int = 0x0000
    roles: tuple[bool, bool] | None = (True, True)
    ae_title: str = "PACS"
    asked: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    _server: Any = None
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Archive:
        entity = AE(self.ae_title)
        entity.add_supported_context("1.2.840.10008.1.1")
        if self.roles is not None:
            user, provider = self.roles
            entity.add_supported_context(
                StorageCommitmentPushModel, scu_role=user, scp_role=provider
            )
        self._server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, self._take)]
        )
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(SECONDS)
        self._server.shutdown()

    def _take(self, event: Any) -> tuple[int, None]:
        information = event.action_information
        transaction = str(information.TransactionUID)
        named = [_pair(each) for each in information.ReferencedSOPSequence]
        self.asked.append(transaction)
        if self.reports == "before":
            self._report(event.assoc, transaction, named)
        elif self.reports in ("after", "foreign"):
            thread = threading.Thread(
                target=self._report_later, args=(event.assoc, transaction, named)
            )
            self._threads.append(thread)
            thread.start()
        return self.status, None

    def _report_later(self, association: Any, transaction: str, named: References) -> None:
        threading.Event().wait(0.2)  # the response to the request goes first
        if self.reports == "foreign":
            self._report(association, "2.25.404", named)
        self._report(association, transaction, named)

    def _report(self, association: Any, transaction: str, named: References) -> None:
        failed = dict.fromkeys(named, self.failed) if self.failed else {}
        data_set = outcome(transaction, [] if failed else named, failed)
        event_type = 2 if failed else 1
        status, _ = association.send_n_event_report(data_set, event_type, CLASS, INSTANCE)
        self.statuses.append(int(status.Status) if "Status" in status else -1)

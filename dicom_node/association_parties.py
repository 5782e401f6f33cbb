"""What an association deals with: the loop that serves its connection, and the provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from dicom_node.commitment.notices import IncomingNotice, Sender
from dicom_node.connection import Connection
from dicom_node.durable import StorageFailed
from dicom_node.intake import IncomingObject, Origin
from dicom_node.negotiation import AcceptedContext, AssociationRequest
from dicom_node.quota import Quota


class Line(Protocol):
    """What an association needs of the loop that serves its connection."""

    def send(self, connection: Connection, data: bytes) -> None:
        """Send bytes, as fast as the peer takes them."""

    def end(self, connection: Connection) -> None:
        """End the connection after what was sent."""

    def pause(self, connection: Connection) -> None:
        """Read nothing for now."""

    def resume(self, connection: Connection) -> None:
        """Read again."""

    def establish(self, connection: Connection) -> None:
        """Count the connection as an association."""

    def defer(self, job: Callable[[], Any], then: Callable[[Future[Any]], None]) -> None:
        """Run ``job`` in a thread, then ``then`` with the finished future in the loop."""


class Provider(Protocol):
    """What an association needs of the service provider."""

    @property
    def maximum_pdu_bytes(self) -> int:
        """The longest P-DATA-TF that is offered to peers."""

    @property
    def accepts_nothing(self) -> bool:
        """Whether the disk has failed: then nothing may be acknowledged."""

    def decide(
        self, request: AssociationRequest, connection: Connection
    ) -> tuple[bytes, Mapping[int, AcceptedContext]]:
        """Return the answer to an association request and the contexts that it accepts."""

    def maximum_object_bytes(self, request: AssociationRequest, connection: Connection) -> int:
        """Return how long an object of this peer may be."""

    def way_of(self, move_originator_ae_title: str) -> str:
        """Return how an object comes that this AE title asked for; empty: nobody did."""

    @property
    def unfinished(self) -> Quota:
        """What senders hold in objects that are not whole."""

    def begin(self, origin: Origin) -> IncomingObject:
        """Open an object; raises OutOfSpace or StorageFailed."""

    def begin_notice(
        self, kind: str, type_id: int, sender: Sender, transfer_syntax_uid: str
    ) -> IncomingNotice:
        """Open a request or report of storage commitment; raises as :meth:`begin`."""

    def finish(
        self, incoming: IncomingObject | IncomingNotice, abstract_syntax: str
    ) -> tuple[int, str]:
        """Keep what came and return the status and a comment; runs in a thread."""

    def left(self, request: AssociationRequest) -> None:
        """Note that an established association is over."""

    def fail(self, error: StorageFailed) -> None:
        """Note that the disk has failed."""

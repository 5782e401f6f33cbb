"""One association with a real provider and store, over a line that exists only in memory.

No socket, no thread and no clock: bytes are handed over by the test, and what the association gives
to a thread runs when the test says so.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.association import Association
from dicom_node.commitment.notices import IncomingNotice
from dicom_node.connection import Connection, Deadlines
from dicom_node.intake import IncomingObject
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from dicom_node.storage_scp import StorageProvider
from tests.raw_dicom import EXPLICIT, VERIFICATION, associate_request

MR = "1.2.840.10008.5.1.4.1.1.4"
CONTEXTS = ((MR, EXPLICIT), (VERIFICATION, "1.2.840.10008.1.2"))
"""Context 1 for images, context 3 for verification."""

# PDU types of answers.
ACCEPTED, REJECTED, DATA, RELEASED, ABORTED = 2, 3, 4, 6, 7


class InventedLine:
    """Keeps what is sent and the jobs that are deferred.

    Args:
        at_once: run deferred jobs before ``defer`` returns.
    """

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once
        self.sent = bytearray()
        self.jobs: deque[tuple[Callable[[], Any], Callable[[Future[Any]], None]]] = deque()
        self.ended = self.paused = self.established = False

    def send(self, connection: Connection, data: bytes) -> None:
        self.sent += data

    def end(self, connection: Connection) -> None:
        connection.end(0.0)
        self.ended = True

    def pause(self, connection: Connection) -> None:
        self.paused = True

    def resume(self, connection: Connection) -> None:
        self.paused = False

    def establish(self, connection: Connection) -> None:
        self.established = True
        connection.established = True

    def defer(self, job: Callable[[], Any], then: Callable[[Future[Any]], None]) -> None:
        self.jobs.append((job, then))
        if self.at_once:
            self.run_jobs()

    def run_jobs(self, limit: int = 1 << 30) -> None:
        """Run deferred jobs, also those that they bring about."""
        while self.jobs and limit:
            limit -= 1
            job, then = self.jobs.popleft()
            future: Future[Any] = Future()
            try:
                future.set_result(job())
            except Exception as error:
                future.set_exception(error)
            then(future)


class CountingProvider(StorageProvider):
    """A provider that remembers what it kept: digests by SOP instance, in order."""

    def __init__(self, settings: DicomSettings, store: DicomStore) -> None:
        super().__init__((), settings, store)
        self.store = store
        self.kept: list[tuple[str, str]] = []
        self.left_count = 0

    def finish(
        self, incoming: IncomingObject | IncomingNotice, abstract_syntax: str
    ) -> tuple[int, str]:
        outcome = super().finish(incoming, abstract_syntax)
        if isinstance(incoming, IncomingObject):
            self.kept.append((incoming.origin.sop_instance_uid, incoming.digest))
        return outcome

    def left(self, request: Any) -> None:
        super().left(request)
        self.left_count += 1

    def fill_disk(self) -> None:
        """Let no byte be free any more, as far as the provider can tell."""
        self.store.intake._minimum_free_bytes = 1 << 62

    def close(self) -> None:
        self._reactor.close()


class _NoSocket:
    def fileno(self) -> int:
        return -1


@dataclass(frozen=True)
class Response:
    """A command set that came back, by element number; ``context_id`` carried it."""

    context_id: int
    command: bytes
    elements: Mapping[int, bytes]

    @property
    def status(self) -> int:
        return int.from_bytes(self.elements[0x0900], "little")

    @property
    def message_id(self) -> int:
        return int.from_bytes(self.elements[0x0120], "little")


class Conversation:
    """A peer that talks to an association."""

    def __init__(self, provider: StorageProvider, *, at_once: bool = True) -> None:
        self.provider = provider
        self.line = InventedLine(at_once=at_once)
        self.connection = Connection(_NoSocket(), "127.0.0.1", Deadlines(), 0.0)  # type: ignore[arg-type]
        self.association = Association(self.connection, self.line, provider)
        self._waiting = bytearray()

    def say(self, *parts: bytes, sizes: Iterable[int] = ()) -> None:
        """Hand bytes over, in pieces of these sizes and then whole; a paused line keeps them."""
        self._waiting += b"".join(parts)
        for size in sizes:
            self._deliver(size)
        self._deliver(len(self._waiting))

    def _deliver(self, size: int) -> None:
        # As the loop does it: nothing is read while paused, nothing is heard after the end.
        if self.line.paused or self.line.ended or not self._waiting or size < 1:
            return
        piece = bytearray(self._waiting[:size])
        del self._waiting[:size]
        self.association.receive(memoryview(piece))
        piece[:] = b"\xaa" * len(piece)  # the buffer belongs to the loop again

    def work(self) -> None:
        """Run what was deferred, and deliver what came meanwhile, until nothing is left."""
        while self.line.jobs:
            self.line.run_jobs(1)
            self._deliver(len(self._waiting))

    def associate(self, contexts: Any = CONTEXTS, **titles: Any) -> int:
        """Ask for an association; return the type of the answer and forget it."""
        names = {"called": "RADLOOP", "calling": "SCANNER"} | titles
        self.say(associate_request(contexts=contexts, **names))
        answer = self.line.sent[0]
        self.line.sent.clear()
        return int(answer)

    def lose(self) -> None:
        """End the connection as the loop does."""
        self.association.lost()

    @property
    def answers(self) -> list[tuple[int, bytes]]:
        """Type and body of each PDU that was sent."""
        found, position = [], 0
        while position < len(self.line.sent):
            kind, length = struct.unpack_from(">BxL", self.line.sent, position)
            position += 6
            found.append((kind, bytes(self.line.sent[position : position + length])))
            position += length
        assert position == len(self.line.sent), "a PDU was sent in part"
        return found

    @property
    def kinds(self) -> list[int]:
        """Types of the PDUs that were sent."""
        return [kind for kind, _ in self.answers]

    @property
    def responses(self) -> list[Response]:
        """The command sets that were sent, put together from their fragments."""
        found: list[Response] = []
        parts = bytearray()
        for kind, body in self.answers:
            position = 0
            while kind == DATA and position < len(body):
                length, context_id, control = struct.unpack_from(">LBB", body, position)
                parts += body[position + 6 : position + 4 + length]
                position += 4 + length
                if control & 2:
                    command = bytes(parts)
                    found.append(Response(context_id, command, dict(_elements(command))))
                    parts.clear()
        return found

    @property
    def statuses(self) -> list[int]:
        """The statuses of all responses in order."""
        return [each.status for each in self.responses]


def _elements(command: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(command):
        _, number, length = struct.unpack_from("<HHL", command, position)
        yield number, command[position + 8 : position + 8 + length]
        position += 8 + length


def new_provider(root: Path, **settings: Any) -> CountingProvider:
    """Return a provider that takes anybody in, with an empty store."""
    store = DicomStore(root)
    store.recover()
    values = {"minimum_free_bytes": 0, "accept_unknown_peers": True} | settings
    return CountingProvider(DicomSettings.model_validate(values), store)


def files(provider: CountingProvider) -> dict[str, int]:
    """Return how many files lie in each folder of the store."""
    counts = {}
    for folder in ("spool", "quarantine", "tmp"):
        with suppress(FileNotFoundError):
            counts[folder] = len(list((provider.store.root / folder).iterdir()))
    return counts

"""Many misbehaving connections from one thread: each says its piece and then stalls or drips."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.raw_dicom import accepted_contexts

_STEP_SECONDS = 0.05
_CONNECT_SECONDS = 3.5  # a full queue of the listener costs a second attempt after one second
_OPENING_SECONDS = 12.0


@dataclass(frozen=True)
class Behaviour:
    """What a member of the crowd does.

    Attributes:
        opening: sent when the connection stands.
        after_acceptance: sent when an A-ASSOCIATE-AC has come.
        drip: sent byte by byte, one each ``interval`` seconds, after that.
        interval: seconds between two bytes of the drip.
        piece: bytes of the drip that go out together.
    """

    opening: bytes = b""
    after_acceptance: bytes = b""
    drip: bytes = b""
    interval: float = 1.0
    piece: int = 1


@dataclass
class Member:
    """A connection of the crowd.

    Attributes:
        behaviour: what it does.
        connection: its socket.
        opened_at: when it connected, monotonic seconds.
        closed_at: when the peer closed it, or None while it is open.
        answer: type of the first PDU that came back, 0 if none.
        body: the bytes of that PDU after its header.
    """

    behaviour: Behaviour
    connection: socket.socket
    opened_at: float
    closed_at: float | None = None
    answer: int = 0
    body: bytes = b""
    received: bytearray = field(default_factory=bytearray)
    dripped: int = 0
    next_drip: float = 0.0

    @property
    def established(self) -> bool:
        """Whether its association was accepted and still stands."""
        return self.answer == 2 and self.closed_at is None

    @property
    def lasted(self) -> float | None:
        """Seconds until the peer closed the connection; None while it is open."""
        return None if self.closed_at is None else self.closed_at - self.opened_at


class Crowd:
    """Opens connections and keeps them as they are told to behave, until it is closed.

    Args:
        address: the victim.
        sources: loopback addresses to come from, taken in turn; empty for the usual one.
    """

    def __init__(self, address: tuple[str, int], sources: Sequence[str] = ()) -> None:
        self._address = address
        self._sources = list(sources) or [""]
        self.members: list[Member] = []
        self.failed = 0
        self._poll = select.epoll()
        self._by_descriptor: dict[int, Member] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, behaviour: Behaviour, count: int = 1) -> list[Member]:
        """Open connections; those that do not stand in time are counted as failed."""
        added: list[Member] = []
        deadline = time.monotonic() + _OPENING_SECONDS
        for number in range(count):
            if time.monotonic() > deadline:
                # The queue of the listener is full: nobody takes connections out of it.
                self.failed += count - number
                break
            source = self._sources[len(self.members) % len(self._sources)]
            try:
                connection = socket.create_connection(
                    self._address, _CONNECT_SECONDS, (source, 0) if source else None
                )
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setblocking(False)
                if behaviour.opening:
                    connection.send(behaviour.opening)
            except OSError:
                self.failed += 1
                continue
            now = time.monotonic()
            member = Member(behaviour, connection, now, next_drip=now + behaviour.interval)
            with self._lock:
                self.members.append(member)
                self._by_descriptor[connection.fileno()] = member
                self._poll.register(connection, select.EPOLLIN | select.EPOLLRDHUP)
            added.append(member)
        return added

    def wait_for_answers(self, members: Sequence[Member], seconds: float) -> list[Member]:
        """Wait until each has an answer or is closed; return those with an association."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(
            not each.answer and each.closed_at is None for each in members
        ):
            time.sleep(_STEP_SECONDS)
        return [each for each in members if each.established]

    def wait_until_closed(self, members: Sequence[Member], seconds: float) -> int:
        """Wait until all are closed by the peer; return how many are still open."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(each.closed_at is None for each in members):
            time.sleep(_STEP_SECONDS)
        return sum(each.closed_at is None for each in members)

    def release_to_caller(self, members: Sequence[Member]) -> list[socket.socket]:
        """Hand over connections; the crowd watches them no more, but closes them at its end."""
        with self._lock:
            for each in members:
                if self._by_descriptor.pop(each.connection.fileno(), None):
                    self._poll.unregister(each.connection)
                each.connection.setblocking(True)
        return [each.connection for each in members]

    def close(self) -> None:
        """Close every connection."""
        self._done.set()
        self._thread.join()
        for each in self.members:
            each.connection.close()
        self._poll.close()

    def _run(self) -> None:
        while not self._done.is_set():
            for descriptor, _ in self._poll.poll(_STEP_SECONDS):
                with self._lock:
                    member = self._by_descriptor.get(descriptor)
                if member is not None:
                    self._read(member)
            now = time.monotonic()
            with self._lock:
                members = list(self._by_descriptor.values())
            for member in members:
                if member.behaviour.drip and now >= member.next_drip:
                    self._drip(member, now)

    def _read(self, member: Member) -> None:
        try:
            data = member.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._closed(member)
            return
        if member.answer:
            return
        member.received += data
        if len(member.received) < 6:
            return
        length = int.from_bytes(member.received[2:6], "big")
        if len(member.received) < 6 + length:
            return
        member.answer, member.body = member.received[0], bytes(member.received[6:])
        if member.answer == 2 and member.behaviour.after_acceptance:
            self._send(member, member.behaviour.after_acceptance)

    def _drip(self, member: Member, now: float) -> None:
        drip, size = member.behaviour.drip, member.behaviour.piece
        start = member.dripped % len(drip)
        member.dripped += size
        member.next_drip = now + member.behaviour.interval
        self._send(member, drip[start : start + size])

    def _send(self, member: Member, data: bytes) -> None:
        try:
            member.connection.send(data)
        except BlockingIOError:
            return
        except OSError:
            self._closed(member)

    def _closed(self, member: Member) -> None:
        with self._lock:
            if member.closed_at is None:
                member.closed_at = time.monotonic()
            if self._by_descriptor.pop(member.connection.fileno(), None):
                self._poll.unregister(member.connection)


def acceptances(members: Sequence[Member]) -> Iterator[dict[int, int]]:
    """Return the results by context id of those that were accepted."""
    for each in members:
        if each.answer == 2:
            yield accepted_contexts(each.body)

"""The loop of a receiver process: every connection in one epoll set, no thread for any of them.

Several processes watch the same listening sockets. Reading, hashing and writing happen here; only
syncs, which wait for the disk, are given to a few threads. However many peers are silent or slow,
those that speak are served at once.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from dicom_node.balance import Balance
from dicom_node.connection import Connection, Deadlines

log = logging.getLogger(__name__)

_BUFFER_BYTES = 256 * 1024
_SYNC_THREADS = 4
_CHECK_SECONDS = 0.1
_RELUCTANT_SECONDS = 0.01  # how soon a process looks again whether it should accept
_TURNED_AWAY = 16  # newcomers that a full process deals with at a time
_SHORT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_SHORT_SECONDS = 0.5
_DRAINED_BYTES = 1024**2  # of a peer that goes on sending after the end


class Conversation(Protocol):
    """What is spoken over a connection."""

    def receive(self, data: memoryview) -> None:
        """Take bytes; they are only valid during the call."""

    def cut_off(self) -> None:
        """Tell the peer that it is cut off for being late or because the process ends."""

    def lost(self) -> None:
        """Forget everything: the connection is gone."""


@dataclass(frozen=True)
class Listener:
    """A listening socket; with a context, what it accepts speaks TLS."""

    stream: socket.socket
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Places:
    """How many connections one process holds.

    Attributes:
        associations: established ones; where so many are, other processes are left to accept.
        waiting: not yet established; the oldest makes room for a new one.
        per_address: of one IP address, established or not; the oldest that waits makes room.
    """

    associations: int
    waiting: int = 512
    per_address: int = 256


@dataclass
class _Guest:
    connection: Connection
    conversation: Conversation
    events: int = 0
    drained: int = 0


class Reactor:
    """Accepts connections and lets each converse until it ends, is late or breaks.

    Args:
        listeners: listening sockets, possibly shared with other processes.
        converse: makes the conversation of a new connection.
        places: how many connections are held.
        deadlines: what each peer is held to.
        lifeline: a descriptor that becomes readable at its end when the parent is gone, or None.
        balance: the connections of the processes that share the listeners, or None.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        converse: Callable[[Connection], Conversation],
        places: Places,
        deadlines: Deadlines,
        lifeline: int | None = None,
        balance: Balance | None = None,
    ) -> None:
        self._balance = balance
        self._listeners = {each.stream.fileno(): each for each in listeners}
        self._converse = converse
        self._places = places
        self._deadlines = deadlines
        self._lifeline = lifeline
        self._guests: dict[int, _Guest] = {}  # by descriptor, in order of arrival
        self._addresses: Counter[str] = Counter()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._ready: deque[_Guest] = deque()  # bytes wait inside TLS
        self._done: deque[Callable[[], None]] = deque()
        self._threads = ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="sync")
        self._watching = False
        self._checked = self._short_until = 0.0
        self.orphaned = False
        self.established = 0
        """How many associations are held."""
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, select.EPOLLIN)
        if lifeline is not None:
            self._poll.register(lifeline, select.EPOLLIN | select.EPOLLHUP)
        for each in listeners:
            each.stream.setblocking(False)
        # Only now: whoever waits until every process is there counts on a loop that stands.
        self._publish()

    @property
    def connections(self) -> int:
        """How many connections are held, whatever their state."""
        return len(self._guests)

    def step(self, seconds: float, *, accepting: bool) -> None:
        """Wait up to ``seconds`` for something to happen and deal with it."""
        eager = accepting and self._should_accept()
        self._watch(eager)
        if accepting and not eager:
            seconds = min(seconds, _RELUCTANT_SECONDS)
        for descriptor, events in self._poll.poll(0 if self._ready else seconds):
            self._dispatch(descriptor, events)
        for guest in [self._ready.popleft() for _ in range(len(self._ready))]:
            self._read(guest)
        # What these bring about waits for the next turn, or one peer could keep the loop to itself.
        for then in [self._done.popleft() for _ in range(len(self._done))]:
            then()
        if accepting and not eager:
            # Whoever should accept may be busy, or everybody full: somebody has to.
            self._accept_several()
        self._cut_off_late()

    def _should_accept(self) -> bool:
        if self._is_short or self.established >= self._places.associations:
            return False
        return self._balance is None or self._balance.is_lightest()

    @property
    def _is_short(self) -> bool:
        return time.monotonic() < self._short_until

    def _accept_several(self) -> None:
        if self._is_short:
            return
        for listener in self._listeners.values():
            for _ in range(_TURNED_AWAY):
                if not self._accept(listener):
                    break

    def defer(self, job: Callable[[], Any], then: Callable[[Future[Any]], None]) -> None:
        """Run ``job`` in a thread and ``then`` in the loop, with the finished future."""

        def finished(future: Future[Any]) -> None:
            self._done.append(lambda: then(future))
            with suppress(BlockingIOError):
                # A full counter wakes the loop just as well.
                os.eventfd_write(self._wake, 1)

        self._threads.submit(job).add_done_callback(finished)

    def establish(self, connection: Connection) -> None:
        """Give a connection the place of an association."""
        connection.established = True
        self.established += 1

    def pause(self, connection: Connection) -> None:
        """Read nothing from a connection until :meth:`resume`."""
        connection.paused = True
        self._interest(self._guest_of(connection))

    def resume(self, connection: Connection) -> None:
        """Read again, if the connection is still there."""
        guest = self._guest_of(connection)
        if guest is None:
            return
        connection.paused = False
        connection.resumed(time.monotonic())
        self._interest(guest)
        if connection.has_more():
            self._ready.append(guest)

    def send(self, connection: Connection, data: bytes) -> None:
        """Send bytes, as fast as the peer takes them."""
        try:
            connection.write(data, time.monotonic())
        except OSError:
            self._drop(self._guest_of(connection))
        else:
            self._interest(self._guest_of(connection))

    def end(self, connection: Connection) -> None:
        """End a connection after what was sent; the peer's close is awaited for a moment."""
        connection.end(time.monotonic())
        if not connection.wants_to_write:
            self._half_close(connection)

    def stop_accepting(self) -> None:
        """Close our copies of the listening sockets: a successor may bind their ports."""
        self._watch(False)
        for listener in self._listeners.values():
            listener.stream.close()
        self._listeners.clear()

    def close(self) -> None:
        """Drop every connection."""
        if self._balance is not None:
            self._balance.leave()
        for guest in list(self._guests.values()):
            guest.conversation.cut_off()
            self._drop(guest)
        self._threads.shutdown(wait=True)
        self._poll.close()
        os.close(self._wake)

    def _guest_of(self, connection: Connection) -> _Guest | None:
        """Return who holds a connection; its descriptor may be another's by now."""
        guest = self._guests.get(connection.descriptor)
        return guest if guest is not None and guest.connection is connection else None

    def _watch(self, eager: bool) -> None:
        if eager == self._watching:
            return
        for descriptor in self._listeners:
            if eager:
                # EXCLUSIVE: a new connection wakes one of the processes, not all of them.
                self._poll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            else:
                self._poll.unregister(descriptor)
        self._watching = eager

    def _dispatch(self, descriptor: int, events: int) -> None:
        if descriptor in self._listeners:
            self._accept(self._listeners[descriptor])
        elif descriptor == self._wake:
            os.eventfd_read(self._wake)
        elif descriptor == self._lifeline:
            self.orphaned = not os.read(descriptor, 1)
        elif (guest := self._guests.get(descriptor)) is not None:
            if events & select.EPOLLOUT:
                self._flush(guest)
            if events & ~select.EPOLLOUT and descriptor in self._guests:
                self._read(guest)

    def _accept(self, listener: Listener) -> bool:
        """Accept a connection, if one waits; tell whether one did."""
        try:
            stream, name = listener.stream.accept()
        except OSError as error:
            # Another process was faster, the peer has left, or descriptors are short. Those that
            # wait would wake the loop again and again.
            if error.errno in _SHORT:
                log.error("no connection can be accepted: %s", errno.errorcode[error.errno])
                self._short_until = time.monotonic() + _SHORT_SECONDS
            return False
        self._seat(stream, str(name[0]), listener.tls)
        return True

    def _seat(self, stream: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        if not self._make_room(address):
            log.warning("connection refused: its address holds too many associations")
            stream.close()
            return
        try:
            stream.setblocking(False)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                stream = tls.wrap_socket(stream, server_side=True, do_handshake_on_connect=False)
        except OSError:
            # The peer has left already.
            stream.close()
            return
        connection = Connection(stream, address, self._deadlines, time.monotonic())
        guest = _Guest(connection, self._converse(connection))
        self._guests[connection.descriptor] = guest
        self._addresses[address] += 1
        self._publish()
        self._interest(guest)

    def _publish(self) -> None:
        if self._balance is not None:
            self._balance.publish(len(self._guests))

    def _make_room(self, address: str) -> bool:
        """Drop the connection that has waited longest where too many wait; tell if there is room.

        Who speaks at once is never the one that has waited longest, so the living get through
        even from an address that silent peers share.
        """
        if self._addresses[address] >= self._places.per_address:
            waiting = self._longest_waiting(lambda each: each.address == address)
            if waiting is None:
                return False
            self._drop(waiting)
        elif len(self._guests) - self.established >= self._places.waiting:
            self._drop(self._longest_waiting(lambda _each: True))
        return True

    def _longest_waiting(self, concerned: Callable[[Connection], bool]) -> _Guest | None:
        return next(
            (
                guest
                for guest in self._guests.values()
                if not guest.connection.established and concerned(guest.connection)
            ),
            None,
        )

    def _interest(self, guest: _Guest | None) -> None:
        """Ask for the events that the connection waits for now."""
        if guest is None:
            return
        connection = guest.connection
        wanted = 0 if connection.paused else select.EPOLLIN | select.EPOLLRDHUP
        if connection.wants_to_write:
            wanted |= select.EPOLLOUT
        if wanted == guest.events:
            return
        # Out of the set altogether: a reset would be reported for ever, wanted or not.
        if not wanted:
            self._poll.unregister(connection.descriptor)
        elif guest.events:
            self._poll.modify(connection.descriptor, wanted)
        else:
            self._poll.register(connection.descriptor, wanted)
        guest.events = wanted

    def _read(self, guest: _Guest) -> None:
        connection = guest.connection
        if connection.paused or self._guests.get(connection.descriptor) is not guest:
            return
        try:
            if connection.shaking_hands:
                connection.shake_hands()
                return
            count = connection.read_into(self._buffer)
        except ssl.SSLError as error:
            log.warning("TLS refused from %s: %s", connection.address, type(error).__name__)
            self._drop(guest)
            return
        except OSError:
            self._drop(guest)
            return
        if count == 0:
            self._drop(guest)
        elif count is not None and connection.closing:
            guest.drained += count
            if guest.drained > _DRAINED_BYTES:
                self._drop(guest)
        elif count is not None:
            self._hand_over(guest, count)
        if connection.has_more() and connection.descriptor in self._guests:
            self._ready.append(guest)

    def _hand_over(self, guest: _Guest, count: int) -> None:
        try:
            guest.conversation.receive(self._buffer[:count])
        except Exception as error:  # noqa: BLE001 - one peer must never end the service of all
            log.error("a connection was dropped after an error of ours: %s", type(error).__name__)
            self._drop(guest)

    def _flush(self, guest: _Guest) -> None:
        connection = guest.connection
        try:
            connection.flush(time.monotonic())
        except OSError:
            self._drop(guest)
            return
        self._interest(guest)
        if connection.closing and not connection.wants_to_write:
            self._half_close(connection)

    def _half_close(self, connection: Connection) -> None:
        # Closing at once would answer bytes still on their way with a reset, and a reset may take
        # our last answer from the peer's hands.
        with suppress(OSError):
            connection.stream.shutdown(socket.SHUT_WR)

    def _cut_off_late(self) -> None:
        now = time.monotonic()
        if now < self._checked + _CHECK_SECONDS:
            return
        self._checked = now
        for guest in list(self._guests.values()):
            reason = guest.connection.late(now)
            if not reason:
                continue
            if not guest.connection.closing:
                log.warning("connection ended: %s", reason)
                guest.conversation.cut_off()
            if guest.connection.late(now):
                self._drop(guest)

    def _drop(self, guest: _Guest | None) -> None:
        if guest is None or self._guests.get(guest.connection.descriptor) is not guest:
            return
        connection = guest.connection
        del self._guests[connection.descriptor]
        self._publish()
        self._addresses[connection.address] -= 1
        if not self._addresses[connection.address]:
            del self._addresses[connection.address]
        if guest.events:
            self._poll.unregister(connection.descriptor)
        self.established -= connection.established
        connection.close()
        guest.conversation.lost()

"""The MLLP listener: every message is in the journal, synced, before it is acknowledged.

It runs in a process of its own and knows no database. While the disk syncs one group of messages,
the next gathers, is checked and gets its answers prepared; one sync serves all that waits. Nothing
a peer does stops it from accepting the next connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from dicom_node.accepting import Acceptor, ListeningSocket, connect
from dicom_node.database import Clock, utc_now
from dicom_node.doorkeeper import Doorkeeper
from dicom_node.durable import OutOfSpace, storage_error
from dicom_node.errors import DicomNodeError
from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.registry import Profiles
from dicom_node.hl7.batches import batch_messages, is_batch
from dicom_node.hl7.envelope import Envelope, read_envelope
from dicom_node.hl7.text import ContentFault
from dicom_node.mllp.checking import fault_of
from dicom_node.mllp.conversation import Conversation
from dicom_node.mllp.framing import Event, Fault, Frame, Refused
from dicom_node.mllp.journal import Journal
from dicom_node.mllp.received import (
    Received,
    may_send,
    received_message,
    received_refusal,
    turned_away,
)
from dicom_node.settings import Hl7Settings

_log = logging.getLogger(__name__)

_GROUP_BYTES = 32 * 1024**2
_WAITING_BYTES = 128 * 1024**2
_UNFINISHED_BYTES = 256 * 1024**2
_LARGE = 256 * 1024  # a message of this size is checked beside the loop
_IDLE_SECONDS = 3600.0
_LINGER_SECONDS = 2.0
_ROTATE_SECONDS = 2.0  # of silence
_LONGEST_SEGMENT_SECONDS = 5.0  # a busy one ends too, so that what was filed can go
_PROFILES_SECONDS = 1.0
_ATTEND_SECONDS = 0.25
_FINISH_SECONDS = 0.005


_Asked = tuple[Conversation, Received]
_UNREADABLE = ContentFault("MSH", 0, 207, "the message could not be read")


class Listener:
    """Accepts connections and keeps what they send.

    Args:
        settings: caps and deadlines.
        journal: where messages are kept; the listener closes it.
        sockets: that are listened on; the listener closes them.
        profiles: how each sender is read and answered, and where it may send from.
        folder: on the file system whose free space counts.
        clock: gives the time of receipt.
        ready: called once connections are accepted.

    Attributes:
        failure: why nothing is received any more; empty while all is well.
    """

    def __init__(
        self,
        settings: Hl7Settings,
        journal: Journal,
        sockets: Mapping[str, ListeningSocket],
        profiles: Profiles,
        folder: Path,
        clock: Clock = utc_now,
        ready: Callable[[], object] | None = None,
    ) -> None:
        self.failure = ""
        self._settings = settings
        self._journal = journal
        self._acceptor = Acceptor(sockets.values(), self._admit, "HL7 connection")
        self._profiles = profiles
        self._folder = folder
        self._clock = clock
        self._ready = ready
        self._door: Doorkeeper[Conversation] = Doorkeeper(
            settings.maximum_connections, settings.connections_per_address
        )
        self._waiting: list[_Asked] = []
        self._waiting_bytes = 0
        self._owed: tuple[bytes, ...] = ()
        self._committing = self._stopping = False
        self._appended_at = self._rotated_at = self._profiles_at = 0.0
        self._opening: dict[asyncio.Task[None], Conversation] = {}
        self._checks: set[asyncio.Task[None]] = set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set or the disk fails; what waits then still gets its answer."""
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="hl7-journal")
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="hl7-check")
        self._acceptor.start()
        if self._ready is not None:
            self._ready()
        try:
            while not stop.is_set():
                self._attend()
                try:
                    seconds = min(_ATTEND_SECONDS, self._settings.frame_deadline_seconds / 4)
                    await asyncio.wait_for(stop.wait(), seconds)
                except TimeoutError:
                    continue
        finally:
            await self._finish()

    # What a conversation calls.

    @property
    def overloaded(self) -> bool:
        """Whether more waits to be stored than memory should hold."""
        return self._waiting_bytes > _WAITING_BYTES

    def opened(self, conversation: Conversation) -> None:
        """The connection stands, its TLS handshake included."""
        if self._stopping:
            conversation.close()

    def left(self, conversation: Conversation) -> None:
        """The connection has ended."""
        self._door.left(conversation)

    def event(self, conversation: Conversation, event: Event) -> None:
        """Take a frame, or what arrived of a refused stream."""
        if isinstance(event, Refused):
            address, reason = conversation.address, event.fault.value
            _log.warning("an HL7 stream of %s was refused: %s", address, reason)
            conversation.is_refused()
            made = received_refusal(
                event,
                conversation.last,
                self._profile_of(read_envelope(event.content)),
                self._clock(),
                address,
            )
            self._keep(conversation, made)
        elif isinstance(event, Frame):
            self._message(conversation, event.content)

    # From frames to groups.

    def _message(self, conversation: Conversation, content: bytes) -> None:
        """Take a message, or each message of a batch as if it had come in a frame of its own."""
        if is_batch(content) and (messages := _messages_of(content)):
            for each in messages:
                self._message(conversation, each)
            return
        envelope = read_envelope(content)
        profile = self._profile_of(envelope)
        if not may_send(
            profile.networks, profile.certificates, conversation.address, conversation.certificate
        ):
            _log.warning("a message from %s names a sender that may not", conversation.address)
            made = turned_away(content, envelope, profile, self._clock(), conversation.address)
            self._keep(conversation, made)
        elif len(content) < _LARGE:
            fault = _fault_of(content, envelope, profile)
            self._checked(conversation, content, envelope, profile, fault)
        else:
            conversation.checking = True
            _start(self._check_large(conversation, content, envelope, profile), self._checks)

    async def _check_large(
        self, conversation: Conversation, content: bytes, envelope: Envelope, profile: FeedProfile
    ) -> None:
        fault = await self._loop.run_in_executor(
            self._checker, _fault_of, content, envelope, profile
        )
        self._checked(conversation, content, envelope, profile, fault)
        conversation.checked()

    def _checked(
        self,
        conversation: Conversation,
        content: bytes,
        envelope: Envelope,
        profile: FeedProfile,
        fault: ContentFault | None,
    ) -> None:
        address = conversation.address
        made = received_message(content, envelope, profile, fault, self._clock(), address)
        self._keep(conversation, made)

    def _profile_of(self, envelope: Envelope) -> FeedProfile:
        return self._profiles.of(envelope.sender)

    def _keep(self, conversation: Conversation, received: Received) -> None:
        """Let it wait for the next sync."""
        conversation.handed_over(received)
        self._waiting.append((conversation, received))
        self._waiting_bytes += received.size
        if not self._committing:
            self._committing = True
            # After all that is there to be read now: it goes into the same group.
            self._loop.call_soon(self._commit)

    def _commit(self) -> None:
        """Give what waits to the disk, in order, as much as a group may hold."""
        size = count = 0
        for _, received in self._waiting:
            size += received.size
            count += 1
            if size > _GROUP_BYTES:
                break
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        owed = self._owed + tuple(piece for _, each in group for piece in each.owed)
        pieces = [piece for _, each in group for piece in each.encoded]
        self._owed = ()
        self._committing = True
        future = self._loop.run_in_executor(self._writer, self._store, pieces, owed)
        future.add_done_callback(partial(self._committed, group, owed))

    def _store(self, pieces: list[bytes], owed: tuple[bytes, ...]) -> tuple[bool, bool]:
        """Append to the journal, in the thread of the disk; tell what of the two is kept.

        Messages are not stored where the disk is short of room; what is owed to filing is.

        Raises:
            StorageFailed: the disk failed.
        """
        try:
            if self._has_room(pieces):
                self._journal.append_encoded([*pieces, *owed])
                return True, True
        except OutOfSpace as error:
            _log.error("%s", error)
        try:
            if owed:
                self._journal.append_encoded(list(owed))
        except OutOfSpace:
            return False, False
        return False, True

    def _has_room(self, pieces: list[bytes]) -> bool:
        try:
            found = os.statvfs(self._folder)
        except OSError as error:
            raise storage_error(error) from error
        left = found.f_bavail * found.f_frsize - sum(map(len, pieces))
        return left >= (self._settings.minimum_free_bytes or 0)

    def _committed(
        self,
        group: list[_Asked],
        owed: tuple[bytes, ...],
        future: asyncio.Future[tuple[bool, bool]],
    ) -> None:
        """Answer a group, and begin with the next."""
        try:
            stored, owed_stored = future.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may count as stored
            self._fail(error)
            stored, owed_stored = False, True
        self._appended_at = self._loop.time()
        if not owed_stored:
            self._owed = owed
        if not stored and group:
            _log.error("%d HL7 messages could not be stored", len(group))
        self._answer(group, stored=stored)
        if self._waiting and not self.failure:
            self._commit()
            return
        self._committing = False
        if self.failure:
            rest, self._waiting = self._waiting, []
            self._answer(rest, stored=False)

    def _answer(self, group: list[_Asked], *, stored: bool) -> None:
        answered: dict[int, Conversation] = {}
        for conversation, received in group:
            self._waiting_bytes -= received.size
            conversation.answer(received, received.answers(stored=stored))
            answered[id(conversation)] = conversation
        for conversation in answered.values():
            try:
                conversation.flush()
            except Exception as error:  # noqa: BLE001 - the next group must be stored all the same
                _log.error("answers could not be sent: %s", type(error).__name__)
                conversation.abort()

    def _fail(self, error: Exception) -> None:
        """The disk failed: nothing may be acknowledged any more."""
        if not self.failure:
            # The text of an unexpected error may hold anything.
            is_ours = isinstance(error, DicomNodeError)
            self.failure = str(error) if is_ours else type(error).__name__
            _log.critical("HL7 messages are not received any more: %s", self.failure)
        self._stop.set()

    # Connections.

    def _admit(self, accepted: socket.socket, address: str, context: ssl.SSLContext | None) -> None:
        now = self._loop.time()
        conversation = Conversation(self, address, self._settings.maximum_message_bytes, now)
        if not self._door.admit(conversation, now):
            _log.warning("an HL7 connection of %s was closed: too many are open", address)
            accepted.close()
            return
        task = self._loop.create_task(self._open(conversation, accepted, context))
        self._opening[task] = conversation
        task.add_done_callback(self._opening.pop)

    async def _open(
        self, conversation: Conversation, accepted: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        if reason := await connect(conversation, accepted, context):
            _log.warning("an HL7 connection of %s failed: %s", conversation.address, reason)
            self._door.left(conversation)

    # What is looked after now and then.

    def _attend(self) -> None:
        now = self._loop.time()
        for conversation in self._door.all():
            conversation.attend(
                now, self._settings.frame_deadline_seconds, _IDLE_SECONDS, _LINGER_SECONDS
            )
        self._spare_memory()
        if now - self._profiles_at > _PROFILES_SECONDS:
            self._profiles_at = now
            self._reload_profiles()
        if self._committing:
            return
        if self._owed:
            self._commit()
        elif not self._journal.idle and (
            now - self._appended_at > _ROTATE_SECONDS
            or now - self._rotated_at > _LONGEST_SEGMENT_SECONDS
        ):
            self._committing = True
            self._rotated_at = now
            future = self._loop.run_in_executor(self._writer, self._rotate)
            future.add_done_callback(partial(self._committed, [], ()))

    def _rotate(self) -> tuple[bool, bool]:
        try:
            self._journal.rotate()
        except OutOfSpace:
            _log.warning("there is no room for a new segment of the HL7 journal")
        return True, True

    def _reload_profiles(self) -> None:
        try:
            self._profiles.reload_if_changed()
        except OSError as error:
            _log.error("feed profiles cannot be read: %s", error.strerror)

    def _spare_memory(self) -> None:
        """Refuse the longest unfinished message while all of them together are too long."""
        open_ = self._door.all()
        total = sum(each.buffered for each in open_)
        for each in sorted(open_, key=lambda one: one.buffered, reverse=True):
            if total <= max(_UNFINISHED_BYTES, self._settings.maximum_message_bytes):
                return
            total -= each.buffered
            each.refuse(Fault.NO_MEMORY)

    async def _finish(self) -> None:
        """Take nothing more, answer what is there, close."""
        self._stopping = True
        self._acceptor.close()
        for task, conversation in self._opening.items():
            # One that stands already may have sent something whole, which still gets its answer.
            if not conversation.connected:
                task.cancel()
        for conversation in self._door.all():
            conversation.stop_reading()
        while self._opening or self._checks or self._committing:
            await asyncio.sleep(_FINISH_SECONDS)
        for conversation in self._door.all():
            conversation.close()
        await asyncio.sleep(_FINISH_SECONDS)
        self._writer.shutdown()
        self._checker.shutdown()
        self._journal.close()


def _messages_of(content: bytes) -> tuple[bytes, ...]:
    """Return the messages of a batch; none where it is at fault: then it counts as a whole."""
    try:
        return batch_messages(content)
    except ContentFault:
        return ()


def _fault_of(content: bytes, envelope: Envelope, profile: FeedProfile) -> ContentFault | None:
    try:
        return fault_of(content, envelope, lambda _: profile)
    except Exception as error:  # noqa: BLE001 - what cannot be read is kept all the same
        _log.error("an HL7 message could not be read: %s", type(error).__name__)
        return _UNREADABLE


def _start(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)

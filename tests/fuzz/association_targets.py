"""Targets that run a whole association: from bytes of a connection to files in the spool."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from dicom_node.commitment.notices import waiting_notices
from dicom_node.commitment.vocabulary import STORAGE_COMMITMENT
from dicom_node.dimse import SUCCESS
from tests.acceptance.store_audit import file_digest
from tests.builders import encode, mr_image
from tests.commitment_room import action, missing
from tests.conversation import (
    CONTEXTS,
    MR,
    Conversation,
    CountingProvider,
    Response,
    new_provider,
)
from tests.fuzz.scratch import new_folder
from tests.fuzz.source import Source
from tests.raw_dicom import (
    EXPLICIT,
    associate_request,
    echo_command,
    fragment,
    notice_command,
    pdu,
    store_command,
)

_ALL_CONTEXTS = (*CONTEXTS, (STORAGE_COMMITMENT, EXPLICIT))
_STORE_RESPONSE = 0x8001
_MOST_ACTIONS = 40  # more of them find nothing new and take long


def association(data: bytes) -> None:
    """A whole stream of a peer, cut anywhere, with syncs that end at once, later or never."""
    source = Source(data)
    how = source.byte()
    talk = _conversation(at_once=bool(how & 1))
    if how & 2:
        talk.say(associate_request("RADLOOP", "FUZZ", _ALL_CONTEXTS))
    sizes = source.sizes()
    talk.say(source.rest(), sizes=sizes)
    _finish(talk, never=bool(how & 4))


def conversation(data: bytes) -> None:
    """Messages in any order, whole and broken, with events of the disk and the loop between."""
    source = Source(data)
    talk = _conversation(at_once=bool(source.byte() & 1))
    talk.say(associate_request("RADLOOP", "FUZZ", _ALL_CONTEXTS))
    for _ in range(_MOST_ACTIONS):
        if not source:
            break
        _ACTIONS[source.byte() % len(_ACTIONS)](talk, source)
    _finish(talk, never=False)


def _store(talk: Conversation, source: Source) -> None:
    instance, content = _images()[source.byte() % 3]
    size = 1 + source.byte() * 16
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    talk.say(fragment(1, 3, store_command(MR.encode(), instance)))
    talk.say(*(fragment(1, 2 * (n == len(parts) - 1), part) for n, part in enumerate(parts)))


def _announce(talk: Conversation, source: Source) -> None:
    talk.say(fragment(1, 3, store_command(MR.encode(), source.take(source.byte() % 70))))


def _data(talk: Conversation, source: Source) -> None:
    control = source.byte() % 4
    talk.say(fragment(1, control, source.take(source.byte())))


def _anything(talk: Conversation, source: Source) -> None:
    talk.say(source.take(source.byte()))


def _unknown(talk: Conversation, source: Source) -> None:
    numbers = ((0x0100, source.byte() << 4), (0x0110, 1), (0x0800, 0x0100 + source.byte() % 2))
    body = b"".join(struct.pack("<HHLH", 0, number, 2, value) for number, value in numbers)
    talk.say(fragment(3, 3, body))


def _commit(talk: Conversation, source: Source) -> None:
    """A request or report of storage commitment, on its context or another, whole or cut."""
    how = source.byte()
    command = notice_command(field=0x0100 if how & 1 else 0x0130, type_id=source.byte() % 4)
    data = _notice() if how & 2 else source.take(source.byte())
    at = source.byte() % (len(data) + 1)
    context = 5 if how & 4 else 1
    talk.say(fragment(context, 3, command), fragment(context, 0, data[:at]))
    talk.say(fragment(context, 2, data[at:]))


def _run_job(talk: Conversation, source: Source) -> None:
    talk.line.run_jobs(1 + source.byte() % 3)


def _change_room(talk: Conversation, source: Source) -> None:
    full = source.byte() % 2
    _provider().store.intake._minimum_free_bytes = (1 << 62) * full


_ACTIONS = (
    _store,
    _announce,
    _data,
    _anything,
    _unknown,
    _commit,
    _run_job,
    _change_room,
    lambda talk, _: talk.say(fragment(3, 3, echo_command())),
    lambda talk, _: talk.say(pdu(5, bytes(4))),
    lambda talk, _: talk.say(pdu(7, bytes(4))),
    lambda talk, _: talk.lose(),
    lambda talk, _: talk.association.cut_off(),
)


class _WitnessedLine:
    """Notes how many objects had been kept whenever something was sent."""

    def __init__(self, talk: Conversation, provider: CountingProvider) -> None:
        self.known: list[tuple[int, int]] = []
        self._send, self._line, self._provider = talk.line.send, talk.line, provider
        talk.line.send = self.send  # type: ignore[method-assign]

    def send(self, connection: object, data: bytes) -> None:
        self.known.append((len(self._line.sent), len(self._provider.kept)))
        self._send(connection, data)  # type: ignore[arg-type]


def _conversation(*, at_once: bool) -> Conversation:
    provider = _provider()
    provider.kept.clear()
    provider.left_count = 0
    provider.store.intake._minimum_free_bytes = 0
    talk = Conversation(provider, at_once=at_once)
    talk.witness = _WitnessedLine(talk, provider)  # type: ignore[attr-defined]
    return talk


def _finish(talk: Conversation, *, never: bool) -> None:
    """End the connection in every case; then everything must be accounted for."""
    provider = _provider()
    if not never:
        talk.work()
    talk.lose()
    talk.work()
    talk.line.run_jobs()
    try:
        _check_answers(talk, provider)
        _check_files(provider)
        assert not provider.disk_failed
        assert provider.left_count == talk.line.established
        assert not provider._of_peer
        assert not provider.unfinished._held
    finally:
        _empty(provider)


def _check_answers(talk: Conversation, provider: CountingProvider) -> None:
    """Each Success for an object was sent after that object was kept, in the same order."""
    answers = talk.answers  # fails where a PDU was sent in part
    assert all(kind in (2, 3, 4, 6, 7) for kind, _ in answers)
    kinds = [kind for kind, _ in answers]
    # What ends an association is the last that is sent.
    assert not any(kind in (3, 6, 7) for kind in kinds[:-1])
    stored = [
        each
        for each in talk.responses
        if int.from_bytes(each.elements[0x0100], "little") == _STORE_RESPONSE
        and each.status == SUCCESS
    ]
    names = [each.elements[0x1000].decode("latin-1").rstrip("\0 ") for each in stored]
    kept = [name for name, digest in provider.kept if _spooled(provider, digest).exists()]
    assert _is_within(names, kept)
    noted = [each for each in talk.responses if _is_of_commitment(each) and not each.status]
    assert len(noted) <= len(list(provider.store.folders.commitments.iterdir()))
    known = talk.witness.known  # type: ignore[attr-defined]
    for number, offset in enumerate(_offsets(talk, len(stored)), start=1):
        assert max(count for at, count in known if at <= offset) >= number


def _is_of_commitment(response: Response) -> bool:
    return int.from_bytes(response.elements[0x0100], "little") in (0x8100, 0x8130)


def _offsets(talk: Conversation, count: int) -> Iterator[int]:
    """Yield where in what was sent each Success for an object lies."""
    position, found = 0, 0
    marks = struct.pack("<HHLH", 0, 0x0100, 2, _STORE_RESPONSE)
    success = struct.pack("<HHLH", 0, 0x0900, 2, SUCCESS)
    for _, body in talk.answers:
        if marks in body and success in body and found < count:
            found += 1
            yield position
        position += 6 + len(body)


def _is_within(names: list[str], kept: list[str]) -> bool:
    """Tell whether ``names`` is what remains of ``kept`` when some are left out."""
    rest = iter(kept)
    return all(name in rest for name in names)


def _check_files(provider: CountingProvider) -> None:
    """Nothing half-written is left, and each file is what its name says."""
    assert not list(provider.store.folders.temporary.iterdir())
    for folder in (provider.store.folders.spool, provider.store.folders.quarantine):
        for path in folder.glob("*.dcm"):
            content = path.read_bytes()
            assert content[:132] == bytes(128) + b"DICM"
            if folder == provider.store.folders.spool:
                assert file_digest(content) == path.stem
    commitments = provider.store.folders.commitments
    assert len(list(waiting_notices(commitments))) == len(list(commitments.iterdir()))
    assert {each.digest for each in provider.store.notices()} == {
        path.stem for path in provider.store.folders.quarantine.iterdir()
    }


def _spooled(provider: CountingProvider, digest: str) -> Path:
    return provider.store.folders.spooled(digest)


def _empty(provider: CountingProvider) -> None:
    folders = provider.store.folders
    for folder in (folders.spool, folders.quarantine, folders.temporary, folders.commitments):
        for path in folder.iterdir():
            path.unlink()


@lru_cache(maxsize=1)
def _provider() -> CountingProvider:
    """One provider for all inputs: what an input leaves behind would show in the next one."""
    return new_provider(new_folder() / "data", maximum_object_bytes=100_000)


@lru_cache(maxsize=1)
def _notice() -> bytes:
    return encode(action("2.25.1", [missing(1), missing(2)]))


@lru_cache(maxsize=1)
def _images() -> list[tuple[bytes, bytes]]:
    images = [mr_image(instance=number) for number in range(3)]
    return [(str(each.SOPInstanceUID).encode(), encode(each)) for each in images]


@lru_cache(maxsize=1)
def seeds() -> dict[str, list[bytes]]:
    """Return sound inputs of each target here."""
    instance, content = _images()[0]
    request = associate_request("RADLOOP", "FUZZ", _ALL_CONTEXTS)
    store = fragment(1, 3, store_command(MR.encode(), instance)) + fragment(1, 2, content)
    notice = fragment(5, 3, notice_command()) + fragment(5, 2, _notice())
    session = fragment(3, 3, echo_command()) + store + notice + store + pdu(5, bytes(4))
    cut = bytes((5, 1, 6, 12, 100, 255))
    return {
        "association": [
            bytes((how,)) + cut + (b"" if how & 2 else request) + session for how in range(8)
        ],
        "conversation": [
            bytes((0, 0, 0, 40, 7, 0, 1, 9, 5, 2, 8)),
            bytes((1, 1, 3)) + b"1.2" + bytes((2, 0, 3)) + b"abc" + bytes((2, 2, 0)),
            bytes((0, 0, 0, 9, 10, 5, 1)),
            bytes((0, 6, 1, 0, 1, 1, 6, 0, 0, 2, 2, 11)),
            bytes((1, 4, 2, 0, 4, 2, 1, 3, 5)) + b"\x04\0\0\0\0",
        ],
    }

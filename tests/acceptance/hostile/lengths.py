"""D4 and D5: lengths that lie and messages that never end."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator

from tests.acceptance.hostile.findings import Finding, verdict
from tests.acceptance.hostile.objects import EXPLICIT, MR, element, sample
from tests.acceptance.hostile.observe import MIB
from tests.acceptance.hostile.stage import Stage, closed_after, mebibytes
from tests.raw_dicom import RawAssociation, associate_request, fragment, pdu, store_command

_LIE_SECONDS = 1.5
_KINDS = (0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0xFF)
_BLOCK = bytes(256 * 1024)
_ENDLESS_SECONDS = 60.0
_STREAM_SECONDS = 15.0
_SMALL_GROWTH = 8 * MIB
_LARGE_GROWTH = 64 * MIB
_ABORT = 7


def lying_lengths(stage: Stage) -> Iterator[Finding]:
    """D4: each kind of PDU with a length of 4 GiB, and inner lengths that do not fit."""
    for established in (False, True):
        yield _giant_headers(stage, established)
    yield _pumped(stage, established=False)
    yield _pumped(stage, established=True)
    yield _inner_lies(stage)


def _open(stage: Stage, established: bool) -> RawAssociation:
    if established:
        association = stage.associate(timeout=10.0)
        if association.answer != 2:
            raise ConnectionError("the association was not accepted")
        return association
    return _unassociated(stage)


def _unassociated(stage: Stage) -> RawAssociation:
    connection = object.__new__(RawAssociation)
    source = stage.sources(1)[0]
    connection.socket = socket.create_connection(
        stage.target.address, 10.0, (source, 0) if source else None
    )
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _giant_headers(stage: Stage, established: bool) -> Finding:
    durations: list[float | None] = []
    with stage.memory() as peak:
        for kind in _KINDS:
            durations.append(_lie(stage, established, struct.pack(">BxL", kind, 0xFFFFFFFF)))
    still_open = durations.count(None)
    slowest = max((each for each in durations if each is not None), default=0.0)
    return Finding(
        "D4",
        f"length 0xFFFFFFFF in each type of PDU {_when(established)}",
        "aborted or closed within 1 s, memory +<= 8 MiB",
        f"{len(_KINDS)} types; {still_open} not ended after {_LIE_SECONDS} s",
        f"open {still_open}, slowest {slowest:.2f} s, {peak.grown}",
        verdict(not still_open and slowest <= 1.0 and peak.growth <= _SMALL_GROWTH),
    )


def _when(established: bool) -> str:
    return "in an association" if established else "before an association"


def _lie(stage: Stage, established: bool, data: bytes) -> float | None:
    try:
        connection = _open(stage, established)
    except OSError:
        return None
    with connection:
        try:
            connection.socket.sendall(data)
        except OSError:
            return 0.0
        return closed_after(connection, _LIE_SECONDS)


def _pumped(stage: Stage, *, established: bool) -> Finding:
    """Send what the lie announces, until the peer has enough."""
    kind = 4 if established else 1
    with stage.memory() as peak:
        sent = 0
        try:
            with _open(stage, established) as connection:
                connection.socket.sendall(struct.pack(">BxL", kind, 0xFFFFFFFF))
                while sent < stage.scale.pump_bytes:
                    connection.socket.sendall(_BLOCK)
                    sent += len(_BLOCK)
        except OSError:
            pass  # it closed, as it should
    return Finding(
        "D4",
        f"{'P-DATA-TF' if established else 'A-ASSOCIATE-RQ'} of 4 GiB, with its body",
        "closed before the body; memory +<= 8 MiB",
        f"it took {mebibytes(sent)} of {mebibytes(stage.scale.pump_bytes)}",
        peak.grown,
        verdict(
            sent < stage.scale.pump_bytes and peak.growth <= _SMALL_GROWTH,
            seen=stage.target.pid is not None or sent >= stage.scale.pump_bytes,
        ),
    )


def _inner_lies(stage: Stage) -> Finding:
    request = associate_request(stage.target.called, "HOSTILE", [(MR, EXPLICIT)])
    before = {
        "item longer than its PDU": request[: 74 + 2] + b"\xff\xff" + request[78:],
        "sub-item longer than its item": request.replace(b"\x30\0\0\x19", b"\x30\0\xff\xff"),
        "no items": pdu(1, request[6:74]),
        "shorter than its fixed part": pdu(1, request[6:40]),
        "empty": pdu(1, b""),
        "release instead of a request": pdu(5, bytes(4)),
        "data instead of a request": fragment(1, 3, b"\0" * 40),
        "128 KiB of one item": pdu(1, request[6:74] + b"\x10\0\xff\xff" + bytes(65000) * 2),
    }
    inside = {
        "PDV longer than its PDU": pdu(4, struct.pack(">LBB", 0xFFFFFF00, 1, 3) + b"\0" * 32),
        "PDV of length 0": pdu(4, struct.pack(">L", 0)),
        "PDV of length 1": pdu(4, struct.pack(">LB", 1, 1)),
        "PDU of 3 bytes": pdu(4, b"\0\0\0"),
        "unknown context": fragment(99, 3, store_command(MR.encode(), b"1.2.3")),
        "data before a command": fragment(1, 2, b"\0" * 64),
        "command of rubbish": fragment(1, 3, b"\xff" * 300),
        "command with a lying length": fragment(1, 3, struct.pack("<HHL", 0, 2, 0xFFFFFFFF)),
        "release of 5 bytes": pdu(5, bytes(5)),
        "a second request": request,
    }
    closed = 0
    with stage.memory() as peak:
        for established, cases in ((False, before), (True, inside)):
            for data in cases.values():
                closed += _lie(stage, established, data) is not None
    total = len(before) + len(inside)
    return Finding(
        "D4",
        "inner lengths that lie, PDUs at the wrong time",
        "memory +<= 8 MiB; closed or answered, never misread as more than it is",
        f"{closed} of {total} closed at once",
        peak.grown,
        verdict(peak.growth <= _SMALL_GROWTH, seen=stage.target.pid is not None),
    )


def endless_messages(stage: Stage) -> Iterator[Finding]:
    """D5: a data set, a command and empty fragments without an end; and a large object with one."""
    yield _endless_data_set(stage)
    yield _large_object(stage)
    yield _endless(
        stage,
        "command set without an end",
        lambda association: fragment(1, 1, bytes(association.maximum_pdu - 6)),
        32 * MIB,
    )
    empty = fragment(1, 0, b"")
    # More than the sockets of both sides hold (6 and 4 MiB), which nobody may have read yet.
    yield _endless(stage, "PDVs of length zero without an end", lambda _: empty * 4096, 16 * MIB)
    yield _endless(stage, "PDUs without a PDV", lambda _: pdu(4, b"") * 4096, 16 * MIB)


def _large_head(stage: Stage) -> tuple[bytes, bytes, str]:
    tail = element(0x7FE0, 0x0010, b"OW", b"", 0xFFFFFFFE)
    begun = sample(tail=tail)
    return begun.sop_instance, begun.data, begun.token


def _endless_data_set(stage: Stage) -> Finding:
    instance, head, token = _large_head(stage)
    sent, answers = 0, ""
    deadline = time.monotonic() + _ENDLESS_SECONDS * max(stage.scale.object_bytes // (512 * MIB), 1)
    with stage.memory() as peak, stage.associate(timeout=20.0) as association:
        block = fragment(1, 0, bytes(association.maximum_pdu - 6)) * 2
        try:
            command = fragment(1, 3, store_command(MR.encode(), instance))
            association.socket.sendall(command + fragment(1, 0, head))
            while sent < stage.scale.object_bytes and time.monotonic() < deadline:
                association.socket.sendall(block)
                sent += len(block)
        except OSError:
            pass  # it has enough
        answers = _last_words(association)
    kept = stage.kept()
    over = kept is not None and token in kept
    return Finding(
        "D5",
        "data set whose last fragment never comes",
        "a limit: 0xA700 and abort; memory +<= 64 MiB; nothing of it kept",
        f"it took {mebibytes(sent)} of {mebibytes(stage.scale.object_bytes)}; then {answers}"
        + ("; kept" if over else ""),
        peak.grown,
        verdict(
            sent < stage.scale.object_bytes
            and peak.growth <= _LARGE_GROWTH
            and not over
            and (not stage.target.ours or answers == "0xA700, abort"),
            seen=stage.target.pid is not None or sent >= stage.scale.object_bytes,
        ),
    )


def _last_words(association: RawAssociation) -> str:
    """Return what the peer said before it closed."""
    said: list[str] = []
    association.socket.settimeout(2.0)
    try:
        while True:
            kind, body = association.read_pdu()
            if kind == 0:
                said.append("" if said else "closed")
                break
            if kind == _ABORT:
                said.append("abort")
                break
            said.append(_status(body))
    except TimeoutError:
        said.append("silence")
    except OSError:
        said.append("reset")
    return ", ".join(each for each in said if each)


def _status(body: bytes) -> str:
    position = 6
    while position + 10 <= len(body):
        _, number, length = struct.unpack_from("<HHL", body, position)
        if number == 0x0900:
            return f"0x{struct.unpack_from('<H', body, position + 8)[0]:04X}"
        position += 8 + length
    return "a response"


def _large_object(stage: Stage) -> Finding:
    """Send an object just below the limit, to its end."""
    cap = stage.target.object_cap or 2048 * MIB
    size = min(cap, stage.scale.object_bytes) - 2 * MIB
    if stage.target.pid is None:
        size = min(size, 64 * MIB)
    status: int | None = None
    whole = sample(tail=element(0x7FE0, 0x0010, b"OW", b"", size))
    with stage.memory() as peak, stage.associate(timeout=120.0) as association:
        piece = association.maximum_pdu - 6
        try:
            command = fragment(1, 3, store_command(MR.encode(), whole.sop_instance))
            association.socket.sendall(command + fragment(1, 0, whole.data))
            block = fragment(1, 0, bytes(piece))
            for _ in range(size // piece):
                association.socket.sendall(block)
            association.socket.sendall(fragment(1, 2, bytes(size % piece)))
            status = association.read_status()
        except OSError:
            pass
    kept = stage.kept()
    there = kept is not None and whole.token in kept
    answer = "no answer" if status is None else f"0x{status:04X}"
    return Finding(
        "D5",
        "large object below the limit",
        "Success, kept; memory +<= 64 MiB",
        f"{mebibytes(size)}: {answer}{', kept' if there else ''}",
        peak.grown,
        verdict(
            status == 0 and there and peak.growth <= _LARGE_GROWTH,
            seen=kept is not None and stage.target.pid is not None,
        ),
    )


def _endless(
    stage: Stage, what: str, block: Callable[[RawAssociation], bytes], limit: int
) -> Finding:
    sent, end = 0, ""
    deadline = time.monotonic() + _STREAM_SECONDS
    with stage.memory() as peak:
        try:
            with stage.associate(timeout=_STREAM_SECONDS) as association:
                piece = block(association)
                while sent < limit and time.monotonic() < deadline:
                    association.socket.sendall(piece)
                    sent += len(piece)
                end = "without an end" if sent >= limit else "for as long as it was watched"
        except TimeoutError:
            end = "and then read no more, without closing"
        except OSError:
            end = "and closed"
    return Finding(
        "D5",
        what,
        f"closed before {limit // MIB} MiB or {_STREAM_SECONDS:.0f} s; memory +<= 8 MiB",
        f"it took {sent / 1024:,.0f} KiB {end}",
        peak.grown,
        verdict(end == "and closed" and peak.growth <= _SMALL_GROWTH),
    )

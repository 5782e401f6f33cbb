"""D6 and D7: connections that stall, and more of them than anybody can use."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence

from tests.acceptance.hostile.bystander import Service
from tests.acceptance.hostile.crowd import Behaviour, Crowd, Member
from tests.acceptance.hostile.findings import (
    NOT_APPLICABLE,
    NOT_OBSERVABLE,
    Finding,
    verdict,
)
from tests.acceptance.hostile.objects import EXPLICIT, IMPLICIT, MR, sample
from tests.acceptance.hostile.observe import MIB, Peak, Usage, usage
from tests.acceptance.hostile.stage import Stage, mebibytes
from tests.raw_dicom import (
    VERIFICATION,
    RawAssociation,
    associate_request,
    echo_command,
    fragment,
    pdu,
    store_command,
)

_SECONDS = 12.0
_TIMEOUT = 5.0
_SLOW_SECONDS = 40.0  # what sends whole PDUs is judged over a longer time than one PDU
_P99_SECONDS = 1.0
_ALL_MEMORY = 512 * MIB
_BUSY_GROWTH = 64 * MIB
_ROUNDS = 3
_STORE_SECONDS = 40.0
_DRIFT = 0.05
_A_REJECT = 3
_TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
_TLS_ATTACK = "sockets that stall: the middle of a TLS hello"
_BEGUN = struct.pack(">BxLLBB", 4, 4096, 4092, 1, 0)
"""The beginning of a P-DATA-TF PDU with one presentation data value."""

_LOCAL_LIMIT = (2, 3, 2)


def stalled_sockets(stage: Stage) -> Iterator[Finding]:
    """D6: sockets that stall in every state, one after the other and all at once."""
    for what, behaviour in _behaviours(stage).items():
        yield _stall(stage, what, behaviour, stage.target.address)
    yield _stalled_tls(stage)
    yield _busy(stage)
    yield _patience(stage)
    yield _one_address(stage)
    yield _held_and_stalled(stage)


def _request(stage: Stage, calling: str = "STALLED") -> bytes:
    return associate_request(stage.target.called, calling, [(MR, EXPLICIT)])


def _behaviours(stage: Stage) -> dict[str, Behaviour]:
    request = _request(stage)
    command = fragment(1, 3, store_command(MR.encode(), b"1.2.3.4"))
    return {
        "silent": Behaviour(),
        "3 bytes of a PDU": Behaviour(request[:3]),
        "a request at 1 byte/s": Behaviour(request[:6], drip=request[6:]),
        "the middle of a P-DATA-TF": Behaviour(
            request, after_acceptance=command + _BEGUN + bytes(100)
        ),
    }


def _slow_behaviours(stage: Stage) -> dict[str, Behaviour]:
    """Return what keeps an association busy for ever with complete PDUs."""
    request = _request(stage)
    command = fragment(1, 3, store_command(MR.encode(), b"1.2.3.4"))
    return _behaviours(stage) | {
        "an association of empty PDVs": Behaviour(
            request, after_acceptance=command, drip=fragment(1, 0, b""), piece=12
        ),
        "P-DATA-TF at 1 byte/s": Behaviour(
            request,
            after_acceptance=command + _BEGUN,
            drip=bytes(4096),
        ),
        "an object in PDUs of 1 byte each second": Behaviour(
            request, after_acceptance=command, drip=fragment(1, 0, b"\0"), piece=13
        ),
        "a TLS hello": Behaviour(_TLS_HELLO),
    }


def _served_well(served: Service) -> bool:
    return served.p99 <= _P99_SECONDS and bool(served.stores) and all(served.stores)


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 10 else "none"


def _stalled_tls(stage: Stage) -> Finding:
    if stage.target.tls_port is None:
        return Finding("D6", _TLS_ATTACK, "", "it listens without TLS here", "", NOT_APPLICABLE)
    address = (stage.target.host, stage.target.tls_port)
    return _stall(stage, "the middle of a TLS hello", Behaviour(_TLS_HELLO), address)


def _stall(stage: Stage, what: str, behaviour: Behaviour, address: tuple[str, int]) -> Finding:
    with stage.memory() as peak, Crowd(address, stage.sources(20)) as crowd:
        members = crowd.add(behaviour, stage.scale.crowd)
        served = stage.bystander.observe(
            echoes=stage.scale.probes, stores=10, seconds=_SECONDS, timeout=_TIMEOUT
        )
        still = sum(each.closed_at is None for each in members)
    return Finding(
        "D6",
        f"sockets that stall: {what}",
        "C-ECHO p99 <= 1 s, every C-STORE served",
        f"{len(members)} stalled, {still} of them until the end; {len(served.echoes)} echoes",
        f"p99 {_seconds(served.p99)}, stored {served.stored}, {peak.grown}",
        verdict(_served_well(served)),
    )


def _busy(stage: Stage) -> Finding:
    """Let four senders talk as fast as they can while the bystander is served."""
    done = threading.Event()
    echoes = fragment(1, 3, echo_command()) * 50
    command = fragment(1, 3, store_command(MR.encode(), b"1.2.3.4"))
    data = fragment(1, 0, bytes(4090)) * 16
    tasks = [(VERIFICATION, b"", echoes), (MR, command, data)] * 2
    senders = [
        threading.Thread(target=_talk, args=(stage, number, *task, done), daemon=True)
        for number, task in enumerate(tasks)
    ]
    with stage.memory() as peak:
        for sender in senders:
            sender.start()
        served = stage.bystander.observe(
            echoes=stage.scale.probes, stores=10, seconds=_SECONDS, timeout=_TIMEOUT
        )
        done.set()
        for sender in senders:
            sender.join()
    return Finding(
        "D6",
        "two endless objects and two floods of C-ECHO, unread, at full speed",
        "C-ECHO p99 <= 1 s, every C-STORE served; memory +<= 64 MiB",
        f"{len(served.echoes)} echoes",
        f"p99 {_seconds(served.p99)}, stored {served.stored}, {peak.grown}",
        verdict(_served_well(served) and peak.growth <= _BUSY_GROWTH),
    )


def _talk(
    stage: Stage, number: int, abstract: str, opening: bytes, data: bytes, done: threading.Event
) -> None:
    """Send without reading, in a new association whenever the last one was ended."""
    (source,) = stage.sources(1, first=60 + number)
    while not done.is_set():
        try:
            syntax = EXPLICIT if abstract == MR else IMPLICIT
            with stage.associate(
                [(abstract, syntax)], calling="BUSY", source=source, timeout=2.0
            ) as association:
                association.socket.sendall(opening)
                while not done.is_set():
                    association.socket.sendall(data)
        except OSError:
            done.wait(0.05)


def _patience(stage: Stage) -> Finding:
    """Watch how long a few sockets of each kind live."""
    kinds = _behaviours(stage)
    if stage.scale.watch_seconds > _SLOW_SECONDS:
        kinds = _slow_behaviours(stage)
    found: dict[str, list[Member]] = {}
    with Crowd(stage.target.address, stage.sources(8, first=40)) as crowd:
        for what, behaviour in kinds.items():
            found[what] = crowd.add(behaviour, 2)
        members = [each for group in found.values() for each in group]
        crowd.wait_until_closed(members, stage.scale.watch_seconds)
        lasting = [
            what for what, group in found.items() if any(each.closed_at is None for each in group)
        ]
        longest = max((each.lasted or 0.0 for each in members), default=0.0)
    return Finding(
        "D6",
        "one PDU, or one object, without an end in time",
        f"closed by a deadline (watched {stage.scale.watch_seconds:.0f} s)",
        "still open: " + ("; ".join(lasting) or "none"),
        f"{len(kinds) - len(lasting)} of {len(kinds)} kinds closed, longest {longest:.1f} s",
        verdict(not lasting),
    )


def _one_address(stage: Stage) -> Finding:
    """Let one address take what it can get; another must still be served."""
    (source,) = stage.sources(1, first=77)
    with Crowd(stage.target.address, [source]) as crowd:
        idle = crowd.add(Behaviour(_request(stage, "GREEDY")), stage.scale.cap_search)
        taken = len(crowd.wait_for_answers(idle, 4.0))
        crowd.add(Behaviour(b"\x01\x00\x00"), stage.scale.crowd)
        served = stage.bystander.observe(
            echoes=stage.scale.probes // 2, stores=5, seconds=_SECONDS, timeout=_TIMEOUT
        )
    alone = not source
    return Finding(
        "D6",
        "one address takes all it can get",
        "others are served: C-ECHO p99 <= 1 s, every C-STORE",
        f"{taken} of {len(idle)} associations held by one address"
        + (" (the bystander shares it)" if alone else ""),
        f"p99 {_seconds(served.p99)}, stored {served.stored}",
        verdict(_served_well(served)),
    )


def _held_and_stalled(stage: Stage) -> Finding:
    """Hold associations open, stall as many sockets, and store through every living one."""
    half = stage.scale.crowd
    attackers = stage.sources(20, first=100)
    with (
        stage.memory() as peak,
        Crowd(stage.target.address, stage.sources(20, first=130)) as living,
        Crowd(stage.target.address, attackers) as stalled,
    ):
        held = living.add(Behaviour(_request(stage, "PATIENT")), half)
        open_ones = living.wait_for_answers(held, 15.0)
        for behaviour in _behaviours(stage).values():
            stalled.add(behaviour, half // 4)
        start = time.monotonic()
        stored, tokens = _store_through(living, open_ones)
        took = time.monotonic() - start
        served = stage.bystander.observe(
            echoes=stage.scale.probes // 2, stores=5, seconds=_SECONDS, timeout=_TIMEOUT
        )
    kept = stage.kept()
    lost = sum(token not in kept for token in tokens) if kept is not None else 0
    wanted = half * _ROUNDS
    return Finding(
        "D6",
        "as many held-open associations as stalled sockets, at once",
        "every store of the living; C-ECHO p99 <= 1 s; memory in all <= 512 MiB",
        f"{len(open_ones)} of {half} associations held; lost {lost}",
        f"stored {stored}/{wanted} in {took:.1f} s, p99 {_seconds(served.p99)}, "
        f"bystander {served.stored}, {_memory(peak)}",
        verdict(
            stored == wanted and not lost and _served_well(served) and peak.pss <= _ALL_MEMORY,
        ),
    )


def _memory(peak: Peak) -> str:
    return f"PSS {mebibytes(peak.pss)}" if peak.pss else "memory unseen"


def _store_through(crowd: Crowd, members: Sequence[Member]) -> tuple[int, list[str]]:
    """Store in rounds through every association; return how many were acknowledged."""
    stored, tokens = 0, []
    associations = [_adopt(each) for each in crowd.release_to_caller(members)]
    deadline = time.monotonic() + _STORE_SECONDS
    for _ in range(_ROUNDS):
        sent = []
        for association in list(associations):
            good = sample(patient=b"PATIENT")
            try:
                association.socket.sendall(
                    b"".join(association.store_pdus(MR, good.sop_instance, good.data))
                )
                sent.append((association, good))
            except OSError:
                associations.remove(association)
        for association, good in sent:
            association.socket.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                if association.read_status() == 0:
                    stored += 1
                    tokens.append(good.token)
            except OSError:
                associations.remove(association)
    return stored, tokens


def _adopt(connection: socket.socket) -> RawAssociation:
    association = object.__new__(RawAssociation)
    association.socket = connection
    association.socket.settimeout(20.0)
    association.answer, association.body, association.maximum_pdu = 2, b"", 4096
    return association


def association_flood(stage: Stage) -> Iterator[Finding]:
    """D7: associations that end in every way, and more at once than there is room for."""
    yield _cycles(stage)
    yield _beyond_the_limit(stage, "many addresses", stage.sources(60, first=160))
    yield _beyond_the_limit(stage, "one address", stage.sources(1, first=240))


def _cycles(stage: Stage) -> Finding:
    sources = stage.sources(10, first=20)
    total = stage.scale.associations
    warm_up = max(total // 10, 20)
    answered = sum(_cycle(stage, number, sources) for number in range(warm_up))
    pid = stage.target.pid
    before = _settled(pid) if pid else None
    start = time.monotonic()
    for number in range(total):
        answered += _cycle(stage, number, sources)
    took = time.monotonic() - start
    after = _settled(pid) if pid else None
    drift, descriptors = 0.0, 0
    if before and after:
        drift = (after.pss - before.pss) / before.pss
        descriptors = after.descriptors - before.descriptors
    figure = f"{total / took:.0f}/s, memory {drift:+.1%}, descriptors {descriptors:+d}"
    return Finding(
        "D7",
        "associations that are aborted, released, reset or cut in the request",
        "memory drift <= 5 %, descriptors constant",
        f"{total} connections after {warm_up} to warm up; {answered} associations accepted",
        figure if before else f"{total / took:.0f}/s",
        verdict(drift <= _DRIFT and descriptors <= 2) if before else NOT_OBSERVABLE,
    )


def _settled(pid: int) -> Usage:
    """Return the usage when it no longer falls."""
    last = usage(pid)
    for _ in range(20):
        time.sleep(0.5)
        now = usage(pid)
        if now.descriptors >= last.descriptors and now.pss >= last.pss:
            return now
        last = now
    return last


def _cycle(stage: Stage, number: int, sources: Sequence[str]) -> bool:
    """Open a connection and end it in one of four ways; tell whether it was accepted."""
    source = sources[number % len(sources)]
    try:
        if number % 4 == 3:
            with socket.create_connection(
                stage.target.address, 10.0, (source, 0) if source else None
            ) as connection:
                connection.sendall(_request(stage, "FLOOD")[:100])
            return False
        with stage.associate(calling="FLOOD", source=source) as association:
            if number % 4 == 0:
                association.socket.sendall(pdu(7, bytes(4)))
            elif number % 4 == 1:
                association.release()
            else:
                linger = struct.pack("ii", 1, 0)
                association.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return association.answer == 2
    except OSError:
        return False


def _beyond_the_limit(stage: Stage, whence: str, sources: Sequence[str]) -> Finding:
    with Crowd(stage.target.address, sources) as crowd:
        members = crowd.add(Behaviour(_request(stage, "FLOOD")), stage.scale.cap_search)
        held = len(crowd.wait_for_answers(members, 10.0))
        answers = [tuple(each.body[1:4]) for each in members if each.answer == _A_REJECT]
        silent = sum(not each.answer and each.closed_at is None for each in members)
        closed = sum(not each.answer and each.closed_at is not None for each in members)
    reached = bool(answers or silent or closed)
    triples = ", ".join(sorted({"/".join(map(str, each)) for each in answers})) or "none"
    # Before an association there is nobody to reject: too many connections may just be closed.
    told = set(answers) == {_LOCAL_LIMIT} or (bool(closed) and not answers)
    kept = told and not silent
    return Finding(
        "D7",
        f"more associations at once than there is room for, from {whence}",
        "A-ASSOCIATE-RJ 2, 3, 2 (transient, local limit exceeded), or closed at once",
        f"{len(members)} tried: {held} held, {len(answers)} rejected, {closed} closed, "
        f"{silent} without an answer",
        f"rejections: {triples}",
        verdict(kept) if reached else NOT_APPLICABLE,
    )

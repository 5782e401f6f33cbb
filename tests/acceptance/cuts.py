"""Associations that end in the middle: at every PDU boundary and at random bytes, in three ways.

    python -m tests.acceptance.cuts [--cuts 5000] [--seed 1]

Each cut sends a fresh object up to some byte of its association and then closes, resets, or closes
its own half and reads on. Afterwards every object must be absent or whole, what was acknowledged
must be there, nothing half-written may be left, and no descriptor may be lost. Prints a table and
one line of JSON; exit status 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import struct
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.acceptance.modality import MR, Ledger, ObjectSource
from tests.acceptance.served_node import ServedNode, open_descriptors, served_node
from tests.acceptance.store_audit import Auditor, Findings
from tests.acceptance.sync_oracle import read_store_responses
from tests.raw_dicom import EXPLICIT, RawAssociation, associate_request, pdu

WAYS = ("close", "reset", "half-close")
_FRAGMENT_BYTES = 512 + 6
_THREADS = 4
_ANSWER_SECONDS = 20.0


@dataclass(frozen=True)
class Cut:
    """Where and how an association ends; ``position`` counts its bytes from the request on."""

    way: str
    position: int


@dataclass
class Outcome:
    """What came of all cuts."""

    cuts: Counter[str] = field(default_factory=Counter)
    complete: int = 0  # the whole object had been sent
    acknowledged: int = 0
    whole: int = 0
    absent: int = 0
    unanswered_half_closes: int = 0
    parts: int = 0
    descriptors_lost: int = 0
    findings: Findings = field(default_factory=Findings)

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not (self.findings or self.parts or self.descriptors_lost)


def plan(cuts: int, seed: int) -> list[Cut]:
    """Return cuts at every boundary in every way, then random ones; at most ``cuts``."""
    pieces = _pieces(ObjectSource(seed, sizes=(48,)))[1]
    boundaries = [sum(map(len, pieces[:number])) for number in range(len(pieces) + 1)]
    chance = random.Random(seed)
    planned = [Cut(way, position) for position in boundaries for way in WAYS]
    while len(planned) < cuts:
        planned.append(Cut(chance.choice(WAYS), chance.randrange(boundaries[-1] + 1)))
    return planned


def _pieces(source: ObjectSource) -> tuple[str, list[bytes], int]:
    """Return digest, the PDUs of an association in order, and how many bytes hold the object."""
    item = source.make()
    stencil = RawAssociation.__new__(RawAssociation)
    stencil.maximum_pdu = _FRAGMENT_BYTES
    request = associate_request("RADLOOP", "CUTTER", [(MR, EXPLICIT)])
    store = stencil.store_pdus(MR, item.sop_instance.encode(), item.data)
    pieces = [request, *store, pdu(5, bytes(4))]
    return item.digest, pieces, sum(map(len, pieces[:-1]))


class Cutter:
    """Sends, cuts and remembers.

    Args:
        node: running.
        seed: of the objects.
    """

    def __init__(self, node: ServedNode, seed: int) -> None:
        self._node = node
        self._source = ObjectSource(seed, sizes=(48,))
        self._lock = threading.Lock()
        self._sent: set[str] = set()
        self._told = Ledger()
        self.outcome = Outcome()

    def run(self, cuts: Sequence[Cut]) -> Outcome:
        """Make every cut, then audit."""
        self._make(Cut("half-close", 10**9))
        before = self._descriptors()
        waiting = iter(cuts)
        threads = [threading.Thread(target=self._work, args=(waiting,)) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._audit(before)
        return self.outcome

    def _work(self, waiting: Iterator[Cut]) -> None:
        while True:
            with self._lock:
                cut = next(waiting, None)
            if cut is None:
                return
            self._make(cut)

    def _make(self, cut: Cut) -> None:
        with self._lock:
            digest, pieces, object_end = _pieces(self._source)
        stream = b"".join(pieces)[: cut.position]
        answer = self._send(stream, len(pieces[0]), cut.way)
        statuses = [status for _, status in read_store_responses(answer)]
        with self._lock:
            outcome = self.outcome
            self._sent.add(digest)
            outcome.cuts[cut.way] += 1
            complete = cut.position >= object_end
            outcome.complete += complete
            if 0 in statuses:
                outcome.acknowledged += 1
                self._told.stored[digest] = ""
            elif complete and cut.way == "half-close":
                outcome.unanswered_half_closes += 1

    def _send(self, stream: bytes, request_bytes: int, way: str) -> bytes:
        """Send a stream, end it in a way, and return everything that came back."""
        with socket.create_connection(self._node.dicom, _ANSWER_SECONDS) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer = b""
            try:
                connection.sendall(stream[:request_bytes])
                if len(stream) > request_bytes:
                    answer = connection.recv(65536)
                    connection.sendall(stream[request_bytes:])
                if way == "reset":
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                elif way == "half-close":
                    connection.shutdown(socket.SHUT_WR)
                    while piece := connection.recv(65536):
                        answer += piece
            except ConnectionError:
                # The node may end what it cannot accept; what it said before counts.
                return answer
        return answer

    def _descriptors(self) -> int:
        return sum(open_descriptors(each.pid) for each in self._node.receivers())

    def _audit(self, descriptors: int) -> None:
        node, outcome = self._node, self.outcome
        auditor = Auditor(node.data)
        # What was cut off is given up as soon as the process has seen the end of the connection.
        node.wait_until(lambda: self._descriptors() <= descriptors, "the end of the connections")
        node.wait_until_indexed()
        with RawAssociation(node.dicom) as association:
            if association.echo() != 0:
                outcome.findings.lost.append("C-ECHO")
        found = set(auditor.files())
        outcome.findings += auditor.audit(self._told)
        outcome.whole = len(found & self._sent)
        outcome.absent = len(self._sent - found)
        outcome.parts = auditor.waiting_parts()
        node.wait_until(lambda: self._descriptors() <= descriptors, "the end of the echo")
        outcome.descriptors_lost = max(self._descriptors() - descriptors, 0)


def run(folder: Path, cuts: int, seed: int) -> Outcome:
    """Run so many cuts on a node of their own."""
    with served_node(folder / "node") as node:
        return Cutter(node, seed).run(plan(cuts, seed))


def report(outcome: Outcome) -> None:
    """Print a table, then everything in one line of JSON."""
    table = Table(title="Associations cut short")
    table.add_column("what")
    table.add_column("figure", justify="right")
    findings = outcome.findings
    figures = {
        "cuts": outcome.cuts.total(),
        "the whole object had been sent": outcome.complete,
        "acknowledged": outcome.acknowledged,
        "whole in the store": outcome.whole,
        "absent": outcome.absent,
        "torn": len(findings.torn),
        "acknowledged and lost": len(findings.lost),
        "doubled": len(findings.doubled),
        "half-written files left": outcome.parts,
        "descriptors lost": outcome.descriptors_lost,
        "half-closes after a whole object without answer": outcome.unanswered_half_closes,
    }
    for what, figure in figures.items():
        table.add_row(what, str(figure))
    Console().print(table)
    print(json.dumps({"test": "cuts", **figures, "ways": outcome.cuts}))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cuts", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radloop-cuts-") as folder:
        outcome = run(Path(folder), options.cuts, options.seed)
    report(outcome)
    sys.exit(0 if outcome.kept else 1)


if __name__ == "__main__":
    main()

"""What was on the disk when the answer left? Our node and three other receivers, traced.

    python -m tests.acceptance.sync_before_answer [--objects 100] [--states 200]

Each receiver runs under strace while objects are sent: new ones, ones that must be quarantined,
repeated ones, and ones that two associations send at the same moment. The oracle of
:mod:`tests.acceptance.sync_oracle` then reads the trace. For our node the power cut is played as
well: from the trace come directory states that the disk might have been left in, and the node's
own recovery runs on each. Prints a table and one line of JSON; exit status 1 where our node
acknowledged what was not durable, or lost something.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from plugin.simulation.ports import free_ports
from tests.acceptance.disk_events import Event, events
from tests.acceptance.modality import MR, QUARANTINED, SUCCESS, Engine, Item, ObjectSource
from tests.acceptance.power_cut import play
from tests.acceptance.served_node import LOOPBACK, ServedNode
from tests.acceptance.strace_log import OPTIONS, read_calls
from tests.acceptance.sync_oracle import Answer, Trace, Verdict, message_answers, store_answers
from tests.benchmarks.ingest import orthanc, raw_handler, storescp
from tests.builders import MEMORY_DISK
from tests.raw_dicom import EXPLICIT, RawAssociation

_READY_SECONDS = 60.0


@dataclass
class Traced:
    """A receiver's trace and what was sent to it."""

    happened: list[Event]
    port: int
    hl7_port: int = 0
    items: dict[str, Item] = field(default_factory=dict)  # by SOP Instance UID
    messages: dict[str, bytes] = field(default_factory=dict)  # SHA-256 of content by control id
    root: str = ""
    statuses: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Judged:
    """The oracle's verdicts on one receiver."""

    objects: list[Verdict]
    indexed: int  # answers before which a WAL with the object was synced
    messages: int  # HL7 acknowledgements, and how many of them before the commit was synced
    messages_early: int

    @property
    def violations(self) -> list[Verdict]:
        """The answers that came before the object was durable."""
        return [verdict for verdict in self.objects if not verdict.durable]


def trace_node(folder: Path, objects: int, messages: int) -> Traced:
    """Run our node under strace from its first start to its end; send and return the trace."""
    log = folder / "strace.log"
    node = ServedNode(folder / "node")
    try:
        node.start(["strace", *OPTIONS, "-o", str(log)])
        traced = _send(node.dicom, objects, odd_every=12)
        engine = Engine(node.ports.hl7, seed=1)
        engine.start()
        node.wait_until(lambda: len(engine.ledger.messages) >= messages, "the messages")
        engine.end()
        node.wait_until_indexed()
    finally:
        node.stop()
    with log.open(encoding="ascii") as lines:
        traced.happened = events(read_calls(lines), str(node.data))
    traced.hl7_port = node.ports.hl7
    traced.messages = engine.ledger.messages
    traced.root = os.path.realpath(node.data)
    return traced


def trace_program(folder: Path, command: Callable[[int], Sequence[str]], objects: int) -> Traced:
    """Run another receiver under strace, which stores under ``folder``."""
    log = folder.with_suffix(".log")
    with _running(["strace", *OPTIONS, "-o", str(log)], command) as address:
        traced = _send(address, objects, odd_every=0)
    with log.open(encoding="ascii") as lines:
        traced.happened = events(read_calls(lines), str(folder))
    return traced


@contextmanager
def _running(
    prefix: Sequence[str], command: Callable[[int], Sequence[str]]
) -> Iterator[tuple[str, int]]:
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [*prefix, *command(port)],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_ready((LOOPBACK, port))
        yield LOOPBACK, port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait_until_ready(address: tuple[str, int]) -> None:
    waited = 0.0
    while True:
        try:
            with RawAssociation(address, calling="TRACE") as association:
                if association.answer == 2 and association.echo() == 0:
                    return
        except OSError:
            if waited > _READY_SECONDS:
                raise
        waited += 0.1
        threading.Event().wait(0.1)


def _send(address: tuple[str, int], objects: int, odd_every: int) -> Traced:
    """Send new objects, some of them again, and some twice at the same time."""
    source = ObjectSource(seed=1, odd_every=odd_every, sizes=(16, 40))
    items = [source.make() for _ in range(objects)]
    twice = [source.make() for _ in range(max(objects // 10, 1))]
    traced = Traced([], address[1], items={each.sop_instance: each for each in items + twice})
    meeting = threading.Barrier(2)

    def work(own: Sequence[Item]) -> None:
        with RawAssociation(address, [(MR, EXPLICIT)], calling="TRACE") as association:
            for item in [*own, *own[:5]]:
                traced.statuses.append(_store(association, item))
            for item in twice:
                meeting.wait(60)
                traced.statuses.append(_store(association, item))
            association.release()

    threads = [threading.Thread(target=work, args=(items[n::2],)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return traced


def _store(association: RawAssociation, item: Item) -> int:
    return association.store(item.command_class, item.sop_instance, item.data)


def judge(traced: Traced, *, by_digest: bool) -> Judged:
    """Ask the oracle about every answer.

    Args:
        traced: the trace.
        by_digest: files are named by our digest; else they are known by the SOP Instance UID in
            their name or their first bytes.
    """
    trace = Trace(traced.happened)
    verdicts, indexed = [], 0
    for answer in store_answers(traced.happened, traced.port):
        if answer.status == SUCCESS or answer.status in QUARANTINED:
            item = traced.items[answer.key]
            token = (item.digest if by_digest else item.sop_instance).encode()
            verdicts.append(trace.verdict(answer, token))
            indexed += trace.record_synced(answer, item.sop_instance.encode())
    acknowledged = message_answers(traced.happened, traced.hl7_port)
    early = [each for each in acknowledged if not trace.appended_synced(each, _control_id(each))]
    return Judged(verdicts, indexed, len(acknowledged), len(early))


def _control_id(answer: Answer) -> bytes:
    """Return MSH-10 as it stands in the message, and in no other."""
    return f"|ORU^R01^ORU_R01|{answer.key}|".encode()


def anchors(root: Path) -> dict[str, tuple[str, Path, Callable[[int], Sequence[str]]]]:
    """Return program, folder and command of the receivers to stand beside ours."""
    folders = {name: root / name for name in ("orthanc", "storescp", "pynetdicom")}
    for folder in folders.values():
        folder.mkdir()
    return {
        "Orthanc": ("Orthanc", folders["orthanc"], orthanc(folders["orthanc"], sync=True)),
        "dcmtk storescp": ("storescp", folders["storescp"], storescp(folders["storescp"])),
        "pynetdicom storescp": (
            sys.executable,
            folders["pynetdicom"],
            lambda port: [
                *(sys.executable, "-m", "pynetdicom", "storescp", str(port)),
                *("-od", str(folders["pynetdicom"])),
            ],
        ),
        "pynetdicom raw handler": (
            sys.executable,
            folders["pynetdicom"],
            raw_handler(folders["pynetdicom"]),
        ),
    }


def report(judged: dict[str, Judged], absent: Sequence[str], played: dict[str, int]) -> None:
    """Print a table, then everything in one line of JSON."""
    table = Table(title="What was durable when the answer left (answers of each kind)")
    for column in ("receiver", "answers", "data synced", "before its name", "name synced"):
        table.add_column(column, justify="left" if column == "receiver" else "right")
    table.add_column("index synced", justify="right")
    table.add_column("HL7 AA, early", justify="right")
    for name, each in judged.items():
        verdicts = each.objects
        figures = [
            len(verdicts),
            sum(v.data for v in verdicts),
            sum(v.data_before_name for v in verdicts),
            sum(v.name for v in verdicts),
            each.indexed,
        ]
        early = f"{each.messages}, {each.messages_early}" if each.messages else ""
        table.add_row(name, *map(str, figures), early)
    for name in absent:
        table.add_row(name, "not installed")
    console = Console(width=120)
    console.print(table)
    if played:
        console.print("states a power cut could leave:", played)
    summary = {
        name: {
            "answers": len(each.objects),
            "violations": len(each.violations),
            "data_synced": sum(v.data for v in each.objects),
            "name_synced": sum(v.name for v in each.objects),
            "index_synced": each.indexed,
            "messages": each.messages,
            "messages_early": each.messages_early,
        }
        for name, each in judged.items()
    }
    print(json.dumps({"test": "sync_before_answer", "receivers": summary, "power_cut": played}))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--messages", type=int, default=30)
    parser.add_argument("--states", type=int, default=200)
    options = parser.parse_args()
    absent = []
    with (
        tempfile.TemporaryDirectory(prefix="radloop-sync-") as folder,
        tempfile.TemporaryDirectory(prefix="radloop-states-", dir=MEMORY_DISK) as states,
    ):
        root = Path(folder)
        ours = trace_node(root, options.objects, options.messages)
        judged = {"radloop": judge(ours, by_digest=True)}
        played = play(ours, options.states, seed=1, scratch=Path(states))
        for name, (program, place, command) in anchors(root).items():
            if shutil.which(program) is None:
                absent.append(name)
            else:
                judged[name] = judge(
                    trace_program(place, command, options.objects), by_digest=False
                )
    report(judged, absent, played)
    radloop = judged["radloop"]
    good = radloop.objects and not (radloop.violations or radloop.messages_early or played["lost"])
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

"""Many hours in some minutes: does a node that receives all the time grow, leak or slow down?

    python -m tests.acceptance.soak [--instances 100000] [--messages 20000] [--senders 4]

Objects and HL7 messages are sent as fast as the node takes them. Memory and descriptors of every
process of the node are read all the while; the tail of the answer times of the first and the last
tenth are compared. Prints a table and one line of JSON; exit status 1 where memory drifts by more
than 5 % between the second tenth and the last (and more than 16 MiB), descriptors grow, the tail
grows by more than half, or anything acknowledged is not there in the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.acceptance.modality import Engine, Modality, ObjectSource, Sender, merge
from tests.acceptance.served_node import ServedNode, memory_bytes, open_descriptors, served_node
from tests.acceptance.store_audit import Auditor, Findings

MEMORY_DRIFT, MEMORY_SLACK_BYTES = 0.05, 16 * 1024**2
DESCRIPTOR_SLACK = 4
TAIL_DRIFT = 0.5
_SAMPLE_SECONDS = 0.5
_TENTHS = 10


@dataclass
class Series:
    """Readings of one process over time."""

    name: str
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def memory_drift(self) -> tuple[float, float]:
        """Return medians in bytes: of the second tenth (the first one warms up), of the last."""
        return _tenth(self.memory, 1), _tenth(self.memory, _TENTHS - 1)

    def descriptor_drift(self) -> tuple[float, float]:
        """Return medians of the second and of the last tenth."""
        return _tenth(self.descriptors, 1), _tenth(self.descriptors, _TENTHS - 1)

    @property
    def steady(self) -> bool:
        """Whether neither memory nor descriptors grew."""
        early, late = self.memory_drift()
        opened, still_open = self.descriptor_drift()
        grown = late - early
        fits = grown <= max(MEMORY_DRIFT * early, MEMORY_SLACK_BYTES)
        return fits and still_open - opened <= DESCRIPTOR_SLACK


@dataclass
class Outcome:
    """What a soak gave; times in seconds."""

    series: list[Series]
    findings: Findings
    instances: int
    messages: int
    seconds: float
    first_tail: float
    last_tail: float

    @property
    def kept(self) -> bool:
        """Whether every bound was kept."""
        slower = self.last_tail > self.first_tail * (1 + TAIL_DRIFT)
        return all(each.steady for each in self.series) and not (self.findings or slower)


def _tenth(values: Sequence[float], number: int) -> float:
    size = max(len(values) // _TENTHS, 1)
    part = values[number * size : (number + 1) * size] or values[-1:]
    return statistics.median(part)


def run(folder: Path, *, instances: int, messages: int, senders: int) -> Outcome:
    """Send so much to a node of its own."""
    with served_node(folder / "node") as node:
        modalities = [
            Modality(node.dicom, ObjectSource(number, odd_every=200)) for number in range(senders)
        ]
        engine = Engine(node.ports.hl7, seed=1)
        series = _series(node)
        started = time.monotonic()
        both: list[Sender] = [*modalities, engine]
        for each in both:
            each.start()
        resting: set[Sender] = set()
        while len(resting) < len(both):
            time.sleep(_SAMPLE_SECONDS)
            for pid, one in series.items():
                one.memory.append(memory_bytes(pid))
                one.descriptors.append(open_descriptors(pid))
            if sum(len(each.ledger.stored) for each in modalities) >= instances:
                resting |= _rest(modalities)
            if len(engine.ledger.messages) >= messages:
                resting |= _rest([engine])
        seconds = time.monotonic() - started
        node.wait_until_indexed(seconds=3600)
        told = merge(both)
        findings = Auditor(node.data).audit(told)
        for each in both:
            each.end()
    tails = [_tails(each.ledger.seconds) for each in modalities]
    return Outcome(
        list(series.values()),
        findings,
        len(told.stored),
        len(told.messages),
        seconds,
        max(first for first, _ in tails),
        max(last for _, last in tails),
    )


def _series(node: ServedNode) -> dict[int, Series]:
    named = {each.pid: _name(each.command) for each in node.tree()}
    return {pid: Series(name) for pid, name in {node.pid: "main", **named}.items()}


def _name(command: str) -> str:
    return "receiver" if "dicom_node.receiver" in command else "child"


def _rest(senders: Sequence[Sender]) -> set[Sender]:
    for each in senders:
        each.rest()
    return set(senders)


def _tails(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the 99th percentile of the first and of the last tenth."""
    size = max(len(seconds) // _TENTHS, 2)
    first, last = seconds[:size], seconds[-size:]
    return statistics.quantiles(first, n=100)[-1], statistics.quantiles(last, n=100)[-1]


def report(outcome: Outcome) -> None:
    """Print a table, then everything in one line of JSON."""
    rate = outcome.instances / outcome.seconds
    table = Table(title=f"Soak: {outcome.instances} objects, {rate:.0f}/s, {outcome.seconds:.0f} s")
    for column in ("process", "memory early", "late", "descriptors early", "late", "steady"):
        table.add_column(column, justify="right")
    for each in outcome.series:
        memory = [f"{value / 2**20:.1f} MiB" for value in each.memory_drift()]
        opened = [f"{value:.0f}" for value in each.descriptor_drift()]
        table.add_row(each.name, *memory, *opened, "yes" if each.steady else "NO")
    console = Console()
    console.print(table)
    console.print(
        f"p99 of an answer, first / last tenth: {outcome.first_tail * 1000:.0f} ms / "
        f"{outcome.last_tail * 1000:.0f} ms; HL7 messages: {outcome.messages}"
    )
    summary = {
        "instances": outcome.instances,
        "messages": outcome.messages,
        "seconds": round(outcome.seconds, 1),
        "memory_mib": {
            f"{each.name} {n}": [round(value / 2**20, 1) for value in each.memory_drift()]
            for n, each in enumerate(outcome.series)
        },
        "descriptors": {
            f"{each.name} {n}": list(each.descriptor_drift())
            for n, each in enumerate(outcome.series)
        },
        "p99_seconds": [round(outcome.first_tail, 4), round(outcome.last_tail, 4)],
        "lost": len(outcome.findings.lost),
        "doubled": len(outcome.findings.doubled),
        "torn": len(outcome.findings.torn),
        "kept": outcome.kept,
    }
    print(json.dumps({"test": "soak", **summary}))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--senders", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radloop-soak-") as folder:
        outcome = run(
            Path(folder),
            instances=options.instances,
            messages=options.messages,
            senders=options.senders,
        )
    report(outcome)
    sys.exit(0 if outcome.kept else 1)


if __name__ == "__main__":
    main()

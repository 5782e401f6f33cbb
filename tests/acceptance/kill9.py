"""kill -9 of the node's processes at random moments, under senders that never stop.

    python -m tests.acceptance.kill9 [--kills 200] [--seed 1] [--senders 4] [--audit-every 25]

The victim is a receiver process, another child (what decodes and indexes), the main process or the
whole process group. A main process that died is started again: half of the time after everything
that it left behind was killed too, half of the time beside its orphans. What was acknowledged must
be in the store exactly once and byte for byte, in the index exactly once, and nothing torn may
carry a final name. Prints a table and one line of JSON; exit status 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.acceptance.modality import Engine, Modality, ObjectSource, Sender, merge
from tests.acceptance.served_node import NotReady, ServedNode
from tests.acceptance.store_audit import Auditor, Findings

WEIGHTS = {"receiver": 70, "child": 10, "main": 10, "group": 10}
_LONGEST_PAUSE_SECONDS = 0.6
# As fast as they can, the senders would outrun the indexer, and every audit would wait for it.
_PAUSE_SECONDS = 0.02
_PROGRESS_SECONDS = 60.0
_STARTS = 5


@dataclass
class Score:
    """What became of the run; durations in seconds."""

    kills: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    quarantined: int = 0
    messages: int = 0
    sent_again: int = 0
    findings: Findings = field(default_factory=Findings)
    orphans_found: int = 0
    orphans_left: int = 0
    parts_at_end: int = 0
    failed_starts: int = 0
    restarts: list[float] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not (self.findings or self.orphans_left or self.failed_starts)


class Killer:
    """Runs a node, its senders and their misfortune.

    Args:
        folder: empty; takes the node.
        seed: of victims, moments and objects.
        senders: how many modalities send at once; one HL7 engine is added.
    """

    def __init__(self, folder: Path, seed: int, senders: int) -> None:
        self._random = random.Random(seed)
        self._node = ServedNode(folder / "node")
        self._auditor = Auditor(self._node.data)
        self._senders: list[Sender] = [
            Modality(
                self._node.dicom,
                ObjectSource(seed * 100 + number, odd_every=20),
                pause=_PAUSE_SECONDS,
            )
            for number in range(senders)
        ]
        self._senders.append(Engine(self._node.ports.hl7, seed, pause=0.01))
        self.score = Score()

    def run(self, victims: Sequence[str], audit_every: int) -> Score:
        """Kill one victim after another, auditing in between and at the end."""
        started = time.monotonic()
        self._node.start()
        for each in self._senders:
            each.start()
        try:
            for number, kind in enumerate(victims, start=1):
                self._wait_for_progress()
                time.sleep(self._random.uniform(0, _LONGEST_PAUSE_SECONDS))
                self._kill(kind)
                if number % audit_every == 0 or number == len(victims):
                    self._audit()
        finally:
            for each in self._senders:
                each.end()
            self._node.stop()
        self.score.seconds = time.monotonic() - started
        return self.score

    def _kill(self, kind: str) -> None:
        children = self._node.tree()
        receivers = [each for each in children if "dicom_node.receiver" in each.command]
        others = [each for each in children if each not in receivers]
        victims = {"receiver": receivers, "child": others}.get(kind, [])
        if victims:
            _kill(self._random.choice(victims).pid)
        elif kind in ("receiver", "child"):
            # A node without such a child now: its main process takes the place.
            kind = "main" if not receivers else "receiver"
            _kill(self._random.choice(receivers).pid if receivers else self._node.pid)
        elif kind == "main":
            _kill(self._node.pid)
        else:
            self._node.kill_group()
        self.score.kills[kind] += 1
        if kind in ("main", "group"):
            self._restart()

    def _restart(self) -> None:
        process = self._node.process
        if process is not None:
            process.wait()
        if self._random.random() < 0.5:
            self._node.kill_group()
        self.score.findings.torn += self._auditor.torn()
        before = {path.name for path in (self._node.data / "tmp").iterdir()}
        began = time.monotonic()
        orphans = self._node.tree()
        for attempt in range(_STARTS):
            try:
                self._node.start()
                break
            except NotReady:
                self.score.failed_starts += 1
                if attempt == _STARTS - 1:
                    raise
        self.score.restarts.append(time.monotonic() - began)
        left = before & {path.name for path in (self._node.data / "tmp").iterdir()}
        self.score.orphans_found += len(before)
        self.score.orphans_left += len(left)
        for each in orphans:
            _kill(each.pid)

    def _wait_for_progress(self) -> None:
        """Wait until something new was acknowledged: every kill hits a node that works."""
        began = time.monotonic()
        before = self._acknowledged()
        while self._acknowledged() == before:
            if time.monotonic() - began > _PROGRESS_SECONDS:
                raise NotReady("nothing is acknowledged any more")
            time.sleep(0.01)
        self.score.recoveries.append(time.monotonic() - began)

    def _acknowledged(self) -> int:
        modalities = self._senders[:-1]
        return sum(len(each.ledger.stored) for each in modalities)

    def _audit(self) -> None:
        for each in self._senders:
            each.rest()
        self._node.wait_until_indexed()
        told = merge(self._senders)
        self.score.findings += self._auditor.audit(told)
        self.score.objects = len(told.stored)
        self.score.quarantined = len(told.quarantined)
        self.score.messages = len(told.messages)
        self.score.sent_again = told.again
        self.score.refused = told.refused
        self.score.parts_at_end = self._auditor.waiting_parts()
        for each in self._senders:
            each.resume()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def draw_victims(kills: int, seed: int) -> list[str]:
    """Return kinds of victims, drawn by their weights."""
    return random.Random(seed).choices(list(WEIGHTS), list(WEIGHTS.values()), k=kills)


def report(score: Score) -> None:
    """Print a table, then everything in one line of JSON."""
    table = Table(title=f"kill -9, {sum(score.kills.values())} times in {score.seconds:.0f} s")
    table.add_column("what")
    table.add_column("figure", justify="right")
    restarts = score.restarts or [0.0]
    findings = score.findings
    for what, figure in (
        ("kills by victim", ", ".join(f"{k} {n}" for k, n in score.kills.most_common())),
        ("objects acknowledged", score.objects),
        ("objects acknowledged as quarantined", score.quarantined),
        ("HL7 messages acknowledged", score.messages),
        ("connections lost and begun again", score.sent_again),
        ("lost", len(findings.lost)),
        ("doubled", len(findings.doubled)),
        ("torn under a final name", len(findings.torn)),
        ("half-written files at a start", score.orphans_found),
        ("of these left after it", score.orphans_left),
        ("half-written files at the end", score.parts_at_end),
        ("starts that failed", score.failed_starts),
        ("restart to first answer, p50 / max", _seconds(restarts)),
        ("kill to next acknowledgement, p50 / max", _seconds(score.recoveries or [0.0])),
    ):
        table.add_row(what, str(figure))
    Console().print(table)
    summary: dict[str, Any] = dict(vars(score))
    summary["seconds"] = round(score.seconds)
    for old, name in (("restarts", "restart_seconds"), ("recoveries", "recovery_seconds")):
        values = summary.pop(old) or [0.0]
        summary[name] = {
            "p50": round(statistics.median(values), 2),
            "max": round(max(values), 2),
        }
    for name in ("lost", "doubled", "torn"):
        summary[name] = len(getattr(findings, name))
    del summary["findings"]
    print(json.dumps({"test": "kill9", **summary}))


def _seconds(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} s / {max(values):.1f} s"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--audit-every", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radloop-kill9-") as folder:
        victims = draw_victims(options.kills, options.seed)
        score = Killer(Path(folder), options.seed, options.senders).run(
            victims, options.audit_every
        )
    report(score)
    sys.exit(0 if score.kept else 1)


if __name__ == "__main__":
    main()

"""A node whose disk fills up: what it answers, what it keeps, and whether it recovers by itself.

    python -m tests.acceptance.full_disk

The data folder, database and all, lies on a tmpfs of its own (root only). Part of the space is
taken by a filler; objects and HL7 messages are sent far past the point where the disk is full; then
the filler goes and the same processes must take everything again. Prints a table and one line of
JSON; exit status 1 where a promise was broken.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dicom_node.errors import Transient
from dicom_node.mllp.client import send_messages
from tests.acceptance.modality import MR, OUT_OF_RESOURCES, SUCCESS, Item, Ledger, ObjectSource
from tests.acceptance.served_node import LOOPBACK, ServedNode
from tests.acceptance.store_audit import Auditor, Findings
from tests.hl7_builders import oru
from tests.raw_dicom import EXPLICIT, RawAssociation

# Rejected transient by the presentation related service provider: congestion, local limit (PS3.8).
_TRANSIENT = ("association refused (2, 3, 1)", "association refused (2, 3, 2)")
ALLOWED = frozenset(("0000", "A700", *_TRANSIENT))
_PATIENCE_SECONDS = 30.0
_PER_ASSOCIATION = 10


class CannotMount(Exception):
    """This machine does not let us mount a tmpfs."""


@dataclass(frozen=True)
class Scenario:
    """One way to run out.

    Attributes:
        size: of the file system, as mount takes it.
        filler_bytes: taken from the start and given back in the end.
        rows: edge length of the images that are sent.
        stores: how many are sent, whatever the answers.
        minimum_free_bytes: the setting; 0 lets the disk fill to the last byte.
        inodes: how many the file system has; 0 for as many as it likes.
        filler_files: empty files that take inodes, given back in the end.
    """

    name: str
    size: str
    filler_bytes: int
    rows: int
    stores: int = 300
    minimum_free_bytes: int = 0
    inodes: int = 0
    filler_files: int = 0


MEBIBYTE = 1024**2
SCENARIOS = (
    Scenario("4 MiB to the last byte", "4m", MEBIBYTE, 48),
    Scenario("64 MiB to the last byte", "64m", 40 * MEBIBYTE, 384),
    Scenario("64 MiB to the watermark", "64m", 40 * MEBIBYTE, 384, minimum_free_bytes=8 * MEBIBYTE),
    Scenario("no inode left", "64m", 0, 16, inodes=320, filler_files=200),
)


@dataclass
class Outcome:
    """What one scenario gave."""

    answers: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    refused_at_full: int = 0
    parts_at_full: int = 0
    torn_at_full: int = 0
    acknowledged: int = 0
    findings: Findings = field(default_factory=Findings)
    recovered: bool = False
    same_processes: bool = False

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return (
            set(self.answers) <= ALLOWED
            and set(self.messages) <= {"AA", "AE"}
            and self.refused_at_full > 0
            and self.torn_at_full == self.parts_at_full == 0
            and not self.findings
            and self.recovered
            and self.same_processes
        )


@contextmanager
def mounted_tmpfs(folder: Path, size: str, inodes: int = 0) -> Iterator[Path]:
    """Mount a tmpfs on a new folder while the block lasts.

    Raises:
        CannotMount: it is refused, as for everybody but root.
    """
    folder.mkdir()
    options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "radloop-test", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotMount(done.stderr.strip())
    try:
        yield folder
    finally:
        # Whatever still holds a file of it loses the name at once and the rest with its end.
        subprocess.run(["umount", "--lazy", folder], check=True)


class Filling:
    """One scenario on one node.

    Args:
        node: running, its data folder on the file system that fills.
        scenario: what to send.
    """

    def __init__(self, node: ServedNode, scenario: Scenario) -> None:
        self._node = node
        self._scenario = scenario
        self._source = ObjectSource(seed=3, sizes=(scenario.rows,))
        self._told = Ledger()
        self._auditor = Auditor(node.data)
        self._control_ids = (f"D{number}" for number in range(1, 10**6))
        self.outcome = Outcome()

    def run(self, give_space_back: list[Path]) -> Outcome:
        """Fill the disk, free it by removing files, and audit."""
        before = self._processes()
        sent = 0
        while sent < self._scenario.stores:
            sent += self._send(min(_PER_ASSOCIATION, self._scenario.stores - sent))
            self._message()
        if self._scenario.minimum_free_bytes:
            # What is left above the mark may be less than an object; now nothing is.
            with give_space_back[0].open("ab") as file:
                file.write(bytes(MEBIBYTE))
            self._send(1)
        outcome = self.outcome
        outcome.refused_at_full = outcome.answers.total() - outcome.answers["0000"]
        outcome.torn_at_full = len(self._auditor.torn())
        outcome.parts_at_full = self._auditor.waiting_parts()
        for path in give_space_back:
            path.unlink()
        self._node.wait_until(self._takes_everything, "recovery", _PATIENCE_SECONDS)
        outcome.recovered = True
        self._node.wait_until_indexed()
        outcome.same_processes = before == self._processes()
        outcome.acknowledged = self._told.acknowledged
        outcome.findings = self._auditor.audit(self._told)
        return outcome

    def _processes(self) -> set[int]:
        return {each.pid for each in self._node.receivers()} | {self._node.pid}

    def _takes_everything(self) -> bool:
        stored = len(self._told.stored)
        self._send(3)
        return len(self._told.stored) == stored + 3 and self._message()

    def _send(self, count: int) -> int:
        """Send over one association; return how many attempts that was."""
        with RawAssociation(self._node.dicom, [(MR, EXPLICIT)], calling="FILLER") as association:
            if association.answer == 3:
                self.outcome.answers[f"association refused {tuple(association.body[1:4])}"] += 1
                return 1
            if association.answer != 2:
                self.outcome.answers[f"association answered by {association.answer}"] += 1
                return 1
            for number in range(count):
                try:
                    status = self._store(association)
                except ConnectionError:
                    self.outcome.answers["connection lost"] += 1
                    return number + 1
                if status not in (SUCCESS, OUT_OF_RESOURCES):
                    return number + 1
            association.release()
        return count

    def _store(self, association: RawAssociation) -> int:
        item: Item = self._source.make()
        status = association.store(MR, item.sop_instance, item.data)
        self.outcome.answers[f"{status:04X}"] += 1
        if status == SUCCESS:
            self._told.stored[item.digest] = item.sop_instance
        return status

    def _message(self) -> bool:
        """Send an HL7 message; tell whether it was taken."""
        name = next(self._control_ids)
        message = oru(control_id=name, filler=name, accession=name, placer=name, lines=["x" * 2000])
        try:
            (result,) = send_messages(LOOPBACK, self._node.ports.hl7, [message], timeout=60)
        except Transient:
            self.outcome.messages["no connection"] += 1
            return False
        self.outcome.messages[result.code or "no answer"] += 1
        if result.code == "AA":
            self._told.messages[name] = hashlib.sha256(message).digest()
        return result.code == "AA"


def run(scenario: Scenario, folder: Path) -> Outcome:
    """Run a scenario in an empty folder.

    Raises:
        CannotMount: this machine does not allow it.
    """
    with mounted_tmpfs(folder / "disk", scenario.size, scenario.inodes) as disk:
        fillers = [disk / f"filler{number}" for number in range(scenario.filler_files + 1)]
        settings = {"minimum_free_bytes": str(scenario.minimum_free_bytes)}
        node = ServedNode(folder / "node", settings, data=disk / "data")
        try:
            node.start()
            for path in fillers:
                path.touch()
            fillers[0].write_bytes(bytes(scenario.filler_bytes))
            return Filling(node, scenario).run(fillers)
        finally:
            node.stop()


def report(outcomes: dict[str, Outcome]) -> None:
    """Print a table, then everything in one line of JSON."""
    table = Table(title="Full disk")
    for column in ("disk", "answers to stores", "HL7", "partial files", "acknowledged", "lost"):
        table.add_column(column)
    table.add_column("recovers without restart")
    for name, each in outcomes.items():
        table.add_row(
            name,
            _counts(each.answers),
            _counts(each.messages),
            str(each.parts_at_full + each.torn_at_full + len(each.findings.torn)),
            str(each.acknowledged),
            str(len(each.findings.lost)),
            "yes" if each.recovered and each.same_processes else "NO",
        )
    Console(width=160).print(table)
    summary = {
        name: {
            "answers": each.answers,
            "messages": each.messages,
            "acknowledged": each.acknowledged,
            "lost": len(each.findings.lost),
            "doubled": len(each.findings.doubled),
            "torn": len(each.findings.torn) + each.torn_at_full,
            "partial_files": each.parts_at_full,
            "recovered": each.recovered and each.same_processes,
            "kept": each.kept,
        }
        for name, each in outcomes.items()
    }
    print(json.dumps({"test": "full_disk", "scenarios": summary}))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in counter.most_common())


def main() -> None:
    """Run every scenario from the command line."""
    outcomes = {}
    for scenario in SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="radloop-full-") as folder:
            try:
                outcomes[scenario.name] = run(scenario, Path(folder))
            except CannotMount as error:
                sys.exit(f"a tmpfs cannot be mounted here: {error}")
    report(outcomes)
    sys.exit(0 if all(each.kept for each in outcomes.values()) else 1)


if __name__ == "__main__":
    main()

"""Two adversarial hospitals through the filing of messages: no report meets the wrong patient.

    python -m tests.acceptance.linking [--pairs 100000] [--seed 1] [--processes 2] [--shard 100000]

Reports, orders, patient messages and studies arrive in random order, some of them much later than
the rest. What the node made of them is held against the truth, which the generator knows; the two
usual ways of linking are tried on the same pairs. How often each fault occurs stands in
``tests/acceptance/adversarial/rates.toml``. More pairs than a shard holds are several hospitals,
each with a database of its own. Prints a table and one line of JSON; exit status 1 where a promise
was broken.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.acceptance.adversarial.baselines import Baseline, link_by_numbers
from tests.acceptance.adversarial.filing import FilingNode, scratch_folder
from tests.acceptance.adversarial.hospital import Hospital
from tests.acceptance.adversarial.rates import DECK, load_rates
from tests.acceptance.adversarial.verdict import Verdict, judge

WAYS = {"bare accession": False, "accession and patient id": True}


@dataclass
class Run:
    """What came of one or more hospitals."""

    verdict: Verdict = field(default_factory=Verdict)
    baselines: dict[str, Baseline] = field(
        default_factory=lambda: {name: Baseline() for name in WAYS}
    )
    shared: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    memory_mib: float = 0.0

    def __iadd__(self, other: Run) -> Run:
        self.verdict += other.verdict
        for name, each in other.baselines.items():
            self.baselines[name] += each
        self.shared = self.shared or other.shared
        self.seconds += other.seconds
        self.memory_mib = max(self.memory_mib, other.memory_mib)
        return self


def run_shard(pairs: int, seed: int) -> Run:
    """Run one hospital of so many pairs in a database of its own."""
    started = time.monotonic()
    hospital = Hospital(pairs, seed)
    result = Run()
    with scratch_folder("radloop-linking-") as folder:
        node = FilingNode(Path(folder))
        try:
            for number, arrivals in enumerate(hospital.arrivals()):
                node.take(arrivals, studies_first=number % 2 == 1)
            result.verdict = judge(hospital.pairs, hospital.people, node.found(), node.set_aside())
            result.verdict.stale_links = node.stale_links()
        finally:
            node.close()
    result.verdict.messages = hospital.messages
    result.verdict.studies = len(hospital.people)
    for name, with_patient in WAYS.items():
        result.baselines[name] = link_by_numbers(
            hospital.pairs, hospital.people, hospital.bare, with_patient=with_patient
        )
    result.shared = hospital.shared()
    result.seconds = time.monotonic() - started
    result.memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def run(pairs: int, seed: int, processes: int = 1, shard: int = 100_000) -> Run:
    """Run as many hospitals as the pairs need."""
    total = Run()
    shards = list(_shards(pairs, seed, processes, shard))
    for number, each in enumerate(_results(shards, processes), start=1):
        total += each
        verdict = total.verdict
        # Long runs may be cut off: what was found until then must not be lost.
        print(
            f"{number} of {len(shards)} hospitals: {verdict.pairs} pairs, "
            f"{verdict.wrong_links} wrong links, broken: {verdict.broken}",
            file=sys.stderr,
            flush=True,
        )
    return total


def _shards(pairs: int, seed: int, processes: int, shard: int) -> Iterator[tuple[int, int]]:
    """Yield pairs and seed of each shard: equal ones, as many as keep every process busy."""
    count = max(-(-pairs // shard), min(processes, -(-pairs // (10 * DECK))))
    rest = -(-pairs // DECK)
    for number in range(count):
        decks = rest // (count - number)
        rest -= decks
        yield decks * DECK, 1000 * seed + number


def _results(shards: list[tuple[int, int]], processes: int) -> Iterator[Run]:
    if processes == 1 or len(shards) == 1:
        for pairs, seed in shards:
            yield run_shard(pairs, seed)
        return
    with mp.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(_run_shard, shards, chunksize=1)


def _run_shard(shard: tuple[int, int]) -> Run:
    return run_shard(*shard)


def report(total: Run, pairs: int, seed: int) -> None:
    """Print tables, then everything in one line of JSON."""
    console = Console()
    verdict = total.verdict
    console.print(_main_table(total))
    console.print(_fault_table(verdict))
    for example in verdict.examples:
        console.print(example, markup=False)
    print(
        json.dumps(
            {
                "test": "linking",
                "asked": pairs,
                "seed": seed,
                **{name: value for name, value in vars(verdict).items() if name != "examples"},
                "clean_recall": round(verdict.clean_recall, 6),
                "faulty_recall": round(verdict.faulty_recall, 6),
                "faulty_recall_with_contested": round(verdict.faulty_recall_with_contested, 6),
                "wrong_links_at_most_per_million_pairs": _bound(verdict),
                "baselines": {name: asdict(each) for name, each in total.baselines.items()},
                "shared_numbers": total.shared,
                "least_shares": load_rates().faults,
                "seconds": round(total.seconds, 1),
                "memory_mib": round(total.memory_mib),
                "broken": verdict.broken,
            }
        )
    )


def _bound(verdict: Verdict) -> float | None:
    """The rule of three: with no wrong link in n pairs, at most 3/n of them at 95 %."""
    return None if verdict.wrong_links or not verdict.pairs else round(3e6 / verdict.pairs, 3)


def _main_table(total: Run) -> Table:
    verdict = total.verdict
    by_number = [total.baselines[name] for name in WAYS]
    table = Table(title="Linking in adversarial hospitals")
    table.add_column("what")
    for name in ("radloop", *WAYS):
        table.add_column(name, justify="right")

    def add(what: str, own: object, *others: object) -> None:
        table.add_row(what, str(own), *(str(each) for each in others))

    add("pairs of report and study", verdict.pairs)
    add("with a fault", _share(verdict.with_fault, verdict.pairs))
    add("messages, replays included", verdict.messages)
    add("studies", verdict.studies)
    add("links", verdict.confirmed_links, *(each.links for each in by_number))
    add("wrong links", verdict.wrong_links, *(each.wrong_links for each in by_number))
    add("  to another person", verdict.wrong_person, *(each.wrong_person for each in by_number))
    add(
        "clean pairs linked",
        _share(verdict.clean_linked, verdict.clean),
        *(_share(each.clean_linked, each.clean) for each in by_number),
    )
    add(
        "faulty linkable pairs linked",
        _share(verdict.faulty_linked, verdict.faulty_linkable),
        *(_share(each.faulty_linked, each.faulty_linkable) for each in by_number),
    )
    add("of these pairs", verdict.faulty_linkable)
    add(
        "contested by a stranger's report: linked", _of(verdict.contested_linked, verdict.contested)
    )
    add(
        "must stay unlinked: linked",
        _of(verdict.linked_without_agreement, verdict.must_stay_unlinked),
    )
    add("withdrawn or cancelled: linked", _of(verdict.withdrawn_linked, verdict.withdrawn))
    add("links of versions that do not hold", verdict.stale_links)
    add("unlinked without the true reason", _of(verdict.unlinked_without_reason, verdict.unlinked))
    add("current text wrong", _of(verdict.texts_wrong, verdict.texts))
    add("reports missing", verdict.reports_missing)
    add("reports doubled", verdict.reports_doubled)
    return table


def _fault_table(verdict: Verdict) -> Table:
    table = Table(title="By fault")
    for name in ("fault", "share", "linkable", "linked", "must stay unlinked", "unlinked"):
        table.add_column(name, justify="left" if name == "fault" else "right")
    count = verdict.by_fault
    for fault in ("", *load_rates().faults):
        linkable, apart = count[f"{fault}|linkable"], count[f"{fault}|unlinked"]
        table.add_row(
            fault or "none",
            _share(linkable + apart + count[f"{fault}|contested"], verdict.pairs),
            str(linkable),
            _share(count[f"{fault}|linkable and right"], linkable),
            str(apart),
            _share(count[f"{fault}|unlinked and right"], apart),
        )
    return table


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "-"


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--shard", type=int, default=100_000)
    options = parser.parse_args()
    total = run(options.pairs, options.seed, options.processes, options.shard)
    report(total, options.pairs, options.seed)
    sys.exit(1 if total.verdict.broken else 0)


if __name__ == "__main__":
    main()

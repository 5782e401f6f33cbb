"""Whatever order messages and studies arrive in, one state follows.

    python -m tests.acceptance.order_independence [--events 10000] [--permutations 100]
                                                  [--duplicates 0.1] [--seed 1] [--processes 1]

The same mixed events of two adversarial hospitals (reports, corrections, orders, merges, un-merges,
overwritten charts, studies) arrive in random permutations, some of them twice, in batches of random
size, each time in an empty database. The hash of what holds at the end must be the same: current
reports with their text and sections, their links with rule, reason and evidence, and who is one
patient with whom. Prints a table and one line of JSON; exit status 1 where two states differ.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.acceptance.adversarial.filing import FilingNode, scratch_folder
from tests.acceptance.adversarial.hospital import Arrival, Hospital
from tests.acceptance.adversarial.state import state_hash, state_of

_LARGEST_BATCH = 1500
_EVENTS_PER_PAIR = 3


@dataclass
class Outcome:
    """What came of all permutations.

    Args:
        events: how many different ones; ``filed`` counts those of all permutations, twice included.
        states: how often each hash was reached.
        contents: how many current reports, confirmed links and patients the first state holds.
        difference: some lines of the first two states that differ.
    """

    events: int = 0
    filed: int = 0
    states: Counter[str] = field(default_factory=Counter)
    contents: dict[str, int] = field(default_factory=dict)
    difference: list[str] = field(default_factory=list)
    seconds: float = 0.0


def mixed_events(count: int, seed: int) -> list[Arrival]:
    """Return so many different events, messages and studies mixed."""
    hospital = Hospital(-(-count // _EVENTS_PER_PAIR) + 200, seed)
    seen: set[bytes] = set()

    def fresh() -> Iterator[Arrival]:
        for arrivals in hospital.arrivals():
            for each in arrivals:
                key = each.message or repr(each.study).encode()
                if key not in seen:
                    seen.add(key)
                    yield each

    return list(islice(fresh(), count))


def permuted(
    events: list[Arrival], number: int, seed: int, duplicates: float
) -> Iterator[list[Arrival]]:
    """Yield batches of a permutation in which a share of the events comes twice."""
    chance = random.Random(f"permutation {seed} {number}")
    twice = chance.sample(events, round(duplicates * len(events)))
    order = events + twice
    chance.shuffle(order)
    while order:
        # Sizes over several orders of magnitude: messages one by one, and floods after an outage.
        size = min(len(order), int(_LARGEST_BATCH ** chance.random()) + 1)
        batch, order = order[:size], order[size:]
        yield batch


def arrive(
    number: int, events: list[Arrival], seed: int, duplicates: float
) -> tuple[list[str], int]:
    """File one permutation in an empty database; return the state as lines, and how many came."""
    filed = 0
    chance = random.Random(f"studies {seed} {number}")
    with scratch_folder("radloop-order-") as folder:
        node = FilingNode(Path(folder))
        try:
            for batch in permuted(events, number, seed, duplicates):
                node.take(batch, studies_first=chance.random() < 0.5)
                filed += len(batch)
            return state_of(node), filed
        finally:
            node.close()


def run(
    events: int, permutations: int, seed: int, duplicates: float = 0.1, processes: int = 1
) -> Outcome:
    """File every permutation and compare the states."""
    started = time.monotonic()
    arrivals = mixed_events(events, seed)
    outcome = Outcome(events=len(arrivals))
    one = partial(arrive, events=arrivals, seed=seed, duplicates=duplicates)
    first: list[str] = []
    for lines, filed in _results(one, permutations, processes):
        outcome.filed += filed
        outcome.states[state_hash(lines)] += 1
        if not first:
            first = lines
            outcome.contents = dict(Counter(line.partition(" ")[0] for line in lines))
        elif lines != first and not outcome.difference:
            apart = sorted(set(lines) ^ set(first))
            outcome.difference = [("< " if each in first else "> ") + each for each in apart[:12]]
        # Long runs may be cut off: what was found until then must not be lost.
        count, states = sum(outcome.states.values()), len(outcome.states)
        print(f"{count} of {permutations} permutations: {states} state(s)", file=sys.stderr)
    outcome.seconds = time.monotonic() - started
    return outcome


def _results(
    one: partial[tuple[list[str], int]], permutations: int, processes: int
) -> Iterator[tuple[list[str], int]]:
    if processes == 1:
        yield from map(one, range(permutations))
        return
    with mp.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(one, range(permutations))


def report(outcome: Outcome) -> None:
    """Print a table, then everything in one line of JSON."""
    table = Table(title="Order of arrival")
    table.add_column("what")
    table.add_column("figure", justify="right")
    figures = {
        "different events": outcome.events,
        "permutations": outcome.states.total(),
        "arrivals in all, duplicates included": outcome.filed,
        "different states": len(outcome.states),
        **{f"of the state: {what}": count for what, count in sorted(outcome.contents.items())},
        "seconds": round(outcome.seconds, 1),
    }
    for what, figure in figures.items():
        table.add_row(what, str(figure))
    console = Console()
    console.print(table)
    for line in outcome.difference:
        console.print(line[:1000], markup=False)
    print(json.dumps({"test": "order_independence", **figures, "states": outcome.states}))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--duplicates", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    outcome = run(
        options.events, options.permutations, options.seed, options.duplicates, options.processes
    )
    report(outcome)
    sys.exit(0 if len(outcome.states) == 1 else 1)


if __name__ == "__main__":
    main()

"""Reports per second of the student as the node runs it, beside plain torch in 32 bits.

    python -m tests.benchmarks.student [--rounds 5] [--reports 256] [--threads 2]

``plain`` reads with one process, all threads and float32. ``fast`` reads as ``radloop label
--labeler student`` does: in the number format that the processor multiplies in hardware, one
process a thread. Both are the same student, in child processes, on the same generated reports of
natural length, cut at 512 tokens of the encoder. Rounds are interleaved, and the order alternates;
only the ratios within a round mean something on a shared machine. AUROC is that of the known truth
against the margins of each way, over all rounds, at the whole report and at its sites. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer

from labeling.labeler import LabelResult
from labeling.llm.model_store import ModelStore
from labeling.processor import best_format
from labeling.schema_file import shipped_schema
from labeling.settings import LabelingSettings
from labeling.student.encoder import stored_encoder
from labeling.synthesis.generator import generate
from labeling.vocabulary import State
from plugin.labeler_children import LabelerChildren, labeler_children

REPORTS = 256
"""In a round, as many as two processes are given at once."""

MOST_TOKENS = 512
PUBLISHED = 121_556 / 1_800
"""Reports per second of Wood et al. (Eur Radiol 2022): 121,556 in half an hour."""

SCHEMA = shipped_schema("spine")
WAYS: Mapping[str, Mapping[str, object]] = {
    "plain": {"dtype": "float32", "processes": 1},
    "fast": {"dtype": "auto", "processes": 0},
}

STYLES = ("clinical", "by_site", "narrative")
"""Styles of the length of a whole report; notes and impressions alone are read faster."""

Place = tuple[str, str]


@dataclass(frozen=True)
class Known:
    """A report and its truth."""

    text: str
    states: Mapping[Place, State]


@dataclass
class Way:
    """One way of reading, and what was measured of it by round."""

    reader: LabelerChildren
    reports: list[float] = field(default_factory=list)
    results: list[list[LabelResult]] = field(default_factory=list)

    def read(self, some: Sequence[Known]) -> None:
        """Read reports, and note reports per second."""
        started = time.perf_counter()
        found = [each for _, each in self.reader.read(list(enumerate(_texts(some))), _quiet)]
        self.reports.append(len(some) / (time.perf_counter() - started))
        self.results += found


def _texts(some: Sequence[Known]) -> list[str]:
    return [each.text for each in some]


def _quiet(_: str) -> None:
    """Take a line of progress and drop it."""


def known_reports(count: int, tokenizer: Tokenizer) -> tuple[list[Known], list[int]]:
    """Return full reports in phrasings that nothing learned from, and how many tokens each has."""
    found, lengths = [], []
    for each in generate(SCHEMA, count * 8, seed=11, split="test"):
        if each.style not in STYLES:
            continue
        encoding = tokenizer.encode(each.text, add_special_tokens=False)
        text = each.text
        if len(encoding.ids) > MOST_TOKENS:
            text = text[: encoding.offsets[MOST_TOKENS - 1][1]]
        lengths.append(min(len(encoding.ids), MOST_TOKENS))
        found.append(Known(text, each.states))
        if len(found) == count:
            break
    return found, lengths


def auroc(results: Sequence[Sequence[LabelResult]], reports: Sequence[Known]) -> dict[str, float]:
    """Return AUROC of present by observation, whole and at sites, where both kinds occur."""
    scored: dict[str, list[tuple[bool, float]]] = {}
    for some, report in zip(results, reports, strict=True):
        for each in some:
            state = report.states.get((each.observation, each.site))
            if state is not None and each.margin is not None:
                where = "whole" if each.site == "whole" else "sites"
                pair = (state is State.PRESENT, each.margin)
                scored.setdefault(f"{each.observation} {where}", []).append(pair)
    found = {}
    for name, pairs in scored.items():
        truth, margins = zip(*pairs, strict=True)
        if 0 < sum(truth) < len(truth):
            found[name] = float(roc_auc_score(truth, margins))
    return found


def ways_of(stack: ExitStack, store: Path, threads: int) -> dict[str, Way]:
    """Open the child processes of each way."""
    ways = {}
    for name, student in WAYS.items():
        settings = LabelingSettings.model_validate(
            {"student": student, "language_model": {"threads": threads}}
        )
        log = store / f"{name}.log"
        opened = labeler_children(log, "student", settings, store)
        ways[name] = Way(stack.enter_context(opened))
    return ways


def measure(
    ways: Mapping[str, Way], warm: Sequence[Known], rounds: Sequence[Sequence[Known]]
) -> None:
    """Load both, then let both read each round, in alternating order."""
    for way in ways.values():
        way.read(warm)
        way.reports.clear()
        way.results.clear()
    for number, some in enumerate(rounds):
        order = list(ways) if number % 2 == 0 else list(reversed(list(ways)))
        for name in order:
            ways[name].read(some)


def result_of(
    ways: Mapping[str, Way], reports: Sequence[Known], lengths: Sequence[int], threads: int
) -> dict[str, object]:
    """Return what was measured as values of JSON."""
    plain, fast = ways["plain"], ways["fast"]
    ratios = [b / a for a, b in zip(plain.reports, fast.reports, strict=True)]
    areas = {name: auroc(way.results, reports) for name, way in ways.items()}
    losses = {name: areas["plain"][name] - areas["fast"][name] for name in areas["plain"]}
    return {
        "benchmark": "student",
        "threads": threads,
        "dtype": best_format("auto"),
        "rounds": len(ratios),
        "reports": len(reports),
        "tokens": {
            "mean": round(statistics.mean(lengths), 1),
            "median": statistics.median(lengths),
            "most": max(lengths),
            "capped": sum(each == MOST_TOKENS for each in lengths),
        },
        "reports_per_second": {
            name: [round(each, 2) for each in way.reports] for name, way in ways.items()
        },
        "median": {name: round(statistics.median(way.reports), 2) for name, way in ways.items()},
        "ratios": [round(each, 2) for each in ratios],
        "median_ratio": round(statistics.median(ratios), 2),
        "of_published": round(statistics.median(fast.reports) / PUBLISHED, 2),
        "auroc": {name: _rounded(each) for name, each in areas.items()},
        "largest_auroc_loss": round(max(losses.values()), 5),
        "mean_auroc_loss": round(statistics.mean(losses.values()), 5),
    }


def _rounded(areas: Mapping[str, float]) -> dict[str, float]:
    return {name: round(area, 4) for name, area in areas.items()}


def run(rounds: int, reports: int, threads: int) -> dict[str, object]:
    """Measure, print a table, and return the values of JSON."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store = Path(folder)
        encoder = stored_encoder(ModelStore(store)).path
        tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
        tokenizer.no_truncation()
        known, lengths = known_reports((rounds + 1) * reports, tokenizer)
        ways = ways_of(stack, store, threads)
        parts = [known[start : start + reports] for start in range(0, len(known), reports)]
        measure(ways, parts[-1], parts[:-1])
        result = result_of(ways, known[:-reports], lengths[:-reports], threads)
    print(f"{'student':17}{'reports/s':>11}{'lowest':>9}{'highest':>9}{'x plain':>9}")
    for name, way in ways.items():
        times = result["median_ratio"] if name == "fast" else 1.0
        print(
            f"{name:17}{statistics.median(way.reports):11.2f}{min(way.reports):9.2f}"
            f"{max(way.reports):9.2f}{times:9.2f}"
        )
    print(f"published        {PUBLISHED:11.2f}")
    print(f"largest loss of AUROC {result['largest_auroc_loss']}, tokens {result['tokens']}")
    return result


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reports", type=int, default=REPORTS, help="in a round")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(run(options.rounds, options.reports, options.threads)))


if __name__ == "__main__":
    main()

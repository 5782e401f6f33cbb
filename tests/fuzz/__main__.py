"""Fuzz everything that reads a peer's bytes, guided by coverage (atheris).

``python -m tests.fuzz [--target NAME] [--seconds 60] [--workers 2] [--out FOLDER]``

Each target runs in child processes with a limit on address space and on the time of one input. A
table and one line of JSON say what was found; every input that broke a promise is written to the
folder. Exit status: 1 where any was, 2 where atheris is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.builders import MEMORY_DISK
from tests.fuzz import scratch
from tests.fuzz.targets import TARGETS, Limits, seeds, write_seeds

_STATISTIC = re.compile(rb"stat::(\w+):\s+(\d+)")
_FINDINGS = ("crash-", "timeout-", "oom-", "leak-", "slow-unit-")
_MOST_FINDINGS = 5  # of one target; then the rest of its time is given up
_REST = "\nWARNING: Failed to find function"  # libFuzzer's own lines after a traceback
_START_SECONDS = 60  # imports, with instrumentation, on a busy machine


@dataclass
class Result:
    """What came of one target."""

    target: str
    inputs: int = 0
    rate: int = 0
    crashes: int = 0
    hangs: int = 0
    peak_mib: int = 0
    files: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether a promise was broken, or nothing could be tried."""
        return bool(self.crashes or self.hangs or self.errors or not self.inputs)


def fuzz(target: str, seconds: float, out: Path) -> Result:
    """Run a target for some seconds, again after each finding."""
    result = Result(target)
    with tempfile.TemporaryDirectory(prefix="radloop-fuzz-", dir=MEMORY_DISK) as folder:
        corpus, found = Path(folder, "corpus"), Path(folder, "found")
        found.mkdir()
        write_seeds(target, corpus)
        deadline = time.monotonic() + seconds
        while (left := round(deadline - time.monotonic())) > 0:
            before = set(found.iterdir())
            _run_once(result, corpus, found, left)
            new = set(found.iterdir()) - before
            if not new or len(before | new) >= _MOST_FINDINGS or result.errors:
                break
        _collect(result, found, out)
    return result


def _run_once(result: Result, corpus: Path, found: Path, seconds: int) -> None:
    limits = Limits()
    command = [
        *(sys.executable, "-m", "tests.fuzz.child", result.target, str(found), str(corpus)),
        f"-max_total_time={seconds}",
        f"-timeout={limits.seconds}",
        f"-max_len={limits.bytes}",
        # The address space is limited as well; this one is measured and printed.
        f"-rss_limit_mb={limits.memory >> 20}",
        f"-report_slow_units={limits.seconds}",
        "-print_final_stats=1",
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=seconds + limits.seconds + _START_SECONDS,
            env=os.environ | {scratch.VARIABLE: str(found.parent)},
        )
    except subprocess.TimeoutExpired:
        result.errors.append("the process did not end")
        return
    numbers = {name: int(value) for name, value in _STATISTIC.findall(done.stderr)}
    result.inputs += numbers.get(b"number_of_executed_units", 0)
    result.rate = max(result.rate, numbers.get(b"average_exec_per_sec", 0))
    result.peak_mib = max(result.peak_mib, numbers.get(b"peak_rss_mb", 0))
    if done.returncode:
        _explain(result.target, done.stdout + done.stderr)
        if not list(found.iterdir()):
            result.errors.append(f"the process ended with {done.returncode}")


def _explain(target: str, output: bytes) -> None:
    """Show the traceback, which is what a developer needs first."""
    text = output.decode("utf-8", "replace")
    at = max(text.find("=== Uncaught Python exception"), 0)
    print(f"--- {target}\n{text[at : at + 3000].partition(_REST)[0]}", file=sys.stderr)


def _collect(result: Result, found: Path, out: Path) -> None:
    for path in sorted(found.iterdir()):
        if not path.name.startswith(_FINDINGS):
            continue
        if path.name.startswith(("timeout-", "slow-unit-")):
            result.hangs += 1
        else:
            result.crashes += 1
        out.mkdir(parents=True, exist_ok=True)
        kept = out / f"{result.target}-{path.name}"
        shutil.copyfile(path, kept)
        result.files.append(str(kept))


def _print_table(results: Sequence[Result]) -> None:
    print(f"{'target':<18}{'inputs':>10}{'inputs/s':>10}{'crashes':>9}{'hangs':>7}{'MiB':>6}")
    for each in results:
        print(
            f"{each.target:<18}{each.inputs:>10}{each.rate:>10}{each.crashes:>9}{each.hangs:>7}"
            f"{each.peak_mib:>6}"
        )
        for text in (*each.errors, *each.files):
            print(f"  {text}")


def main() -> int:
    """Fuzz the targets that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each target")
    parser.add_argument("--workers", type=int, default=2, help="targets at a time")
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[dev]' (Python 3.11 on Linux).")
        print("Without it the same targets run in tests/property/test_fuzz_targets.py.")
        return 2
    targets = options.target or list(TARGETS)
    for target in targets:
        seeds(target)  # made once and kept, before there are threads
    with ThreadPoolExecutor(options.workers) as pool:
        results = list(pool.map(lambda name: fuzz(name, options.seconds, options.out), targets))
    _print_table(results)
    failed = [each.target for each in results if each.failed]
    summary = {
        "seconds_of_each": options.seconds,
        "inputs": sum(each.inputs for each in results),
        "crashes": sum(each.crashes for each in results),
        "hangs": sum(each.hangs for each in results),
        "peak_mib": max(each.peak_mib for each in results),
        "failed": failed,
        "targets": [asdict(each) for each in results],
    }
    print(json.dumps(summary))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

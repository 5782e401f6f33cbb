"""Kill confined parsers a thousand times: ``python -m tests.acceptance.parser_kills``.

Half of the kills hit an idle parser, half one at work. The parent must lose no file, refuse none
and end with as many descriptors as it began with. Prints a table and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path

from dicom_node.inspection import DirectInspector
from dicom_node.sandbox import Sandbox
from tests.part10_builders import file_of, rich_image, written

BATCH = 16


def main() -> None:
    """Run and report; the exit status is 1 where the parent failed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=1000)
    kills = arguments.parse_args().kills
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        found = _run(sandbox, written(Path(folder), file_of(rich_image())), kills)
    for name, value in found.items():
        print(f"{name:32} {value}")
    print(json.dumps(found))
    raise SystemExit(bool(found["parent failures"] or found["descriptors left open"]))


def _run(sandbox: Sandbox, image: Path, kills: int) -> dict[str, float]:
    rng = random.Random(1)
    expected = DirectInspector().headers([image] * BATCH)
    assert sandbox.headers([image] * BATCH) == expected
    open_before, children, failures, files = _descriptors(), set(), 0, 0
    started = time.monotonic()
    for number in range(kills):
        child = sandbox.process_id
        children.add(child)
        delay = 0.0 if number % 2 else rng.uniform(0, 0.01)
        killer = threading.Timer(delay, _kill, (child,))
        killer.start()
        if not delay:
            killer.join()
        failures += sandbox.headers([image] * BATCH) != expected
        files += BATCH
        killer.join()
        failures += sandbox.headers([image]) != expected[:1]
    seconds = time.monotonic() - started
    return {
        "kills": kills,
        "children": len(children),
        "files read meanwhile": files,
        "parent failures": failures,
        "descriptors left open": _descriptors() - open_before,
        "ms a kill, with its files": round(1000 * seconds / kills, 1),
    }


def _kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


if __name__ == "__main__":
    main()

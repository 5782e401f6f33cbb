"""Search files for bytes in a process of its own: ``python -m plugin.byte_search``.

Closing any descriptor of a file drops every POSIX lock that the process holds on it, and SQLite
keeps its claims in such locks. A process that has a database open must therefore never open the
database's files by itself: the next one to look at them would think that nobody is there, and take
the log of what was committed away from a node that goes on writing to it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from plugin.errors import ChildFailed

_PIECE = 1 << 20


def files_holding(paths: Iterable[Path], needles: Iterable[bytes]) -> list[Path]:
    """Return which files hold one of the needles; one that is gone by now holds none.

    Raises:
        ChildFailed: they could not be searched.
    """
    # Not as arguments: what is searched for names a patient, and everybody may list processes.
    order = {"paths": [str(path) for path in paths], "needles": [each.hex() for each in needles]}
    done = subprocess.run(
        [sys.executable, "-m", "plugin.byte_search"],
        input=json.dumps(order).encode(),
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise ChildFailed("the files could not be searched for what was erased")
    return [Path(each) for each in json.loads(done.stdout)]


def _holds(path: Path, needles: list[bytes]) -> bool:
    overlap = max((len(each) for each in needles), default=1)
    tail = b""
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                window = tail + piece
                if any(each in window for each in needles):
                    return True
                tail = window[-overlap:]
    except FileNotFoundError:
        return False
    return False


def main() -> None:
    """Read an order from standard input and print the paths that were found."""
    order = json.load(sys.stdin)
    needles = [bytes.fromhex(each) for each in order["needles"]]
    print(json.dumps([each for each in order["paths"] if _holds(Path(each), needles)]))


if __name__ == "__main__":
    main()

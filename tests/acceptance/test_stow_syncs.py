"""A response to STOW-RS leaves after every object that it names was synced, name and content."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.acceptance.disk_events import Event, Renamed, Sent, Synced, events
from tests.acceptance.stow_traced import REQUESTS
from tests.acceptance.strace_log import OPTIONS, read_calls
from tests.peers import find_program

ANSWERS = (b"HTTP/1.1 200", b"HTTP/1.1 202")
NEW_OBJECTS = REQUESTS // 2 * 3
ODD_OBJECTS = (REQUESTS + 3) // 4

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], int]:
    find_program("strace")
    folder = tmp_path_factory.mktemp("traced")
    log = folder / "strace.log"
    program = [sys.executable, "-m", "tests.acceptance.stow_traced", str(folder / "data")]
    done = subprocess.run(
        ["strace", *OPTIONS, "-o", str(log), *program],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        timeout=240,
        check=True,
    )
    said = json.loads(done.stdout)
    assert len(said["statuses"]) == REQUESTS
    assert set(said["statuses"]) == {200, 202}
    with log.open(encoding="utf-8", errors="surrogateescape") as lines:
        return events(read_calls(lines), str(folder / "data")), said["port"]


def early(happened: Sequence[Event], port: int) -> int:
    """Return how many responses left before what they name was durable."""
    found = 0
    since = -1
    for answer in happened:
        if not (
            isinstance(answer, Sent)
            and answer.local_port == port
            and answer.data.startswith(ANSWERS)
        ):
            continue
        between = [each for each in happened if since < each.begin and each.end < answer.begin]
        found += not _is_durable(between)
        since = answer.end
    return found


def _is_durable(between: Sequence[Event]) -> bool:
    """Whether each file was synced before its name, and each folder after its last name."""
    synced = [each for each in between if isinstance(each, Synced)]
    named = [each for each in between if isinstance(each, Renamed)]
    contents = all(
        any(sync.path == name.source and sync.end < name.begin for sync in synced) for name in named
    )
    folders = all(
        any(sync.path == str(Path(name.path).parent) and sync.begin > name.end for sync in synced)
        for name in named
    )
    # Who sends an object again is told of it as well: its name may not be synced yet.
    return contents and folders and any(sync.path.endswith("/spool") for sync in synced)


def test_every_response_came_after_the_syncs(traced: tuple[list[Event], int]) -> None:
    happened, port = traced
    named = [each.path for each in happened if isinstance(each, Renamed)]
    assert sum("/spool/" in path and path.endswith(".dcm") for path in named) == NEW_OBJECTS
    assert sum("/quarantine/" in path for path in named) == ODD_OBJECTS
    assert early(happened, port) == 0


@pytest.mark.parametrize("unsynced", ["/spool", "/quarantine", ".part"])
def test_a_missing_sync_is_found(traced: tuple[list[Event], int], unsynced: str) -> None:
    happened, port = traced
    kept = [
        each for each in happened if not (isinstance(each, Synced) and each.path.endswith(unsynced))
    ]
    assert len(kept) < len(happened)
    assert early(kept, port) > 0

"""Nothing is acknowledged before it is durable: a traced node, and power cuts at any moment."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.disk_events import Synced
from tests.acceptance.modality import SUCCESS
from tests.acceptance.power_cut import play
from tests.acceptance.sync_before_answer import Traced, judge, trace_node
from tests.builders import MEMORY_DISK
from tests.peers import find_program

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]

OBJECTS, MESSAGES, STATES = 100, 20, 40


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    find_program("strace")
    return trace_node(tmp_path_factory.mktemp("traced"), OBJECTS, MESSAGES)


@pytest.fixture
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        yield Path(folder)


def test_every_answer_came_after_the_syncs(traced: Traced) -> None:
    judged = judge(traced, by_digest=True)
    assert len(judged.objects) == len(traced.statuses) > OBJECTS
    assert set(traced.statuses) == {SUCCESS, 0xA900}
    assert judged.violations == []
    assert judged.messages >= MESSAGES
    assert judged.messages_early == 0


def test_every_power_cut_is_survived(traced: Traced, scratch: Path) -> None:
    played = play(traced, STATES, seed=1, scratch=scratch)
    assert played["acknowledged"] > 0
    assert (played["lost"], played["doubled"], played["torn"]) == (0, 0, 0)


@pytest.mark.parametrize("unsynced", ["/spool", ".part", ".journal"])
def test_the_power_cut_finds_what_is_not_synced(
    traced: Traced, scratch: Path, unsynced: str
) -> None:
    """The same trace with a kind of sync taken out of it: the test must be able to fail."""
    kept = [
        event
        for event in traced.happened
        if not (isinstance(event, Synced) and event.path.endswith(unsynced))
    ]
    assert len(kept) < len(traced.happened)
    sabotaged = dataclasses.replace(traced, happened=kept)
    judged = judge(sabotaged, by_digest=True)
    assert judged.violations or judged.messages_early
    played = play(sabotaged, 15, seed=1, scratch=scratch)
    assert played["lost"] + played["torn"] > 0

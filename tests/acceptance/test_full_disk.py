"""The disk is full: nothing but refusals, no partial file, and recovery without a restart."""

import dataclasses
import os
from pathlib import Path

import pytest

from tests.acceptance.full_disk import SCENARIOS, CannotMount, Scenario, run
from tests.peers import REQUIRE

STORES = 130


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_a_full_disk_is_refused_and_recovered_from(scenario: Scenario, tmp_path: Path) -> None:
    try:
        outcome = run(dataclasses.replace(scenario, stores=STORES), tmp_path)
    except CannotMount as error:
        if os.environ.get(REQUIRE) == "1" and os.geteuid() == 0:
            raise
        pytest.skip(f"a tmpfs cannot be mounted: {error}")
    assert outcome.kept, outcome
    if scenario.minimum_free_bytes or scenario.inodes:
        # The mark and the last inode are seen before an object is taken, so senders wait.
        assert any(answer.startswith("association refused") for answer in outcome.answers)
        assert set(outcome.messages) <= {"AA", "AE"}

"""A short form of ``python -m tests.acceptance.kill9``: one victim of every kind, and more."""

from pathlib import Path

import pytest

from tests.acceptance.kill9 import Killer, report


@pytest.mark.timeout(300)
def test_kill_9_while_sending_loses_doubles_and_tears_nothing(tmp_path: Path) -> None:
    victims = ["receiver", "main", "receiver", "child", "group", "receiver"]
    score = Killer(tmp_path, seed=7, senders=2).run(victims, audit_every=3)
    report(score)
    assert sum(score.kills.values()) == len(victims)
    assert score.objects
    assert score.quarantined
    assert score.messages
    assert not score.findings
    assert score.orphans_left == 0
    assert score.failed_starts == 0

"""The hostile modality against the node as a user runs it, with few of everything."""

from pathlib import Path

import pytest
from rich.console import Console

from tests.acceptance.hostile.findings import BROKEN, print_findings
from tests.acceptance.hostile.stage import SHORT
from tests.acceptance.hostile.targets import Radloop
from tests.acceptance.hostile_modality import ATTACKS, attack, targets


@pytest.mark.timeout(400)
def test_no_requirement_is_broken(tmp_path: Path) -> None:
    findings = attack(Radloop(tmp_path), list(ATTACKS), SHORT)
    print_findings(Radloop.name, findings, Console(width=160))
    assert {each.row for each in findings} == set(ATTACKS)
    assert not [each for each in findings if each.verdict == BROKEN]


@pytest.mark.parametrize("name", ["", "nobody", "127.0.0.1:", ":x"])
def test_a_target_that_does_not_exist_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a target"):
        targets(name, tmp_path, "ANY", None)

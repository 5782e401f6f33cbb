"""What an adapter's record says of the command that made it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import plugin.adaptation
from plugin.adaptation import AdaptationJob
from plugin.cli import app


def test_the_record_repeats_what_decides_the_result_and_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs: list[AdaptationJob] = []

    def noted(job: AdaptationJob, _progress: Any) -> dict[str, Any]:
        jobs.append(job)
        return {}

    monkeypatch.setattr(plugin.adaptation, "adapt", noted)
    (tmp_path / "phrasings.yaml").write_text("schema: spine\n")
    given = ["llm", "adapt", "--schema", "spine", "--minutes", "7", "--seed", "3"]
    given += ["--store", str(tmp_path), "--wording", str(tmp_path / "phrasings.yaml")]
    first = CliRunner().invoke(app, given)
    assert first.exit_code == 0, first.output
    command = shlex.split(jobs[0].command)
    assert command[:3] == ["radloop", "llm", "adapt"]
    assert {"--schema=spine", "--seed=3", "--wording=phrasings.yaml"} <= set(command)
    assert str(tmp_path) not in jobs[0].command
    repeated = [each for each in command[1:] if not each.startswith("--wording")]
    again = CliRunner().invoke(app, [*repeated, "--store", str(tmp_path)])
    assert again.exit_code == 0, again.output
    assert jobs[1].options == jobs[0].options

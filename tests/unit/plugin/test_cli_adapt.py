"""What an adapter's record says of the command that made it."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import plugin.adaptation
from labeling.settings import LabelingSettings
from plugin.adaptation import AdaptationJob
from plugin.child import ChildProcess
from plugin.cli import app
from plugin.errors import Permanent


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


def test_a_stopped_command_says_how_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(_job: AdaptationJob, _progress: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(plugin.adaptation, "adapt", stopped)
    given = ["llm", "adapt", "--schema", "spine", "--store", str(tmp_path)]
    found = CliRunner().invoke(app, given)
    assert found.exit_code == 130
    assert "the same command goes on" in found.output


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    job = AdaptationJob("x", tmp_path, LabelingSettings(), tmp_path, None, {}, 0.0, "none")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(Permanent, match="another `radloop llm adapt`"):
            plugin.adaptation.adapt(job, lambda _: None)
    finally:
        os.close(descriptor)


def test_an_interrupt_of_the_group_leaves_the_child_to_its_parent(tmp_path: Path) -> None:
    with ChildProcess(tmp_path / "log", 1) as child:
        assert list(child.run("peak_memory", {}, lambda _: None))
        os.kill(child._process.pid, signal.SIGINT)
        assert list(child.run("peak_memory", {}, lambda _: None))
    assert (tmp_path / "log").read_bytes() == b""

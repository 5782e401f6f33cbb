"""README's way from a schema of one's own to figures, with a tiny random model and few reports."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.readme_commands import ROOT, blocks_of
from tests.tiny_models import write_model

pytestmark = pytest.mark.timeout(900)  # a model learns, and several processes load torch

REPORTS = 8
EMBEDDED = "smollm2-135m-instruct"


def smaller(words: list[str], model: Path) -> list[str]:
    """Return a command of README for a tiny model, few reports and two steps of learning."""
    found = list(words)
    for option, value in (("--count", str(REPORTS)), ("--minutes", "5")):
        if option in found:
            found[found.index(option) + 1] = value
    if found[1:3] == ["llm", "adapt"]:
        found += ["--steps", "2", "--rank", "2"]
    if found[1:4] == ["llm", "add", "embedded"]:
        found = ["radloop", "llm", "add", str(model), "--name", EMBEDDED]
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Run the first block in an empty folder; return it and what each command printed."""
    folder = tmp_path_factory.mktemp("knee")
    model = write_model(tmp_path_factory.mktemp("models") / "tiny", num_hidden_layers=1)
    environment = {**os.environ, "XDG_DATA_HOME": str(folder / "home"), "COLUMNS": "160"}
    environment.pop("RADLOOP_CONFIG", None)
    said: dict[str, str] = {}
    for words in blocks_of("A schema of your own")[0]:
        if words[0] == "cp":
            for name in words[1:-1]:
                shutil.copy(ROOT / name, folder)
            continue
        command = smaller(words, model)
        done = subprocess.run(
            [sys.executable, "-m", "plugin.cli", *command[1:]],
            cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr[-2000:])
        said[" ".join(words)] = done.stdout + done.stderr
    return folder, said


def of(said: dict[str, str], start: str) -> str:
    [found] = [text for command, text in said.items() if command.startswith(f"radloop {start}")]
    return found


def test_the_schema_is_checked_and_the_model_learns_it(ran: tuple[Path, dict[str, str]]) -> None:
    folder, said = ran
    assert "knee.rules.yaml" in of(said, "schema check")
    assert "knee" in of(said, "llm adapt")
    adapters = folder / "home" / "radloop" / "language-models" / ".adapters"
    assert json.loads((adapters / "knee.json").read_text())["schema"] == "knee"


def test_labels_of_the_adapted_model_are_scored_beside_the_floor(
    ran: tuple[Path, dict[str, str]],
) -> None:
    folder, said = ran
    lines = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    assert len(lines) == REPORTS
    read_by = json.loads((folder / "labels.jsonl.run.json").read_text())
    adapters = folder / "home" / "radloop" / "language-models" / ".adapters"
    told = json.loads((adapters / "knee.json").read_text())
    assert read_by["model_digest"] not in {told["base_sha256"], ""}
    table = of(said, "labeler score")
    for word in ("meniscal_tear", "cartilage_lesion", "token_scores", "rules", "sites", "whole"):
        assert word in table
    assert "cross-validation" in table
    assert "say nothing of how real ones are read" in table


def test_thresholds_fitted_on_files_decide_labels_of_files(
    ran: tuple[Path, dict[str, str]],
) -> None:
    folder, _ = ran
    environment = {**os.environ, "XDG_DATA_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}

    def radloop(*arguments: str) -> dict:
        done = subprocess.run(
            [sys.executable, "-m", "plugin.cli", *arguments, "--schema", "knee.yaml", "--json"],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    fitted = radloop(
        *("labeler", "calibrate", "--labels", "rules.jsonl", "--truth", "test.jsonl"),
        *("--minimum", "1", "--output", "thresholds.json"),
    )
    assert fitted["labeler"] == "rules"
    labelled = radloop(
        *("label", "--reports", "test.jsonl", "--labeler", "rules"),
        *("--thresholds", "thresholds.json", "--output", "decided.jsonl"),
    )
    assert labelled["calibrated"]
    found = radloop("labeler", "score", "--labels", "decided.jsonl", "--truth", "test.jsonl")
    assert f"thresholds {fitted['digest'][:12]}" in found["judged_by"]["rules"]

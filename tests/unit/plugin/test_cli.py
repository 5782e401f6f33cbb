import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.errors import InvalidSettings
from plugin.cli import app
from plugin.errors import Permanent

COMMANDS = ("init", "serve", "status", "send", "send-hl7", "label", "cohort", "train", "models")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_help_names_every_command_and_the_warning() -> None:
    code, text = run("--help")
    assert code == 0
    assert "Research use only" in " ".join(text.split())
    for command in (*COMMANDS, "predict", "sr", "llm", "link", "reference", "labeler", "demo"):
        assert re.search(rf"^\W*{command}\b", text, re.MULTILINE), command


def test_init_writes_a_private_folder_once(tmp_path: Path) -> None:
    code, text = run("init", str(tmp_path / "node"), "--aet", "NODE", "--dicom-port", "21112")
    assert code == 0, text
    settings = (tmp_path / "node" / "radloop.toml").read_text(encoding="utf-8")
    assert 'ae_title = "NODE"' in settings
    assert (tmp_path / "node" / "data").stat().st_mode & 0o777 == 0o700
    code, text = run("init", str(tmp_path / "node"))
    assert code == 2
    assert "was not changed" in " ".join(text.split())


def test_init_with_a_bad_ae_title_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["init", str(tmp_path / "x"), "--aet", "A" * 17]
    with pytest.raises(InvalidSettings, match="ae_title"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (tmp_path / "x" / "radloop.toml").exists()


def test_a_long_calling_ae_title_is_refused_plainly(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    config = str(tmp_path / "radloop.toml")
    code, text = run("send", str(tmp_path), "--config", config, "--calling-aet", "A" * 17)
    assert code == 2
    assert "1 to 16" in " ".join(text.split())


def test_what_is_no_report_is_said_plainly(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(Permanent, match="is not a DICOM file"):
        CliRunner().invoke(app, ["sr", "show", str(file)], catch_exceptions=False)

"""A run over many reports that is killed twice resumes to the labels of one that was not."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlmodel import col, select

from dicom_node.messages import receive
from labeling.models import Label
from labeling.schema_file import shipped_schema
from labeling.synthesis.generator import generate
from plugin.context import open_context
from plugin.settings import load_settings
from tests.hl7_builders import oru
from tests.integration.test_label_file import label, write_reports
from tests.nodes import radloop

REPORTS = 1000
OF_A_NODE = 300


def texts(number: int) -> dict[str, str]:
    drawn = generate(shipped_schema("spine"), number, seed=11, split="test")
    return {f"R{i}": each.text for i, each in enumerate(drawn)}


def kill_after(arguments: tuple[str, ...], reached: Callable[[], bool]) -> None:
    """Start radloop and kill it, and its children, when a point is reached."""
    process = subprocess.Popen(
        [sys.executable, "-m", "plugin.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not reached():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_labels_of_a_file(tmp_path: Path) -> None:
    reports = write_reports(tmp_path / "r.csv", texts(REPORTS))
    whole = label(reports, tmp_path / "whole.jsonl")
    size = (tmp_path / "whole.jsonl").stat().st_size
    output = tmp_path / "killed.jsonl"
    arguments = ("label", "--reports", str(reports), "--output", str(output), "--schema", "spine")
    for share in (0.2, 0.6):
        grown = int(share * size)
        kill_after(
            (*arguments, "--labeler", "rules"),
            lambda grown=grown: output.exists() and output.stat().st_size >= grown,
        )
        assert output.stat().st_size < size
    assert label(reports, output) == whole
    assert len(whole) == REPORTS


def labels_of(config: Path) -> list[tuple]:
    with open_context(load_settings(config)) as context, context.database.read() as session:
        rows = session.exec(
            select(Label).order_by(col(Label.report_id), col(Label.observation), col(Label.site))
        )
        left_out = {"id", "created_at"}
        return [tuple(sorted(r.model_dump(exclude=left_out).items(), key=str)) for r in rows]


def count_of(config: Path) -> int:
    database = sqlite3.connect(f"file:{config.parent}/data/radloop.sqlite?mode=ro", uri=True)
    with closing(database):
        return int(database.execute("SELECT count(*) FROM label").fetchone()[0])


def test_labels_of_a_node(tmp_path: Path) -> None:
    configs = []
    for name in ("whole", "killed"):
        radloop("init", str(tmp_path / name))
        config = tmp_path / name / "radloop.toml"
        configs.append(config)
        with open_context(load_settings(config)) as context:
            messages = [
                oru(
                    control_id=key,
                    filler=key,
                    accession=key,
                    charset="UNICODE UTF-8",
                    lines=tuple(text.splitlines()),
                )
                for key, text in texts(OF_A_NODE).items()
            ]
            receive(
                context.database,
                *messages,
                profiles=context.profiles,
                linking=context.linking(),
                clock=context.clock,
            )
    arguments = ("label", "--labeler", "rules", "--config")
    done = json.loads(radloop(*arguments, str(configs[0]), "--json").stdout)
    assert done["reports"] == OF_A_NODE
    whole = labels_of(configs[0])
    for share in (0.2, 0.6):
        labels = int(share * len(whole))
        kill_after(
            (*arguments, str(configs[1])), lambda labels=labels: count_of(configs[1]) >= labels
        )
        assert 0 < len(labels_of(configs[1])) < len(whole)
    assert json.loads(radloop(*arguments, str(configs[1]), "--json").stdout)["reports"] < OF_A_NODE
    assert labels_of(configs[1]) == whole

"""A run over 1,000 reports that is killed twice resumes to the labels of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from sqlmodel import col, select

from dicom_node.messages import receive
from labeling.models import Label
from plugin.context import open_context
from plugin.settings import load_settings
from plugin.simulation.reports import Habits, write_report
from plugin.simulation.truth import draw_truth
from tests.hl7_builders import oru
from tests.integration.test_label_file import label, write_reports
from tests.nodes import prepare_node, radloop

REPORTS = 1000


def texts(number: int) -> dict[str, str]:
    rng = np.random.default_rng(11)
    habits = Habits(brief_rate=0.0)
    return {f"R{i}": write_report(draw_truth(rng), rng, habits=habits).text for i in range(number)}


def kill_after(arguments: tuple[str, ...], grown: Path, size: int) -> None:
    """Start radloop and kill it, and its children, when a file has grown to a size."""
    process = subprocess.Popen(
        [sys.executable, "-m", "plugin.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (grown.exists() and grown.stat().st_size >= size):
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
        kill_after((*arguments, "--labeler", "rules"), output, int(share * size))
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


def test_labels_of_a_node(tmp_path: Path) -> None:
    configs = []
    for name in ("whole", "killed"):
        node = prepare_node(tmp_path / name, "")
        configs.append(node.config)
        with open_context(load_settings(node.config)) as context:
            messages = [
                oru(control_id=key, filler=key, accession=key, lines=tuple(text.splitlines()))
                for key, text in texts(REPORTS).items()
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
    assert done["reports"] == REPORTS
    whole = labels_of(configs[0])
    database = configs[1].parent / "data" / "radloop.sqlite-wal"
    for share in (1, 2):
        kill_after((*arguments, str(configs[1])), database, share * 2_000_000)
        assert 0 < len(labels_of(configs[1])) < len(whole)
    assert json.loads(radloop(*arguments, str(configs[1]), "--json").stdout)["reports"] < REPORTS
    assert labels_of(configs[1]) == whole

"""The command that trains a student: a fast labeler that learns from the labels of others."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from plugin.cli_calls import JsonOption, show
from plugin.cli_research import labeler as group


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    group.command("train-student")(train_student_command)


def train_student_command(
    output: Annotated[Path, typer.Option(file_okay=False, help="A new folder for the student.")],
    labels: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="JSONL: text and labels; may stand again."),
    ] = None,
    reports: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Texts by id for labels without text."),
    ] = None,
    simulated: Annotated[
        int, typer.Option(min=0, help="Simulated lumbar reports to learn from, too.")
    ] = 0,
    schema: Annotated[str, typer.Option(help="A shipped schema or a .yaml file.")] = "",
    encoder: Annotated[
        str, typer.Option(help="Of the model store; see radloop llm add.")
    ] = "all-minilm-l6-v2",
    layers: Annotated[
        str, typer.Option(help="Of the encoder, whose outputs are read side by side: -1 the last.")
    ] = "-1",
    tune_layers: Annotated[
        int, typer.Option(min=0, help="Last layers of the encoder that learn, too; slow.")
    ] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="At most.")] = 12,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 1,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar="RADLOOP_CONFIG", help="The settings file."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of the model store; without a node, one of yours.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a student on labelled reports; the folder then enters by radloop llm add.

    A share of the patients is kept apart; the figures on it speak of reports like those it learned
    from and replace no evaluation. Research use only.
    """
    from plugin.labeling_options import labeling_settings, with_options
    from plugin.student_training import StudentJob, train_student
    from plugin.tables import progress_line

    settings, folder = labeling_settings(config)
    settings = with_options(settings, folder, schema=schema)
    job = StudentJob(
        output=output.absolute(),
        labels=tuple(each.absolute() for each in labels or ()),
        reports=reports.absolute() if reports else None,
        simulated=simulated,
        settings=settings,
        model_store=(store or folder).absolute(),
        encoder=encoder,
        options={
            "seed": seed,
            "epochs": epochs,
            "tuned_layers": tune_layers,
            "layers": [int(each) for each in layers.split(",")],
        },
        command=shlex.join(["radloop", *sys.argv[1:]]),
    )
    with progress_line() as progress:
        result = train_student(job, progress)
    show(result, as_json)

"""``radloop label``: the reports of a node, or those of a file with no node at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plugin.cli_calls import JsonOption, operate, show

_FILE = "With --reports"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command(name="label")(label)


def label(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            envvar="RADLOOP_CONFIG",
            help="The settings file; not needed with --reports.",
        ),
    ] = None,
    labeler: Annotated[
        str, typer.Option(help="rules, token_scores, template, tree, student, or a plugin's.")
    ] = "rules",
    reports: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV or JSONL with id and report."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(dir_okay=False, help="JSON Lines; one line a report.")
    ] = None,
    schema: Annotated[
        str,
        typer.Option(help="A shipped schema or a .yaml file.", rich_help_panel=_FILE),
    ] = "",
    model: Annotated[
        str,
        typer.Option(help="Of the model store, or the path of a .gguf file, folder or wheel."),
    ] = "",
    store: Annotated[
        Path | None, typer.Option(help="Folder of the model store; without a node, one of yours.")
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Of `labeler calibrate`.")
    ] = None,
    two_step: Annotated[
        bool, typer.Option("--two-step", help="A summary aimed at each condition first.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="Of the file of reports.")] = "utf-8-sig",
    as_json: JsonOption = False,
) -> None:
    """Label every current report that the labeler has not read yet; or those of a file.

    With --reports FILE --output FILE no node is needed: the output is written, and beside it a
    small file (.run.json) that says what read it, so that a run that was stopped goes on where it
    ended. Models are kept in the model store (--store). Research use only.
    """
    if reports is None:
        only_files = {"--output": output, "--schema": schema, "--model": model, "--store": store,
                      "--thresholds": thresholds, "--two-step": two_step}  # fmt: skip
        if given := [name for name, value in only_files.items() if value]:
            raise typer.BadParameter(f"{given[0]} goes with --reports; a node has its settings")
        if config is None:
            raise typer.BadParameter("--config names a node; or --reports and --output a file")
        show(operate(config, "label", labeler=labeler), as_json)
        return
    if output is None:
        raise typer.BadParameter("--reports needs --output")
    options = {"schema": schema, "model": model, "two_step": two_step}
    places = (reports, output, store, thresholds)
    show(_label_file(config, labeler, places, encoding, options), as_json)


def _label_file(
    config: Path | None,
    labeler: str,
    places: tuple[Path, Path, Path | None, Path | None],
    encoding: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    from labeling.thresholds import UNCALIBRATED, Thresholds, fitted_for
    from plugin.label_file import FileJob, label_file
    from plugin.labeling_options import labeling_settings, with_options
    from plugin.tables import progress_line

    reports, output, store, thresholds = places
    settings, folder = labeling_settings(config)
    folder = store or folder
    fitted, holds_for = UNCALIBRATED, {}
    if thresholds is not None:
        content = thresholds.read_text("utf-8", errors="replace")
        fitted, holds_for = Thresholds.from_json(content), fitted_for(content)
    job = FileJob(
        reports.absolute(),
        output.absolute(),
        labeler,
        with_options(settings, folder, **options),
        folder,
        fitted,
        encoding,
        holds_for,
    )
    with progress_line() as progress:
        return label_file(job, progress)

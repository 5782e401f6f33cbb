"""``radloop label``: the reports of a node, or those of a file with no node at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from plugin.cli_calls import JsonOption, operate, show

_ASK_NO_MODEL = frozenset({"rules", "student"})
_TWO_STEPS = "token_scores"
_MODEL_FILES = (".gguf", ".whl")

NodeOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="RADLOOP_CONFIG",
        help="The settings file of a node; with --reports it is not needed.",
    ),
]
LabelerOption = Annotated[
    str, typer.Option(help="rules, student, token_scores, template, tree, or a plugin's.")
]
ReportsOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="CSV or JSONL with id and report; a report has 50,000 characters at most.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(dir_okay=False, help="With --reports: JSON Lines, see deploy/labels.md."),
]
SchemaOption = Annotated[
    str,
    typer.Option(help="With --reports: spine, chest, neuro, upper_extremity, or a .yaml file."),
]
ModelOption = Annotated[
    str,
    typer.Option(
        help="With --reports: a name of the model store, or the path of a .gguf file, a folder "
        "with safetensors or a wheel, which then enters the store."
    ),
]
StoreOption = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        help="With --reports: folder of the model store. Default: the node's, or without --config "
        "~/.local/share/radloop/language-models.",
    ),
]
ThresholdsOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="With --reports: what `radloop labeler calibrate --output` wrote.",
    ),
]
TwoStepOption = Annotated[
    bool,
    typer.Option(
        "--two-step",
        help="With --reports and token_scores: a summary aimed at each condition comes first.",
    ),
]
EncodingOption = Annotated[str, typer.Option(help="Of the file of reports, a Python codec.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command(name="label")(label)


def label(
    config: NodeOption = None,
    labeler: LabelerOption = "rules",
    reports: ReportsOption = None,
    output: OutputOption = None,
    schema: SchemaOption = "",
    model: ModelOption = "",
    store: StoreOption = None,
    thresholds: ThresholdsOption = None,
    two_step: TwoStepOption = False,
    encoding: EncodingOption = "utf-8-sig",
    as_json: JsonOption = False,
) -> None:
    """Label every current report that the labeler has not read yet; or those of a file.

    With --reports FILE --output FILE no node is needed: the output is written, and beside it a
    small file (.run.json) that says what read it, so that a run that was stopped goes on where it
    ended. Research use only.
    """
    if reports is None:
        only_files = {"--output": output, "--schema": schema, "--model": model, "--store": store,
                      "--thresholds": thresholds, "--two-step": two_step}  # fmt: skip
        _tell(_label_node(config, labeler, only_files), as_json)
        return
    if output is None:
        raise typer.BadParameter("--reports needs --output")
    _check_options(labeler, model, two_step)
    options = {"schema": schema, "model": model, "two_step": two_step}
    places = (reports, output, store, thresholds)
    _tell(_label_file(config, labeler, places, encoding, options), as_json)


def _label_node(config: Path | None, labeler: str, only_files: dict[str, Any]) -> dict[str, Any]:
    if given := [name for name, value in only_files.items() if value]:
        raise typer.BadParameter(f"{given[0]} goes with --reports; a node has its settings")
    if config is None:
        raise typer.BadParameter("--config names a node; or --reports and --output a file")
    return operate(config, "label", labeler=labeler)


def _check_options(labeler: str, model: str, two_step: bool) -> None:
    """Refuse what the labeler would not heed: a person would think that it had."""
    if model and labeler in _ASK_NO_MODEL:
        raise typer.BadParameter(f"--model: the labeler {labeler} asks no language model")
    if two_step and labeler != _TWO_STEPS:
        raise typer.BadParameter(f"--two-step goes with --labeler {_TWO_STEPS}")
    is_path = os.sep in model or model.lower().endswith(_MODEL_FILES)
    if is_path and not Path(model).exists():
        raise typer.BadParameter(f"--model: there is no file or folder {model}")


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


def _tell(result: dict[str, Any], as_json: bool) -> None:
    """Show a result, and on standard error what a person must know before using the labels."""
    shown = {name: each for name, each in result.items() if as_json or name != "uncalibrated"}
    show(shown, as_json)
    for caution in cautions(result):
        typer.echo(f"warning: {caution}", err=True)


def cautions(result: dict[str, Any]) -> list[str]:
    """Return what keeps the labels of a run from being relied on.

    Args:
        result: of ``label_reports`` or ``label_file``; only the first knows of verdicts.
    """
    found = []
    left = result["uncalibrated"]
    if result.get("unadapted"):
        found.append(
            "no adapter fits this schema, and as it comes the embedded model reads by chance: "
            "radloop llm adapt, or name the --store in which its adapter lies"
        )
    if not result["calibrated"]:
        found.append(
            "nobody calibrated this labeler for this model and schema: states follow its own "
            "default, and there are no probabilities (radloop labeler calibrate)"
        )
    elif left:
        found.append(f"uncalibrated, too few readers' labels: {', '.join(left)}")
    if not result.get("qualified", True):
        found.append(
            "no verdict of `radloop labeler qualify` lets these labels into cohorts: "
            "they are for demonstration"
        )
    if result["reports"] and result["failed"] == result["reports"]:
        found.append("every report failed; `failures` says why")
    return found

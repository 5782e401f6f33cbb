"""Commands about human readers: what they are given to read, what they said, where they differ."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from plugin.cli_calls import ByOption, ConfigOption, JsonOption, ask, operate, show
from plugin.cli_research import reference as group

_SIZE, _DRAW, _WHOM, _READERS = "How many", "How", "Of whom", "For the readers"


class Level(StrEnum):
    """What is drawn."""

    REPORT = "report"
    IMAGE = "image"


class Design(StrEnum):
    """How it is drawn."""

    RANDOM = "random"
    STRATIFIED = "stratified"


class Measure(StrEnum):
    """Whose interval decides how many."""

    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"
    BOTH = "both"
    AUROC = "auroc"


class Interval(StrEnum):
    """Which interval of a proportion."""

    WILSON = "wilson"
    EXACT = "exact"


SampleOption = Annotated[str, typer.Option("--sample", help="The beginning of its digest.")]
OutputOption = Annotated[
    Path | None, typer.Option(file_okay=False, help="Folder for the readers' worksheets.")
]
WithTextOption = Annotated[
    bool,
    typer.Option(
        "--with-text",
        help="Put the texts of the reports into the worksheets: they are patient data.",
    ),
]
ReportsOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A file of reports, in the node's place."),
]
EncodingOption = Annotated[str, typer.Option(help="Of the file of reports, a Python codec.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    group.command("sample")(sample)
    group.command("samples")(samples)
    group.command("worksheets")(worksheets)
    group.command("import")(reference_import)
    group.command("disagreements")(disagreements)


def sample(
    config: ConfigOption,
    output: OutputOption = None,
    level: Annotated[Level, typer.Option(help="Reports, or the images of studies.")] = Level.REPORT,
    reports: ReportsOption = None,
    encoding: EncodingOption = "utf-8-sig",
    observation: Annotated[
        list[str] | None, typer.Option(help="To be read; may stand again. Default: all.")
    ] = None,
    sites: Annotated[
        bool, typer.Option("--sites/--no-sites", help="Whether single sites are read, too.")
    ] = True,
    design: Annotated[
        Design,
        typer.Option(
            help="Random, or stratified by what --labeler says, so that rare findings occur.",
            rich_help_panel=_DRAW,
        ),
    ] = Design.RANDOM,
    labeler: Annotated[
        str, typer.Option(help="Whose labels say how rare things are.", rich_help_panel=_DRAW)
    ] = "",
    enriched: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of a stratified sample that goes to what the labeler found.",
            rich_help_panel=_DRAW,
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.", rich_help_panel=_DRAW)] = 1,
    measure: Annotated[
        Measure, typer.Option(help="Whose interval counts.", rich_help_panel=_SIZE)
    ] = Measure.SENSITIVITY,
    expected: Annotated[
        float, typer.Option(help="What it is expected to be.", rich_help_panel=_SIZE)
    ] = 0.9,
    width: Annotated[
        float,
        typer.Option(help="Of its 95 % interval, from end to end.", rich_help_panel=_SIZE),
    ] = 0.15,
    prevalence: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.99,
            help="Of the rarest finding that counts; default: as --labeler says.",
            rich_help_panel=_SIZE,
        ),
    ] = 0.0,
    interval: Annotated[
        Interval, typer.Option(help="Of sensitivity and specificity.", rich_help_panel=_SIZE)
    ] = Interval.WILSON,
    n: Annotated[
        int,
        typer.Option("--n", min=0, help="Draw so many instead.", rich_help_panel=_SIZE),
    ] = 0,
    several_per_patient: Annotated[
        bool,
        typer.Option(
            "--several-per-patient",
            help="Not only one of each patient.",
            rich_help_panel=_WHOM,
        ),
    ] = False,
    include_read: Annotated[
        bool,
        typer.Option(
            "--include-read",
            help="Also patients whom readers have read or a sample holds.",
            rich_help_panel=_WHOM,
        ),
    ] = False,
    include_trained: Annotated[
        bool,
        typer.Option(
            "--include-trained",
            help="Also patients of a training or validation fold.",
            rich_help_panel=_WHOM,
        ),
    ] = False,
    without_report: Annotated[
        bool,
        typer.Option(
            "--without-report",
            help="Of studies only those without a final report.",
            rich_help_panel=_WHOM,
        ),
    ] = False,
    readers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Who read each; 1: one suffices, which the record says.",
            rich_help_panel=_READERS,
        ),
    ] = 2,
    with_text: WithTextOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compute and print the numbers; store nothing.")
    ] = False,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Draw reports or studies for human readers, and write their worksheets (mode 0600).

    How many follows from the interval that is wanted. The sample is stored with the probability of
    each subject; worksheets show no machine's label. Only labels of such a sample calibrate,
    qualify and test. See deploy/evaluation.md.
    """
    if output is None and not dry_run:
        raise typer.BadParameter("--output names the folder for the worksheets; or --dry-run")
    if with_text and level is Level.IMAGE:
        raise typer.BadParameter("readers of images are not shown the reports")
    result = operate(
        config,
        "reference sample",
        level="file" if reports else str(level),
        file=_path(reports),
        encoding=encoding,
        observations=observation or [],
        sites=sites,
        design=str(design),
        labeler=labeler,
        enriched=enriched,
        seed=seed,
        aim={
            "measure": str(measure),
            "expected": expected,
            "width": width,
            "interval": str(interval),
        },
        prevalence=prevalence,
        n=n,
        one_per_patient=not several_per_patient,
        include_read=include_read,
        include_trained=include_trained,
        without_report=without_report,
        readers=readers,
        by=by,
        dry_run=dry_run,
    )
    if output is not None and not dry_run:
        sheets = _sheets(config, result["sample"], output, with_text, reports, encoding)
        result["worksheets"] = sheets["worksheets"]
        result["next"] = f"radloop reference import FILE --sample {result['sample']}"
    show(result, as_json)


def samples(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the samples that were drawn, and how far their readers have come."""
    show(ask(config, "reference samples"), as_json)


def worksheets(
    config: ConfigOption,
    sample: SampleOption,
    output: Annotated[Path, typer.Option(file_okay=False, help="Folder for the worksheets.")],
    with_text: WithTextOption = False,
    reports: ReportsOption = None,
    encoding: EncodingOption = "utf-8-sig",
    as_json: JsonOption = False,
) -> None:
    """Write the worksheets of a sample again (mode 0600)."""
    show(_sheets(config, sample, output, with_text, reports, encoding), as_json)


def reference_import(
    file: Annotated[
        Path, typer.Argument(exists=True, help="CSV or JSONL; see deploy/evaluation.md.")
    ],
    config: ConfigOption,
    sample: Annotated[
        str,
        typer.Option(
            help="The beginning of a drawn sample's digest: these are its readings. Without it the "
            "labels are none of a sample, whatever the file says."
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Import human labels: level (report, image, file), subject, observation, site, reader, state.

    Optional: severity, quote, blinded (yes or no), sampling, role (reader or adjudicator). Subjects
    that the node does not hold are counted: their labels wait until a report or study of that
    number comes.

    Exit status 1 when a row was refused; the other rows are imported.
    """
    result = operate(config, "reference import", path=str(file.absolute()), sample=sample)
    show(result, as_json)
    if result["problems"]:
        raise typer.Exit(1)


def disagreements(
    config: ConfigOption,
    sample: SampleOption,
    output: Annotated[
        Path | None, typer.Option(dir_okay=False, help="CSV for the adjudicator (mode 0600).")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many to list.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List where the readers of a sample disagree and nobody has adjudicated."""
    result = ask(
        config, "reference disagreements", sample=sample, output=_path(output), limit=limit
    )
    show(result, as_json)


def _sheets(
    config: Path,
    sample: str,
    output: Path,
    with_text: bool,
    reports: Path | None,
    encoding: str,
) -> dict[str, Any]:
    return ask(
        config,
        "reference worksheets",
        sample=sample,
        output=_path(output),
        with_text=with_text,
        reports=_path(reports),
        encoding=encoding,
    )


def _path(path: Path | None) -> str:
    """Return an absolute path: the node that answers may stand in another folder."""
    return "" if path is None else str(path.absolute())

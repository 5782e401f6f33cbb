"""Commands about how good labelers are: calibrate, evaluate, compare, qualify."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from plugin.cli_calls import ByOption, ConfigOption, JsonOption, NodeOption, ask, operate, show
from plugin.cli_research import labeler as group
from plugin.cli_score import SchemaOption, TruthOption, schema_named

LabelerOption = Annotated[
    str, typer.Option("--labeler", help="One that `labeling.labelers` of the settings names.")
]
ReportsOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="CSV or JSONL with id and report, read now; default: the labels of the node.",
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="In the place of a node: what `radloop label --output` wrote.",
    ),
]
EncodingOption = Annotated[str, typer.Option(help="Of the file of reports, a Python codec.")]
FoldsOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Of the cross-validation by patient, where thresholds rest on these labels; 0: none.",
    ),
]
ResamplesOption = Annotated[int, typer.Option(min=0, help="Bootstrap samples for intervals.")]


class Cut(StrEnum):
    """What a cut makes best."""

    BALANCED_ACCURACY = "balanced_accuracy"
    F1 = "f1"
    EQUAL_ERROR_RATE = "equal_error_rate"


class Band(StrEnum):
    """Where the uncertain band comes from."""

    REFERENCES = "references"
    SHARE = "share"
    NONE = "none"


CutOption = Annotated[Cut, typer.Option(help="What the cut makes best.")]
SiteCutOption = Annotated[Cut, typer.Option(help="The same for single sites.")]
BandOption = Annotated[
    Band,
    typer.Option(
        help="The uncertain band: of the readers' uncertain labels (where there are enough, "
        "else as share), a share of reports nearest to the cut, or none."
    ),
]
ShareOption = Annotated[
    float, typer.Option(min=0.0, max=0.5, help="Of reports that --band share makes uncertain.")
]
GivenUpOption = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of the findings that the band may take.")
]
MinimumOption = Annotated[
    int, typer.Option(min=1, help="Positives, and negatives, that a condition needs.")
]
NowOption = Annotated[
    bool,
    typer.Option(
        "--now",
        help="Read the node's reports that readers labelled now, for their margins alone; "
        "then `radloop label` reads each report once, by the thresholds.",
    ),
]
AcceptUnsampledOption = Annotated[
    bool,
    typer.Option(
        "--accept-unsampled",
        help="Take also readers' labels that were not sampled, blinded and adjudicated; it is "
        "recorded, and a cohort that rests on it has to accept it, too.",
    ),
]
ThresholdsFileOption = Annotated[
    Path | None, typer.Option(dir_okay=False, help="The thresholds as JSON go here, too.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    group.command("calibrate")(calibrate)
    group.command("evaluate")(evaluate)
    group.command("compare")(compare)
    group.command("qualify")(qualify)


def calibrate(
    config: NodeOption = None,
    labeler: LabelerOption = "rules",
    reports: ReportsOption = None,
    encoding: EncodingOption = "utf-8-sig",
    cut: CutOption = Cut.BALANCED_ACCURACY,
    site_cut: SiteCutOption = Cut.F1,
    band: BandOption = Band.REFERENCES,
    share: ShareOption = 0.05,
    given_up: GivenUpOption = 0.05,
    minimum: MinimumOption = 3,
    folds: FoldsOption = 5,
    now: NowOption = False,
    accept_unsampled: AcceptUnsampledOption = False,
    output: ThresholdsFileOption = None,
    by: ByOption = "",
    labels: LabelsOption = None,
    truth: TruthOption = None,
    schema: SchemaOption = "",
    as_json: JsonOption = False,
) -> None:
    """Fit thresholds for each condition on the labels of readers; they hold from then on.

    They are for this model, these questions and this schema alone; whatever changes makes the
    labeler uncalibrated again. Patients of the test fold are left out, and so are labels that were
    not sampled (radloop reference sample), blinded and adjudicated. With --labels, --truth and
    --output no node is needed: the thresholds are for `radloop label --reports --thresholds`.
    """
    rule = {
        "cut": str(cut),
        "site_cut": str(site_cut),
        "band": str(band),
        "share": share,
        "given_up": given_up,
        "minimum": minimum,
    }
    if now and (labels is not None or reports is not None):
        raise typer.BadParameter("--now reads the node's reports, not those of a file")
    if labels is not None:
        found = _from_files(
            config, labels, truth, schema, rule, folds, output, accept_unsampled=accept_unsampled
        )
        told = {name: value for name, value in found.items() if as_json or name != "cautions"}
        show(told, as_json)
        for caution in found["cautions"]:
            typer.echo(f"warning: {caution}", err=True)
        return
    if truth is not None or schema:
        raise typer.BadParameter("--truth and --schema go with --labels")
    if config is None:
        raise typer.BadParameter("--config names a node; or --labels, --truth and --output files")
    result = operate(
        config,
        "labeler calibrate",
        labeler=labeler,
        reports=_path(reports),
        encoding=encoding,
        rule=rule,
        folds=folds,
        now=now,
        accept_unsampled=accept_unsampled,
        output=_path(output),
        by=by,
    )
    show(result, as_json)


def _from_files(
    config: Path | None,
    labels: Path,
    truth: Path | None,
    schema: str,
    rule: dict[str, Any],
    folds: int,
    output: Path | None,
    *,
    accept_unsampled: bool,
) -> dict[str, Any]:
    from labeling.evaluation.calibration import FitRule
    from plugin.scoring import fit

    if truth is None or output is None:
        raise typer.BadParameter("--labels needs --truth and --output")
    asked = schema_named(config, schema)
    return fit(
        labels,
        truth,
        asked,
        FitRule(**rule),
        folds,
        output.absolute(),
        accept_unsampled=accept_unsampled,
    )


def evaluate(
    config: ConfigOption,
    labeler: LabelerOption = "rules",
    reports: ReportsOption = None,
    encoding: EncodingOption = "utf-8-sig",
    folds: FoldsOption = 5,
    resamples: ResamplesOption = 1000,
    errors: Annotated[int, typer.Option(min=0, help="How many of the worst to show.")] = 10,
    output: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for pictures (PNG), figures and errors."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a labeler against readers: figures with intervals, calibration, worst errors.

    Shows words of reports: mind who sees the screen and the folder.
    """
    result = ask(
        config,
        "evaluation",
        labeler=labeler,
        reports=_path(reports),
        encoding=encoding,
        folds=folds,
        resamples=resamples,
        errors=errors,
        output=_path(output),
    )
    show(result, as_json)


def compare(
    first: Annotated[str, typer.Argument(help="A labeler of the settings.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    config: ConfigOption,
    reports: ReportsOption = None,
    encoding: EncodingOption = "utf-8-sig",
    folds: FoldsOption = 5,
    resamples: ResamplesOption = 1000,
    as_json: JsonOption = False,
) -> None:
    """Compare two labelers on the same reports: paired differences (first - second)."""
    result = ask(
        config,
        "comparison",
        labeler=first,
        other=second,
        reports=_path(reports),
        encoding=encoding,
        folds=folds,
        resamples=resamples,
    )
    show(result, as_json)


def qualify(
    config: ConfigOption,
    labeler: LabelerOption = "rules",
    reports: ReportsOption = None,
    encoding: EncodingOption = "utf-8-sig",
    folds: FoldsOption = 5,
    min_reports: Annotated[
        int, typer.Option(min=1, help="Reports with readers' labels that each condition needs.")
    ] = 30,
    min_positives: Annotated[
        int, typer.Option(min=1, help="Of these, how many readers must call present.")
    ] = 5,
    balanced_accuracy: Annotated[float, typer.Option(help="Of each condition, at least.")] = 0.75,
    mean_balanced_accuracy: Annotated[
        float, typer.Option(help="Mean of the conditions, at least.")
    ] = 0.85,
    calibration_error: Annotated[float, typer.Option(help="Of each condition, at most.")] = 0.15,
    failed: Annotated[float, typer.Option(help="Share of failed labels, at most.")] = 0.02,
    reports_per_hour: Annotated[float, typer.Option(help="Speed, at least.")] = 60.0,
    memory_gib: Annotated[float, typer.Option(help="Peak of the child process, at most.")] = 24.0,
    allow_unjudged: Annotated[
        bool,
        typer.Option("--allow-unjudged", help="Let conditions pass that readers hardly labelled."),
    ] = False,
    timed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Read so many of the node's reports again to time it, and judge by the labels "
            "that are stored; 0: read all again.",
        ),
    ] = 0,
    accept_unsampled: AcceptUnsampledOption = False,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a labeler read the readers' reports, and store whether it is good enough for cohorts.

    Exit status 1 where it is not; the verdict says why.
    """
    criteria = {
        "reports": min_reports,
        "positives": min_positives,
        "balanced_accuracy": balanced_accuracy,
        "mean_balanced_accuracy": mean_balanced_accuracy,
        "calibration_error": calibration_error,
        "failed": failed,
        "reports_per_hour": reports_per_hour,
        "memory_gib": memory_gib,
        "allow_unjudged": allow_unjudged,
    }
    result = operate(
        config,
        "labeler qualify",
        labeler=labeler,
        reports=_path(reports),
        encoding=encoding,
        folds=folds,
        criteria=criteria,
        timed=timed,
        accept_unsampled=accept_unsampled,
        by=by,
    )
    show(result, as_json)
    if not result["qualified"]:
        raise typer.Exit(1)


def _path(path: Path | None) -> str:
    """Return an absolute path: the node that answers may stand in another folder."""
    return "" if path is None else str(path.absolute())

"""Commands of evaluation: freeze a plan, open its test set, show what came out, audit labels."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from plugin.cli_calls import ByOption, ConfigOption, JsonOption, ask, operate, show

evaluation = typer.Typer(
    no_args_is_help=True, help="Models against human labels: plans, test sets, audits."
)

_Texts = list[str] | None
_Samples = Annotated[int, typer.Option(min=100, max=100_000, help="Bootstrap samples.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(evaluation, name="evaluation")


@evaluation.command("plan")
def evaluation_plan(
    name: Annotated[str, typer.Argument(help="What people call the plan.")],
    config: ConfigOption,
    cohort: Annotated[str, typer.Option(help="Whose test fold is opened.")],
    model: Annotated[
        list[str], typer.Option(help="NAME or NAME:VERSION; twice: the first against the second.")
    ],
    primary: Annotated[
        _Texts,
        typer.Option(
            help="OBSERVATION:FIGURE, once; without :FIGURE its AUROC. All else is secondary.  "
            "[default: AUROC of the only observation]"
        ),
    ] = None,
    observation: Annotated[
        _Texts,
        typer.Option(help="Of the schema; may be repeated.  [default: all learned]"),
    ] = None,
    subgroup: Annotated[
        _Texts, typer.Option(help="scanner, age, sex or site; may be repeated.  [default: all]")
    ] = None,
    samples: _Samples = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Freeze what will be measured on a test set, before anybody looks.

    Nothing is predicted. Thresholds are those that the models were registered with, chosen on
    validation. A plan is never changed; the same plan frozen twice is one.
    """
    asked = {
        "cohort": cohort,
        "models": model,
        "observations": observation or [],
        "primary": _only(primary or [""]),
        "subgroups": subgroup or [],
        "samples": samples,
        "seed": seed,
    }
    found = operate(config, "evaluation plan", name=name, asked=asked, by=by)
    show(found, as_json)


@evaluation.command("run")
def evaluation_run(
    name: Annotated[str, typer.Argument(help="Of a frozen plan.")],
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Open the test set of a plan and compute its figures; the opening is counted for good.

    A test set that changed since the plan was frozen is refused. To look at figures again use
    `radloop evaluation show`, which opens nothing.
    """
    found = operate(config, "evaluation run", name=name, by=by)
    _show(found, as_json)


@evaluation.command("show")
def evaluation_show(
    name: Annotated[str, typer.Argument(help="Of a plan, or the beginning of its digest.")],
    config: ConfigOption,
    opening: Annotated[
        int | None, typer.Option(min=1, max=2**31, help="Which opening.  [default: the newest]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a plan, who opened its test set and when, what changed since, and the figures."""
    _show(ask(config, "evaluation show", name=name, opening=opening), as_json)


@evaluation.command("list")
def evaluation_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the plans, the newest first, with how often their test sets were opened."""
    show(ask(config, "evaluation list"), as_json)


@evaluation.command("audit")
def evaluation_audit(
    config: ConfigOption,
    labeler: Annotated[str, typer.Option(help="Whose labels of reports.")] = "rules",
    limit: Annotated[int, typer.Option(min=0, help="How many differences to list.")] = 20,
    samples: _Samples = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    accept_unsampled: Annotated[
        bool,
        typer.Option(
            "--accept-unsampled",
            help="Take image labels that were not sampled, blinded and adjudicated, too.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare labels of reports with readers' labels of the same studies' images.

    Whoever mends a labeler by what is listed here has used these studies up for testing.
    """
    found = ask(
        config,
        "evaluation audit",
        labeler=labeler,
        limit=limit,
        samples=samples,
        seed=seed,
        accept_unsampled=accept_unsampled,
    )
    show(found, as_json)


def _only(primary: list[str]) -> str:
    if len(primary) > 1:
        raise typer.BadParameter("a plan has one primary figure", param_hint="--primary")
    return primary[0]


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show(found, as_json=True)
        return
    from plugin.evaluation_tables import tables_of

    show(tables_of(found), as_json=False)

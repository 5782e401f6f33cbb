"""Commands of the registry of models: stages, the gate, silent mode and its monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plugin.cli_calls import (
    ByOption,
    ConfigOption,
    JsonOption,
    ReasonOption,
    ask,
    decide,
    show,
)

models = typer.Typer(no_args_is_help=True, help="The registry of trained models.")

ModelArgument = Annotated[str, typer.Argument(help="NAME (its newest version) or NAME:VERSION.")]
NameArgument = Annotated[str, typer.Argument(help="NAME of the models, without a version.")]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Waive a need of the gate: auroc, positives, reference, impact, silent, drift or "
        "domain; may be given again."
    ),
]


@models.command("list")
def models_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the registered models with stage and figures on held-out patients."""
    show(ask(config, "models"), as_json)


@models.command("history")
def models_history(model: ModelArgument, config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show every change of stage of the models of a name, and the impact notes about them."""
    show(ask(config, "model history", name=model), as_json)


@models.command("promote")
def models_promote(
    model: ModelArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    accept: AcceptOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model the live one of its name where the gate lets it; the one before it retires.

    The gate ([gate] in the settings) says in numbers what is missing. An observation that does not
    pass is not spoken of, or refuses everything, as the settings say.
    """
    decide(config, "promote", as_json, by=by, model=model, reason=reason, accept=accept or [])


@models.command("silence")
def models_silence(
    model: ModelArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a model predict on what arrives without sending anything: see radloop models monitor."""
    decide(config, "models silence", as_json, by=by, model=model, reason=reason)


@models.command("retire")
def models_retire(
    model: ModelArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Retire a model: it predicts no more."""
    decide(config, "models retire", as_json, by=by, model=model, reason=reason)


@models.command("rollback")
def models_rollback(
    name: NameArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    accept: AcceptOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the version live that was live before the present one, which retires.

    The gate judges one only that was live before there was a gate.
    """
    accepted = accept or []
    decide(config, "models rollback", as_json, by=by, name=name, reason=reason, accept=accepted)


@models.command("close-note")
def models_close_note(
    note: Annotated[
        int,
        typer.Argument(min=1, max=2**31, help="Number of the note; see radloop models history."),
    ],
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Close an impact note: somebody looked, and it does not stand in the way of a promotion."""
    decide(config, "models close-note", as_json, by=by, note=note, reason=reason)


@models.command("monitor")
def models_monitor(
    model: ModelArgument,
    config: ConfigOption,
    output: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for the picture and the JSON.")
    ] = Path("monitor"),
    as_json: JsonOption = False,
) -> None:
    """Compare what a model predicted with the labels of the reports that came later.

    That is agreement with the report, for each scanner and site, apart for studies of which a
    structured report of ours was in the archive before the report. Beside it stand calibration
    and drift.
    """
    show(ask(config, "model monitor", model=model, output=str(output.absolute())), as_json)


@models.command("card")
def models_card(
    model: ModelArgument,
    config: ConfigOption,
    to: Annotated[Path, typer.Option(file_okay=False, help="New, empty, or of an earlier card.")],
    as_json: JsonOption = False,
) -> None:
    """Write a model card: Markdown, JSON and pictures, from the database alone."""
    show(ask(config, "model card", model=model, folder=str(to.absolute())), as_json)

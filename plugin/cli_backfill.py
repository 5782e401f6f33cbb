"""Commands that fetch studies from archives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plugin.cli_calls import ConfigOption, JsonOption, ask, operate, show

backfill = typer.Typer(
    invoke_without_command=True,
    help="Fetch studies of the past from a PACS, at a rate and at hours that suit it.",
)

NameArgument = Annotated[str, typer.Argument(help="Name of the backfill; default: the newest.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(backfill, name="backfill")


@backfill.callback()
def start(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar="RADLOOP_CONFIG", help="The settings file."),
    ] = None,
    accessions: Annotated[
        Path | None,
        typer.Option(help="CSV with a header: accession_number or study_instance_uid; issuer."),
    ] = None,
    from_: Annotated[
        str, typer.Option("--from", help="Name of the [[pacs]]; default: the one with retrieve.")
    ] = "",
    priors: Annotated[
        int, typer.Option(min=0, max=20, help="Earlier studies to fetch with each one.")
    ] = 0,
    name: Annotated[str, typer.Option(help="How the backfill is called; default: by day.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask the PACS about each line, and fetch nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write down which studies to fetch; radloop serve fetches them, and goes on after a stop.

    With --dry-run the PACS is asked now. What was fetched may train and is never answered.
    """
    if context.invoked_subcommand is not None:
        return
    if accessions is None or config is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    command = "backfill try" if dry_run else "backfill start"
    asked = {"path": str(accessions.absolute()), "peer": from_, "priors": priors}
    show(operate(config, command, **asked, **({} if dry_run else {"name": name})), as_json)


@backfill.command("status")
def status(config: ConfigOption, name: NameArgument = "", as_json: JsonOption = False) -> None:
    """Show how far a backfill is, and what was not fetched and why."""
    show(ask(config, "backfill", name=name), as_json)


@backfill.command("list")
def list_(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the backfills, those of priors that models want included."""
    show(ask(config, "backfills"), as_json)


@backfill.command("stop")
def stop(config: ConfigOption, name: NameArgument = "", as_json: JsonOption = False) -> None:
    """Ask for nothing more until it is resumed."""
    show(operate(config, "backfill stop", name=name), as_json)


@backfill.command("resume")
def resume(
    config: ConfigOption,
    name: NameArgument = "",
    again: Annotated[
        bool, typer.Option("--again", help="Also what was unknown, refused, incomplete or failed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a backfill that was stopped, or once more with what was not fetched."""
    show(operate(config, "backfill resume", name=name, again=again), as_json)

"""The command that compares cohorts with a PACS."""

from __future__ import annotations

from typing import Annotated

import typer

from plugin.cli_calls import ConfigOption, JsonOption, operate, show


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(name="reconcile")(reconcile_command)


def reconcile_command(
    config: ConfigOption,
    from_: Annotated[
        str, typer.Option("--from", help="Name of the [[pacs]]; default: the one with retrieve.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what differs; note nothing.")
    ] = False,
    accept_absent: Annotated[
        bool,
        typer.Option(
            "--accept-absent", help="Note what the PACS lacks even where that is much of all."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare identity and existence of what cohorts hold with a PACS; differences become notes.

    Told are kinds and attributes, never values. A PACS that cannot be reached is no difference.
    """
    asked = {"peer": from_, "dry_run": dry_run, "accept_absent": accept_absent}
    show(operate(config, "reconcile", **asked), as_json)

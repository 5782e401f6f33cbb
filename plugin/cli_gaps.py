"""The command that lists studies without reports and reports without studies."""

from __future__ import annotations

from typing import Annotated

import typer

from plugin.cli_calls import ConfigOption, JsonOption, ask, show


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(name="gaps")(gaps_command)


def gaps_command(
    config: ConfigOption,
    since: Annotated[
        str, typer.Option(help="The first day that counts, as YYYY-MM-DD; default: all.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List studies without a report and reports without a study, and why; count them by month."""
    show(ask(config, "gaps", since=since), as_json)

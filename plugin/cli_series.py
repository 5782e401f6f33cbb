"""Commands about series rules: which images of a study a model would look at."""

from __future__ import annotations

from typing import Annotated

import typer

from plugin.cli_calls import ConfigOption, JsonOption, ask, show

series = typer.Typer(no_args_is_help=True, help="Rules that pick the series a model looks at.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(series, name="series")


@series.command("rules")
def series_rules(as_json: JsonOption = False) -> None:
    """List the series rules that come with radloop; needs no node."""
    from plugin.stages.series import list_rules

    show(list_rules(), as_json)


@series.command("try")
def series_try(
    rule: Annotated[str, typer.Argument(help="A rule that ships, or a file ending in .yaml.")],
    config: ConfigOption,
    study: Annotated[
        str, typer.Option(help="Only this Study Instance UID, series by series.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show what a series rule picks of the archive and why; reads headers, changes nothing."""
    show(ask(config, "series", rule=rule, study=study, details=bool(study) or as_json), as_json)

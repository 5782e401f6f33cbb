"""What every command shares: its options, the call to the node, and how a result is shown."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar="RADLOOP_CONFIG", help="The settings file made by radloop init."
    ),
]
"""The settings file, needed by every command that speaks for a node."""

NodeOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="RADLOOP_CONFIG", help="The settings file of a node."),
]
"""The settings file, for commands that also work without a node."""

StoreOption = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        help="Folder of the model store. Default: the node's, or without --config "
        "~/.local/share/radloop/language-models.",
    ),
]
"""Where language models lie, for commands that also work without a node."""


def somebody(context: typer.Context, parameter: typer.CallbackParam, value: str) -> str:
    """Refuse a person without a name; who says nothing is the user of the system."""
    source = context.get_parameter_source(str(parameter.name))
    said = source is not None and source.name != "DEFAULT"
    if said and not (value.strip() and value.isprintable()):
        raise typer.BadParameter("a name in printable characters is needed")
    return value or getpass.getuser()


ByOption = Annotated[
    str,
    typer.Option(help="Who; it is recorded.  [default: the system's user]", callback=somebody),
]
"""The person who decides or does something; an empty name is refused."""

ReasonOption = Annotated[str, typer.Option(help="Why; it is recorded.")]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def operate(config: Path, command: str, **arguments: Any) -> dict[str, Any]:
    """Have the node run an operation, or run it here when no node runs; return its result."""
    from plugin import operations
    from plugin.settings import load_settings
    from plugin.tables import progress_line

    with progress_line() as progress:
        return operations.operate(load_settings(config), command, arguments, progress)


def ask(config: Path, question: str, **arguments: Any) -> dict[str, Any]:
    """Answer a question from the last commit, whether or not the node runs."""
    from plugin import questions
    from plugin.settings import load_settings

    return questions.ask(load_settings(config), question, arguments)


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print a result as tables or as one JSON object."""
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    from plugin.tables import print_result

    print_result(result)


def decide(config: Path, command: str, as_json: bool, **arguments: Any) -> None:
    """Have a decision recorded and show what came of it."""
    show(operate(config, command, **arguments), as_json)

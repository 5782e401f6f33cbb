"""Commands about storage commitment: what peers asked of us, and what we asked of archives."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from plugin.cli_calls import ConfigOption, JsonOption, ask, operate, show

commitment = typer.Typer(
    no_args_is_help=True, help="Storage commitment: what was promised, to us and by us."
)


class Kind(StrEnum):
    """Who asked."""

    REQUEST = "request"
    INQUIRY = "inquiry"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(commitment, name="commitment")


@commitment.command("list")
def commitment_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the newest requests of peers and inquiries at archives, and where each stands."""
    show(ask(config, "commitments"), as_json)


@commitment.command("retry")
def commitment_retry(
    kind: Annotated[Kind, typer.Argument(help="A peer's request, or an inquiry of ours.")],
    number: Annotated[int, typer.Argument(metavar="ID", help="See radloop commitment list.")],
    config: ConfigOption,
    as_json: JsonOption = False,
) -> None:
    """Begin anew with a report that could not be delivered, or an inquiry without success."""
    show(operate(config, "commitment retry", kind=kind.value, id=number), as_json)

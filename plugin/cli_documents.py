"""Commands about documents that came as objects: structured reports and rejection notes."""

from __future__ import annotations

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

DigestArgument = Annotated[
    str, typer.Argument(help="The note's digest, or its first 8 characters or more.")
]

documents = typer.Typer(
    no_args_is_help=True, help="Structured reports and rejection notes that came as DICOM objects."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(documents, name="documents")


@documents.command("list")
def documents_list(
    config: ConfigOption,
    kind: Annotated[
        str,
        typer.Option(help="ours, correction, report, rejection, other or unreadable; empty: all."),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the newest documents: what each was taken for, why, and what became of it."""
    show(ask(config, "documents", kind=kind), as_json)


@documents.command("release")
def documents_release(
    digest: DigestArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Lift a rejection: the images that the note names are used again."""
    decide(
        config, "documents decide", as_json, digest=digest, action="release", by=by, reason=reason
    )


@documents.command("confirm")
def documents_confirm(
    digest: DigestArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a rejection stand: the images stay out of use, and the rest of the study is free."""
    decide(
        config, "documents decide", as_json, digest=digest, action="confirm", by=by, reason=reason
    )

"""Commands about what lies in quarantine, and the index rebuilt from files."""

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
    operate,
    show,
)

DigestArgument = Annotated[
    str, typer.Argument(help="The object's digest, or its first 8 characters or more.")
]

quarantine = typer.Typer(
    no_args_is_help=True, help="Objects that are kept and not used until a person decides."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(quarantine, name="quarantine")
    app.command(name="reindex")(reindex_command)


@quarantine.command("list")
def quarantine_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the objects in quarantine and the studies that are frozen, with the reasons."""
    show(ask(config, "quarantine"), as_json)


@quarantine.command("show")
def quarantine_show(
    digest: DigestArgument, config: ConfigOption, as_json: JsonOption = False
) -> None:
    """Show one object, what was decided about it, and how it differs from the stored one."""
    show(ask(config, "quarantined object", digest=digest), as_json)


@quarantine.command("export")
def quarantine_export(
    digest: DigestArgument,
    file: Annotated[Path, typer.Argument(help="A new file for the bytes as they were received.")],
    config: ConfigOption,
) -> None:
    """Copy the stored bytes of an object to FILE, to look at them with another program."""
    found = ask(config, "export quarantined", digest=digest, path=str(file.absolute()))
    typer.echo(f"wrote {file}: {found['digest']}")


@quarantine.command("accept")
def quarantine_accept(
    digest: DigestArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """File an object, over the one that has its SOP Instance UID now.

    Where it gives its study another identity, the whole study takes that one, and what was not
    sent under it is out of use.
    """
    decide(
        config, "quarantine decide", as_json, digest=digest, action="accept", by=by, reason=reason
    )


@quarantine.command("reject")
def quarantine_reject(
    digest: DigestArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Leave an object out for good, also after it was accepted; the bytes are kept."""
    decide(
        config, "quarantine decide", as_json, digest=digest, action="reject", by=by, reason=reason
    )


def reindex_command(
    config: ConfigOption,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read every file, count, and change nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the index from the files of the store, also into a new database.

    Labels, links, cohorts and predictions stay. Exit status 1 when a study that they need has no
    file any more, or an accepted object cannot be filed again.
    """
    result = operate(config, "reindex", dry_run=dry_run)
    show(result, as_json)
    if result["without_files"] or result["not_accepted"]:
        raise typer.Exit(1)

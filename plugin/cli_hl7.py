"""Commands about stored HL7 messages: what was refused and why, and reading them again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plugin.cli_calls import ConfigOption, JsonOption, ask, operate, show

MessageArgument = Annotated[int, typer.Argument(help="The number of the message.")]
SenderOption = Annotated[str, typer.Option(help="MSH-3 and MSH-4, joined with '|'.")]
SinceOption = Annotated[str, typer.Option(help="Received at or after, for example 2026-03-01.")]
UntilOption = Annotated[str, typer.Option(help="Received at or before.")]
DispositionOption = Annotated[str, typer.Option(help="accepted, ignored or quarantined.")]

hl7 = typer.Typer(no_args_is_help=True, help="HL7 messages: what became of them; dead letters.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(hl7, name="hl7")


@hl7.command("list")
def hl7_list(
    config: ConfigOption,
    disposition: DispositionOption = "quarantined",
    sender: SenderOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    as_json: JsonOption = False,
) -> None:
    """List messages with the reasons, the newest first; by default those in quarantine."""
    wanted = "" if disposition == "all" else disposition
    show(
        ask(config, "messages", disposition=wanted, sender=sender, since=since, until=until),
        as_json,
    )


@hl7.command("show")
def hl7_show(message: MessageArgument, config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show one message: what became of it, what was taken from it, and its segments."""
    show(ask(config, "message", message=message), as_json)


@hl7.command("export")
def hl7_export(
    message: MessageArgument,
    file: Annotated[Path, typer.Argument(help="A new file for the bytes as they were received.")],
    config: ConfigOption,
) -> None:
    """Copy the bytes of a message as they were received, to look at them with another program."""
    found = ask(config, "export message", message=message, path=str(file.absolute()))
    typer.echo(f"wrote {file}: {found['bytes']} bytes")


@hl7.command("replay")
def hl7_replay(
    config: ConfigOption,
    message: Annotated[list[int] | None, typer.Option("--id", help="Numbers of messages.")] = None,
    disposition: DispositionOption = "",
    sender: SenderOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read stored messages again under the feed profiles that are in force now.

    What is read as before changes nothing; labels and cohorts follow what is read otherwise.
    """
    result = operate(
        config,
        "hl7 replay",
        ids=message or [],
        disposition=disposition,
        sender=sender,
        since=since,
        until=until,
    )
    show(result, as_json)

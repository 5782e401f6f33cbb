"""Commands about feeds: a profile is learned, tried, accepted, withdrawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plugin.cli_calls import ByOption, ConfigOption, JsonOption, ReasonOption, ask, operate, show

FolderArgument = Annotated[
    Path, typer.Argument(help="A folder of messages in any form, or one file.")
]
ProfileArgument = Annotated[Path, typer.Argument(help="A profile as a TOML file.")]
SenderArgument = Annotated[str, typer.Argument(help="MSH-3 and MSH-4, joined with '|'.")]
AnyConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="RADLOOP_CONFIG",
        help="The settings of a node, whose defaults and studies count; none: no node.",
    ),
]

feed = typer.Typer(
    no_args_is_help=True, help="How each sender departs from the standard; who may link."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(feed, name="feed")


@feed.command("learn")
def feed_learn(
    folder: FolderArgument,
    sender: Annotated[
        str, typer.Option(help="Whose profile, where the folder holds several senders.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option(help="A new file for the profile; none: standard output.")
    ] = None,
) -> None:
    """Propose the profile of a sender from a sample of its messages, with a reason for each line.

    Lines that begin with DECIDE are choices that the sample could not make. Nothing is changed.
    """
    from plugin.errors import Permanent
    from plugin.stages.feeds import learn_feed

    text, sample = learn_feed(folder, sender)
    if output is None:
        typer.echo(text, nl=False)
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise Permanent(f"{output} exists already; it was not changed") from None
        typer.echo(f"wrote {output}: look for DECIDE, then try it with radloop feed dry-run")
    if sample.unreadable:
        typer.echo(f"{len(sample.unreadable)} files hold something that is no message", err=True)


@feed.command("dry-run")
def feed_dry_run(
    profile: ProfileArgument,
    folder: FolderArgument,
    config: AnyConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try a profile on a folder: how much is filled, what no map knows, what would be refused.

    With a node, also which links its studies would get. Nothing is changed. Exit status 1 when no
    message would be taken.
    """
    from plugin.settings import load_settings
    from plugin.stages.feeds import load_profile, try_feed
    from plugin.tables import progress_line

    settings = load_settings(config) if config is not None else None
    with progress_line() as progress:
        result = try_feed(load_profile(profile), folder, settings, progress)
    show(result, as_json)
    if not result["accepted"]:
        raise typer.Exit(1)


@feed.command("accept")
def feed_accept(
    profile: ProfileArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    undecided: Annotated[
        bool, typer.Option("--undecided", help="Although lines of it still say DECIDE.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let what a sender says link, read under this profile; what it sent is read again."""
    from plugin.stages.feeds import load_profile

    load_profile(profile)
    result = operate(
        config,
        "feed accept",
        profile=profile.read_text(encoding="utf-8"),
        by=by,
        reason=reason,
        undecided=undecided,
    )
    show(result, as_json)


@feed.command("withdraw")
def feed_withdraw(
    sender: SenderArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take an acceptance back: the sender's reports, also the earlier ones, link no more."""
    result = operate(config, "feed withdraw", sender=sender, by=by, reason=reason)
    show(result, as_json)


@feed.command("list")
def feed_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List every sender: what it sent, and whether its reports may link."""
    show(ask(config, "feeds"), as_json)


@feed.command("show")
def feed_show(sender: SenderArgument, config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show the profile that holds for a sender, and every decision about it."""
    show(ask(config, "feed", sender=sender), as_json)

"""Commands about the life of a study: complete, expired, erased."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from plugin.cli_calls import ByOption, ConfigOption, JsonOption, ask, operate, show

study = typer.Typer(no_args_is_help=True, help="Studies: receiving, complete, re-opened, frozen.")

retention = typer.Typer(no_args_is_help=True, help="Deletion of studies by the rules of a site.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(study, name="study")
    app.add_typer(retention, name="retention")
    app.command(name="erase")(erase_command)


@study.command("list")
def study_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List every study with images: its state, and what it waits for."""
    show(ask(config, "studies"), as_json)


@study.command("show")
def study_show(study_instance_uid: str, config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show one study: its state and why, its series, and when it was complete."""
    show(ask(config, "study", study_instance_uid=study_instance_uid), as_json)


@study.command("complete")
def study_complete(
    study_instance_uid: str,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a study for complete as it is now; images that come later open it again."""
    result = operate(
        config,
        "study complete",
        study_instance_uid=study_instance_uid,
        by=by,
        reason=reason,
    )
    show(result, as_json)


@retention.command("run")
def retention_run(
    config: ConfigOption,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would go, and why.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the images of every study that a [[retention]] rule says is too old."""
    show(operate(config, "retention run", dry_run=dry_run), as_json)


@retention.command("explain")
def retention_explain(
    uid: Annotated[str, typer.Argument(help="A SOP or Study Instance UID.")],
    config: ConfigOption,
    as_json: JsonOption = False,
) -> None:
    """Tell whether an object that was acknowledged has expired, by which rule and when."""
    show(ask(config, "expired", uid=uid), as_json)


def erase_command(
    patient_id: Annotated[str, typer.Option(help="Patient ID (0010,0020).")],
    issuer: Annotated[str, typer.Option(help="Its issuer, declared or assumed; may be ''.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept and must not name the patient.")],
    config: ConfigOption,
    by: ByOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be erased.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase a patient from everything that this node holds; it cannot be undone.

    Exit status 1 when nobody was found, a file still mentions the patient afterwards, or the node
    still waits for the journal of messages.
    """
    arguments = {
        "patient_id": patient_id,
        "issuer": issuer,
        "by": by,
        "reason": reason,
    }
    if dry_run or not yes:
        shown = operate(config, "erase", **arguments, dry_run=True)
        show(shown, as_json)
        _stop_where_nobody(shown)
    if dry_run:
        return
    if not yes:
        typer.confirm("Erase all of this, for good?", abort=True, err=True)
    result = operate(config, "erase", **arguments, dry_run=False)
    show(result, as_json)
    _stop_where_nobody(result)
    if result["files_that_still_mention"] or result["not_finished"]:
        raise typer.Exit(1)


def _stop_where_nobody(result: dict[str, Any]) -> None:
    if result["found"]:
        return
    known = ", ".join(result["issuers_of_this_id"])
    hint = f"; this id is known under: {known}" if known else ""
    typer.echo(f"nothing to erase: nobody here has this id under this issuer{hint}", err=True)
    raise typer.Exit(1)

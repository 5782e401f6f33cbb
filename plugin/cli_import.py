"""Commands that bring old reports and old studies in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plugin.cli_calls import ByOption, ConfigOption, JsonOption, ask, operate, show

if TYPE_CHECKING:
    from dicom_node.history.mapping import ImportMapping

imports = typer.Typer(
    no_args_is_help=True, help="Old reports and studies: they may train, and are never answered."
)


_INTERRUPTED = (
    "If radloop serve runs, the import goes on in it: radloop import list shows how far it is, "
    "radloop import stop ends it. Else it has ended, and the same command goes on from there."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(imports, name="import")


@imports.command("reports")
def import_reports(
    path: Annotated[
        Path,
        typer.Argument(help="CSV, XLSX, HL7 or DICOM SR file, or a folder of them and of PDFs."),
    ],
    config: ConfigOption,
    mapping: Annotated[
        Path | None, typer.Option(help="What the columns mean: a TOML file; tables need one.")
    ] = None,
    feed: Annotated[
        str, typer.Option(help="Name of the collection, where there is no mapping file.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would happen, and change nothing.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="With --dry-run and without --mapping: a new file for the proposal."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "import of old reports",
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Import reports of the past; they link by the normal rules, may train, are never answered.

    With --dry-run and without --mapping, a mapping of the table is proposed. An import that was
    cut off goes on where it was; run twice, it changes nothing. Exit status 1 when nothing would
    be taken, or a row was refused or quarantined.
    """
    if dry_run:
        _try(path, config, mapping, feed, output, as_json)
        return
    result = operate(
        config,
        "import reports",
        path=str(path.absolute()),
        mapping=_values(mapping, feed),
        by=by,
        reason=reason,
    )
    show(result, as_json)
    if result["refused"] or result["quarantined"]:
        raise typer.Exit(1)


@imports.command("dicom")
def import_dicom(
    source: Annotated[
        str,
        typer.Argument(help="A folder, a file, a DICOMDIR, or the address of an Orthanc."),
    ],
    config: ConfigOption,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would come in, and change nothing.")
    ] = False,
    sender: Annotated[
        str, typer.Option(help="AE title under which the objects are filed: its issuers apply.")
    ] = "IMPORT",
    user: Annotated[str, typer.Option(help="Of the Orthanc; $RADLOOP_IMPORT_PASSWORD too.")] = "",
    authorities: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="PEM of those who issued its certificate."),
    ] = None,
    since: Annotated[str, typer.Option(help="First study date, YYYY-MM-DD.")] = "",
    before: Annotated[str, typer.Option(help="The study date behind the last, YYYY-MM-DD.")] = "",
    studies: Annotated[
        Path | None,
        typer.Option(help="A file of Study Instance UIDs and accession numbers, one a line."),
    ] = None,
    young: Annotated[
        bool,
        typer.Option("--young", help="Also studies of the last 7 days; see below."),
    ] = False,
    refused: Annotated[
        Path | None,
        typer.Option(help="A new file (JSON lines): what does not come in, by name, and why."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "import of old studies",
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Import studies of the past: filed and linked like those that are sent, never answered.

    The same command goes on where one was cut off; run twice, it changes nothing. Exit status 1
    when nothing of DICOM was found, a file was refused or set aside in quarantine, or one that is
    listed is missing. Of what differs from an object of the same SOP Instance UID a trial cannot
    tell how much the index will set aside.

    Studies of the last 7 days are left out: one whose first image is imported is never answered,
    and its images may still be on their way here from the modality. --young takes them.
    """
    from plugin.errors import Permanent

    is_address = source.startswith(("http://", "https://"))
    password = os.environ.get("RADLOOP_IMPORT_PASSWORD", "")
    if user and not password:
        raise Permanent("$RADLOOP_IMPORT_PASSWORD must hold the password of --user")
    arguments: dict[str, Any] = {
        "source": source if is_address else str(Path(source).absolute()),
        "user": user,
        "password": password if user else "",
        "authorities": str(authorities.absolute()) if authorities else "",
        "sender": sender,
        "dry_run": dry_run,
        "since": since,
        "before": before,
        "studies": str(studies.absolute()) if studies else "",
        "young": young,
        "refused": str(refused.absolute()) if refused else "",
        "by": by,
        "reason": reason,
    }
    try:
        result = operate(config, "import dicom", **arguments)
    except KeyboardInterrupt:
        typer.echo(_INTERRUPTED, err=True)
        raise typer.Exit(130) from None
    show(result, as_json)
    found = result["new"] + result["held"] + result["differs"]
    _hint(result, dry_run)
    wrong = ("refused", "missing", "quarantined", "studies_not_found")
    stopped = result["state"] != "finished"
    if stopped or not found or any(result[each] for each in wrong):
        raise typer.Exit(1)


def _hint(result: dict[str, Any], dry_run: bool) -> None:
    if dry_run and result["differs"]:
        typer.echo(
            f"{result['differs']} objects differ from others of the same SOP Instance UID: the "
            "index compares what they show, and may set some of them aside.",
            err=True,
        )
    if result["young"]:
        typer.echo(
            f"{result['young']} objects are of studies of the last 7 days and were left out: they "
            "may still be on their way by another route, and would never be answered. --young "
            "takes them.",
            err=True,
        )


@imports.command("list")
def import_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the imports of studies, the newest first: who, why, how far, and how they ended."""
    show(ask(config, "imports"), as_json)


@imports.command("stop")
def import_stop(
    config: ConfigOption,
    number: Annotated[
        int | None,
        typer.Argument(metavar="[ID]", help="From the list; default: all that run, trials too."),
    ] = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """End an import of studies, or a trial, that runs in the node; what came in stays.

    The same import goes on from there. One that a command runs without radloop serve ends with
    Ctrl-C.
    """
    result = operate(config, "import stop", **{"import": number}, by=by)
    show(result, as_json)


def _try(
    path: Path, config: Path, mapping: Path | None, feed: str, output: Path | None, as_json: bool
) -> None:
    from plugin.settings import load_settings
    from plugin.stages.history import try_import
    from plugin.tables import progress_line

    settings = load_settings(config)
    chosen = _proposed(path, feed, output) if mapping is None else _mapping(mapping, feed)
    with progress_line() as progress:
        result = try_import(path, chosen, settings, progress)
    show(result, as_json)
    if not result["reports"] and not result["hl7"]:
        raise typer.Exit(1)


def _proposed(path: Path, feed: str, output: Path | None) -> ImportMapping:
    """Propose a mapping, write or print it, and try it."""
    from dicom_node.history.mapping import ImportMapping
    from plugin.errors import Permanent
    from plugin.stages.history import propose_mapping

    blank = _mapping(None, feed)
    proposal = propose_mapping(path, blank.name)
    if proposal is None:
        return ImportMapping(name=blank.name)
    if output is None:
        typer.echo(proposal.toml(), err=True)
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(proposal.toml())
        except FileExistsError:
            raise Permanent(f"{output} exists already; it was not changed") from None
        typer.echo(f"wrote {output}: look for TO DECIDE", err=True)
    return proposal.mapping()


def _values(mapping: Path | None, feed: str) -> dict[str, Any]:
    return _mapping(mapping, feed).model_dump(mode="json")


def _mapping(mapping: Path | None, feed: str) -> ImportMapping:
    from dicom_node.history.mapping import load_mapping, mapping_of
    from plugin.errors import Permanent

    if mapping is not None and feed:
        raise Permanent("a mapping has its own name: --feed is for imports without one")
    if mapping is not None:
        return load_mapping(mapping)
    if not feed:
        raise Permanent("say --mapping FILE.toml, or --feed NAME where no table is imported")
    return mapping_of({"name": feed}, "--feed")

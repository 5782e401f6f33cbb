"""The command line. Heavy imports are lazy: ``radloop --help`` answers at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from plugin import (
    cli_adapt,
    cli_backfill,
    cli_commitment,
    cli_documents,
    cli_evaluation,
    cli_feed,
    cli_gaps,
    cli_generate,
    cli_hl7,
    cli_impact,
    cli_import,
    cli_label,
    cli_labeler,
    cli_link,
    cli_llm,
    cli_quarantine,
    cli_reconcile,
    cli_reference,
    cli_research,
    cli_schema,
    cli_score,
    cli_send,
    cli_series,
    cli_student,
    cli_studies,
    cli_token,
)
from plugin.cli_calls import ConfigOption

app = typer.Typer(
    name="radloop",
    help=(
        "Close radiology's loop: receive studies (DICOM) and reports (HL7), link them, label the "
        "reports with an on-premise language model, train classifiers, and send predictions back "
        "as DICOM Structured Reports. Research use only, not for clinical decisions.\n\n"
        "Start: radloop init DIR, then radloop serve --config DIR/radloop.toml. "
        "Or see it all at once: radloop demo."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Folder for radloop.toml and the data folder.")],
    aet: Annotated[str, typer.Option(help="Our application entity title.")] = "RADLOOP",
    dicom_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where images come in (C-STORE).")
    ] = 11112,
    hl7_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where reports come in (HL7 over MLLP).")
    ] = 2575,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the status page, on loopback.")
    ] = 8080,
) -> None:
    """Write DIRECTORY/radloop.toml, commented, and make the data folder (mode 0700)."""
    from plugin.settings import load_settings
    from plugin.settings_template import render

    path = directory / "radloop.toml"
    if path.exists():
        raise typer.BadParameter(f"{path} exists already; it was not changed")
    directory.mkdir(parents=True, exist_ok=True)
    text = render(ae_title=aet, dicom_port=dicom_port, hl7_port=hl7_port, http_port=http_port)
    path.write_text(text, encoding="utf-8")
    try:
        settings = load_settings(path)
    except Exception:
        path.unlink()
        raise
    settings.data_folder.mkdir(mode=0o700, exist_ok=True)
    typer.echo(f"wrote {path}\nnext: radloop serve --config {path}")


@app.command()
def serve(config: ConfigOption) -> None:
    """Run the node until it is stopped (Ctrl-C or SIGTERM)."""
    from plugin.app import serve as run
    from plugin.settings import load_settings

    run(load_settings(config))


@app.command()
def status(
    config: ConfigOption,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what the node holds, what waits, and what it refused and why."""
    from plugin.settings import load_settings
    from plugin.status import node_status
    from plugin.status_tables import render_status

    found = node_status(load_settings(config))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        render_status(found)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("demo-output"),
    patients: Annotated[int, typer.Option(min=60, help="How many simulated patients.")] = 72,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of real lumbar slices to wrap as DICOM instead of the phantom."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated hospital.")] = 20260101,
) -> None:
    """Run the whole loop on a simulated hospital and show it happening."""
    from plugin.demo.run import run_demo

    raise typer.Exit(run_demo(out, patients=patients, images=images, seed=seed))


cli_send.register(app)
cli_commitment.register(app)
cli_label.register(app)
cli_labeler.register(app)
cli_research.register(app)
cli_reference.register(app)
cli_student.register(app)
cli_generate.register(app)
cli_studies.register(app)
cli_series.register(app)
cli_quarantine.register(app)
cli_documents.register(app)
cli_hl7.register(app)
cli_feed.register(app)
cli_import.register(app)
cli_link.register(app)
cli_llm.register(app)
cli_adapt.register(app)
cli_score.register(app)
cli_schema.register(app)
cli_impact.register(app)
cli_backfill.register(app)
cli_gaps.register(app)
cli_reconcile.register(app)
cli_evaluation.register(app)
cli_token.register(app)


def main() -> None:
    """Run the command line; expected errors are one plain line, not a traceback."""
    # Whatever radloop writes is patient data or says where it lies.
    os.umask(0o077)
    expected: tuple[type[Exception], ...] = ()
    if os.environ.get("RADLOOP_DEBUG") is None:
        expected = _expected_errors()
    try:
        app()
    except expected as error:
        typer.echo(f"radloop: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        # The database's own texts quote values of rows; loading its library only to name its
        # errors would slow every command.
        if not (expected and type(error).__module__.startswith("sqlalchemy")):
            raise
        typer.echo(
            f"radloop: the database cannot be used ({type(error).__name__}): is the folder "
            "writable, the disk full, the file damaged? Images are safe: with the node stopped, "
            "move radloop.sqlite* away and run radloop reindex",
            err=True,
        )
        sys.exit(1)


def _expected_errors() -> tuple[type[Exception], ...]:
    import dicom_node.errors
    import labeling.errors
    import plugin.errors
    import training.errors

    return (
        dicom_node.errors.DicomNodeError,
        labeling.errors.LabelingError,
        training.errors.TrainingError,
        plugin.errors.PluginError,
        OSError,
    )


if __name__ == "__main__":
    main()

"""The command that tells what rests on a report, a study or a patient."""

from __future__ import annotations

from typing import Annotated

import typer

from plugin.cli_calls import ConfigOption, JsonOption, ask, show


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(name="impact")(impact_command)


def impact_command(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="REPORT|STUDY|PATIENT",
            help="The number of a report, a Study Instance UID, or a patient as ID^^^ISSUER.",
        ),
    ],
    config: ConfigOption,
    issuer: Annotated[
        str | None, typer.Option(help="Issuer: the argument is a patient's identifier.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what rests on a report, a study or a patient, and which of it no longer stands.

    Labels, cohort members, models, predictions and structured reports; the answer is as the tables
    are now, whether or not the node runs.
    """
    show(ask(config, "impact", subject=subject, issuer=issuer), as_json)

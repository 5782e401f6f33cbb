"""``radloop token``: secrets for systems that store by DICOMweb."""

from __future__ import annotations

from typing import Annotated

import typer

token = typer.Typer(no_args_is_help=True, help="Tokens of systems that store by DICOMweb.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(token, name="token")


@token.callback()
def _group() -> None:
    """Keep ``new`` a command of its own beside later ones."""


@token.command("new")
def new(
    aet: Annotated[str, typer.Option(help="The AE title under which its objects come.")],
) -> None:
    """Make a bearer token and print it with the lines that let it in.

    The token is shown once and kept nowhere: give it to the sender. The settings hold its SHA-256.
    """
    from dicom_node.dicomweb.senders import new_token, token_digest
    from dicom_node.setting_values import is_ae_title

    if not is_ae_title(aet) or '"' in aet:
        raise typer.BadParameter('an AE title has 1 to 16 printable characters without \\ and "')
    made = new_token()
    typer.echo(f"token, shown once: {made}\n\nfor the settings, under [dicomweb]:\n")
    typer.echo("[[dicomweb.senders]]")
    typer.echo(f'ae_title = "{aet.strip(" ")}"')
    typer.echo(f'token_sha256 = "{token_digest(made)}"')

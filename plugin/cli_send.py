"""Commands that act as a peer of a node: send images, send HL7 messages, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plugin.cli_calls import ConfigOption

if TYPE_CHECKING:
    import ssl

    from dicom_node.requestor import Peer
    from dicom_node.settings import DicomSettings


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command()(send)
    app.command(name="send-hl7")(send_hl7)
    app.command()(echo)


def send(
    folder: Annotated[Path, typer.Argument(exists=True, help="A folder of DICOM files, or one.")],
    config: ConfigOption,
    calling_aet: Annotated[str, typer.Option(help="Our AE title as a sender.")] = "RADLOOP_SEND",
) -> None:
    """Send every DICOM file under FOLDER to the node (C-STORE) and list what was refused.

    Exit status 1 when the node refused a file or nothing was sent.
    """
    _ae_title(calling_aet)
    from dicom_node.dicom_files import find_dicom_files
    from dicom_node.storage_scu import send_instances
    from plugin.settings import load_settings

    node, tls = _own_node(load_settings(config).dicom)
    sent = 0
    refused: list[tuple[Path, str]] = []
    paths = []
    not_dicom = []
    for path, reason in find_dicom_files(folder):
        if reason:
            not_dicom.append((path, reason))
        else:
            paths.append(path)
    refused += not_dicom
    for result in send_instances(node, calling_aet, paths, tls=tls):
        if result.delivered:
            sent += 1
        else:
            refused.append((result.path, result.reason))
    _report("files", sent, refused)
    if len(refused) > len(not_dicom) or not sent:
        raise typer.Exit(1)


def send_hl7(
    file: Annotated[Path, typer.Argument(exists=True, help="A file of HL7 v2 messages.")],
    config: ConfigOption,
) -> None:
    """Send every HL7 message in FILE to the node (MLLP) and list what was not accepted.

    Exit status 1 when a message was not accepted; one with a fault in its content is answered AA
    (it is safe with the node) and listed with the fault.
    """
    from dicom_node.hl7.files import read_hl7_file
    from dicom_node.mllp.client import send_messages
    from plugin.settings import load_settings

    hl7 = load_settings(config).hl7
    port, context = hl7.port, None
    if not hl7.plain and hl7.tls is not None:
        from dicom_node.tls import client_context

        # Its certificate names the host that others call.
        port, context = hl7.tls.port, client_context(hl7.tls, check_host_name=False)
    accepted = 0
    refused: list[tuple[Path, str]] = []
    for number, result in enumerate(
        send_messages(hl7.host, port, read_hl7_file(file), context=context), start=1
    ):
        if result.accepted:
            accepted += 1
        else:
            refused.append((file, f"message {number}: {result.code} {result.text}"))
    _report("messages", accepted, refused)
    if refused or not accepted:
        raise typer.Exit(1)


def echo(
    config: ConfigOption,
    calling_aet: Annotated[str, typer.Option(help="Our AE title as a sender.")] = "RADLOOP_ECHO",
) -> None:
    """Verify that the node answers (C-ECHO); it must know the calling AE title."""
    from dicom_node.verification_scu import echo as c_echo
    from plugin.settings import load_settings

    node, tls = _own_node(load_settings(config).dicom)
    c_echo(node, _ae_title(calling_aet), tls=tls)
    typer.echo(f"{node.ae_title} answers on port {node.port}")


def _ae_title(value: str) -> str:
    if not 1 <= len(value.strip()) <= 16:
        raise typer.BadParameter("an AE title has 1 to 16 characters")
    return value


def _own_node(dicom: DicomSettings) -> tuple[Peer, ssl.SSLContext | None]:
    """Return where the node of these settings listens, and how to secure the way to it."""
    if dicom.plain or dicom.tls is None:
        return dicom, None
    from dicom_node.archive_settings import PacsPeer
    from dicom_node.tls import peer_context

    node = PacsPeer(
        name="node",
        ae_title=dicom.ae_title,
        host=dicom.host,
        port=dicom.tls.port,
        tls=True,
        check_host_name=False,  # its certificate names the host that others call
    )
    return node, peer_context(node, dicom.tls)


def _report(what: str, sent: int, refused: list[tuple[Path, str]]) -> None:
    typer.echo(f"{sent} {what} sent and accepted, {len(refused)} not")
    for path, reason in refused:
        typer.echo(f"  {path}: {reason}")

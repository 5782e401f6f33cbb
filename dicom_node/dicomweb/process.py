"""The process that receives by DICOMweb: as the receivers of C-STORE, it opens no database.

:class:`StowReceiver` is the parent's side. The child's side is ``python -m
dicom_node.dicomweb.process``: it inherits the listening sockets and ends with its parent.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_node.child_process import DISK_FAILED, begin_child
from dicom_node.dicomweb.senders import Senders
from dicom_node.dicomweb_settings import DicomwebSettings
from dicom_node.listening_process import (
    PLAIN,
    TLS,
    ListeningProcess,
    data_folder,
    inherited_sockets,
    serve_until_told,
    tell_ready,
)
from dicom_node.settings import DicomSettings
from dicom_node.sop_classes import negotiable
from dicom_node.tls import https_server_context


class StowReceiver(ListeningProcess):
    """Binds the DICOMweb ports and keeps the process that stores alive.

    Args:
        settings: addresses, senders and limits; port 0 takes any free port.
        dicom: what is taken and how much of it, as by C-STORE.
        folder: root of the folder store, whose folders exist already.

    Raises:
        OSError: a port cannot be bound.
        InvalidSettings: the process could not work with these settings.
    """

    def __init__(self, settings: DicomwebSettings, dicom: DicomSettings, folder: Path) -> None:
        # What the process will need is tried here, so that it does not fail there for ever.
        negotiable(dicom)
        Senders(settings.senders)
        if settings.tls is not None:
            https_server_context(settings.tls)
        ports = {PLAIN: settings.port} if settings.plain else {}
        if settings.tls is not None:
            ports[TLS] = settings.tls.port
        order = {
            "data_folder": str(folder),
            "settings": settings.model_dump(mode="json"),
            "dicom": dicom.model_dump(mode="json"),
        }
        super().__init__(
            "dicom_node.dicomweb.process", settings.host, ports, order, "DICOMweb objects"
        )


def main() -> None:
    """Run the process; the first line of standard input says how."""
    order = begin_child()
    # It quotes bytes of the body.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    failed = _serve(order)
    # A thread that waits for a dying disk must not keep the process.
    logging.shutdown()
    os._exit(DISK_FAILED if failed else 0)


def _serve(order: Mapping[str, Any]) -> bool:
    """Serve until told to stop; tell whether the disk failed."""
    from dicom_node.accepting import ListeningSocket
    from dicom_node.dicomweb.application import StoreService
    from dicom_node.dicomweb.server import Server
    from dicom_node.dicomweb.shelf import Shelf
    from dicom_node.storage import DicomStore

    settings = DicomwebSettings.model_validate(order["settings"])
    dicom = DicomSettings.model_validate(order["dicom"])
    store = DicomStore(data_folder(order), minimum_free_bytes=dicom.minimum_free_bytes)
    shelf = Shelf(store.intake, dicom)
    context = https_server_context(settings.tls) if settings.tls is not None else None
    sockets = {
        name: ListeningSocket(each, context if name == TLS else None)
        for name, each in inherited_sockets(order).items()
    }

    async def run(stop: asyncio.Event) -> None:
        service = StoreService(settings, dicom, shelf, disk_failed=stop.set)
        await Server(settings, service, sockets, tell_ready(order)).serve(stop)

    serve_until_told(run)
    return shelf.disk_failed


if __name__ == "__main__":
    main()

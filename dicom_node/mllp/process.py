"""The process that receives HL7 messages; it shares nothing with filing but the journal's folder.

:class:`MessageReceiver` is the parent's side. The child's side is ``python -m
dicom_node.mllp.process``: it inherits the listening sockets and ends with its parent.
"""

from __future__ import annotations

import gc
import logging
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_node.child_process import DISK_FAILED, begin_child
from dicom_node.durable import OutOfSpace, StorageFailed
from dicom_node.errors import InvalidSettings, Transient
from dicom_node.listening_process import (
    PLAIN,
    TLS,
    ListeningProcess,
    data_folder,
    inherited_sockets,
    serve_until_told,
    tell_ready,
)
from dicom_node.settings import Hl7Settings
from dicom_node.tls import server_context

log = logging.getLogger(__name__)

JOURNAL_FOLDER = "hl7"
PROFILES_FOLDER = "feeds"

_SWITCH_SECONDS = 0.0005
_COLLECT_AFTER = 50_000


class MessageReceiver(ListeningProcess):
    """Binds the HL7 ports and keeps the listener process alive.

    Args:
        settings: addresses, caps and deadlines; port 0 takes any free port.
        data_folder: the journal lies in its folder ``hl7``, feed profiles in ``feeds``.

    Raises:
        OSError: a port cannot be bound.
        InvalidSettings: the listener could not work with these settings.
    """

    def __init__(self, settings: Hl7Settings, data_folder: Path) -> None:
        _tls_context(settings)  # fails here and not in each new process for ever
        ports = {PLAIN: settings.port} if settings.plain else {}
        if settings.tls is not None:
            ports[TLS] = settings.tls.port
        order = {
            "data_folder": str(data_folder),
            "settings": settings.model_dump(mode="json"),
        }
        super().__init__("dicom_node.mllp.process", settings.host, ports, order, "HL7 messages")


def _tls_context(settings: Hl7Settings) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    try:
        return server_context(settings.tls)
    except InvalidSettings as error:
        raise InvalidSettings(str(error).replace("dicom.tls", "hl7.tls")) from None


def main() -> None:
    """Run the listener process; the first line of standard input says how."""
    order = begin_child()
    # A thread that returns from a sync must not wait long for the one that reads messages.
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        failed = _listen(order)
    except StorageFailed as error:
        log.critical("the HL7 journal cannot be opened: %s", error)
        failed = True
    except (OutOfSpace, Transient) as error:
        log.error("the HL7 journal cannot be opened: %s", error)
        sys.exit(1)
    # A thread that waits for a dying disk must not keep the process.
    logging.shutdown()
    os._exit(DISK_FAILED if failed else 0)


def _listen(order: Mapping[str, Any]) -> bool:
    """Listen until told to stop; tell whether the disk failed."""
    from dicom_node.accepting import ListeningSocket
    from dicom_node.feeds.registry import Profiles
    from dicom_node.mllp.journal import Journal
    from dicom_node.mllp.listener import Listener

    settings = Hl7Settings.model_validate(order["settings"])
    folder = data_folder(order)
    context = _tls_context(settings)
    sockets = {
        name: ListeningSocket(each, context if name == TLS else None)
        for name, each in inherited_sockets(order).items()
    }
    listener = Listener(
        settings,
        Journal(folder / JOURNAL_FOLDER),
        sockets,
        Profiles(settings, folder / PROFILES_FOLDER),
        folder,
        ready=tell_ready(order),
    )
    # What exists by now stays; messages leave no cycles behind.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    try:
        serve_until_told(listener.serve)
    except Exception as error:
        if not listener.failure:
            raise
        # Such an end is replaced by a new listener, which would acknowledge on the same disk.
        log.error("the HL7 listener did not end in order: %s", type(error).__name__)
    return bool(listener.failure)


if __name__ == "__main__":
    main()

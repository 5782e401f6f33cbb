"""What every test needs: sockets of pynetdicom that are closed, not left to the collector."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pynetdicom.transport import AssociationSocket


@pytest.fixture(autouse=True, scope="session")
def closed_sockets() -> Iterator[None]:
    """Close a socket whose peer has reset it; pynetdicom skips that where shutdown() fails.

    The archives of the tests are served by pynetdicom, and warnings are errors here: without this
    a test fails whenever its peer is the quicker one.
    """

    def shut(self: AssociationSocket) -> None:
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                self.socket.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AssociationSocket, "_shutdown_socket", shut)
        yield

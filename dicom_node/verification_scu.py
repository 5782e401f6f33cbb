"""The verification user (PS3.4 Annex A)."""

from __future__ import annotations

import ssl

from dicom_node.errors import Transient
from dicom_node.requestor import Peer, Timeouts, associate, release
from dicom_node.sop_classes import VERIFICATION


def echo(
    peer: Peer,
    calling_ae_title: str,
    timeouts: Timeouts | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Verify that the peer answers (C-ECHO).

    Raises:
        Transient: it cannot be reached, refuses us, or does not answer with success.
        Permanent: it does not know the verification service.
    """
    association = associate(peer, calling_ae_title, [(VERIFICATION, ())], timeouts, tls)
    try:
        answer = association.send_c_echo()
    except RuntimeError as error:
        raise Transient("the association ended") from error
    finally:
        release(association)
    if answer.get("Status") != 0x0000:
        raise Transient("the peer did not answer the echo with success")

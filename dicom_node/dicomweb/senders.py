"""Who may store by DICOMweb: bearer tokens (RFC 6750), each bound to an AE title.

A token has 256 bits of chance, so one round of SHA-256 keeps it as well as any slow digest would.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Sequence

from dicom_node.admission import plain_address
from dicom_node.dicomweb.refusal import Refusal
from dicom_node.dicomweb_settings import DicomwebSender
from dicom_node.errors import InvalidSettings

_SCHEME = "bearer"
_LONGEST_TOKEN = 1024
_SHORTEST_TOKEN = 32  # of a variable; tokens of ours have 43 characters
_TOKEN_BYTES = 32
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="radloop"'}


def new_token() -> str:
    """Return a token of 256 random bits."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_digest(token: str) -> str:
    """Return SHA-256 of a token in lower-case hexadecimal, as the settings hold it."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Senders:
    """Knows the tokens of the settings.

    Raises:
        InvalidSettings: a variable that should hold a token holds none or a short one, or two
            senders share a token.
    """

    def __init__(self, senders: Sequence[DicomwebSender]) -> None:
        self._senders = [(_digest_of(sender), sender) for sender in senders]
        if len({digest for digest, _ in self._senders}) < len(senders):
            raise InvalidSettings("two [[dicomweb.senders]] have the same token")

    def identify(self, authorization: str, address: str, certificate: str) -> str:
        """Return the AE title of who sends a request.

        Args:
            authorization: the header, empty where there is none.
            address: IP address of the other end.
            certificate: SHA-256 of its verified certificate; empty without.

        Raises:
            Refusal: 401 for a token that nobody has, 403 from elsewhere than the sender may.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip(" ")
        if scheme.lower() != _SCHEME or not 0 < len(token) <= _LONGEST_TOKEN:
            raise Refusal(401, "a bearer token is needed", _CHALLENGE)
        shown = token_digest(token)
        # Every digest is compared, each in constant time: how long it takes tells nothing.
        found = [sender for digest, sender in self._senders if hmac.compare_digest(digest, shown)]
        if not found:
            raise Refusal(401, "the token is not known", _CHALLENGE)
        if not _may_send_from(found[0], address, certificate):
            raise Refusal(403, "the sender may not send from this address or certificate")
        return found[0].ae_title


def _digest_of(sender: DicomwebSender) -> str:
    if sender.token_sha256 is not None:
        return sender.token_sha256
    token = os.environ.get(sender.token_variable, "")
    if len(token) < _SHORTEST_TOKEN:
        raise InvalidSettings(
            f"dicomweb.senders: ${sender.token_variable} must hold a token of at least "
            f"{_SHORTEST_TOKEN} characters"
        )
    return token_digest(token)


def _may_send_from(sender: DicomwebSender, address: str, certificate: str) -> bool:
    if sender.certificates and certificate not in sender.certificates:
        return False
    if not sender.networks:
        return True
    plain = plain_address(address)
    return plain is not None and any(
        plain in ipaddress.ip_network(network) for network in sender.networks
    )

"""Who may open an association, and with what answer the others are turned away (PS3.8 9.3.4).

A calling AE title is a claim, not an identity: anybody can write it into a request. What binds it
is the address that the request comes from and the certificate that the connection was made with.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from dataclasses import dataclass

from dicom_node.setting_values import is_ae_title
from dicom_node.settings import CallingPeer, DicomSettings

log = logging.getLogger(__name__)

CALLED_AE_UNKNOWN = "called AE title not recognised"
CALLING_AE_UNKNOWN = "calling AE title not recognised"
LIMIT_EXCEEDED = "local limit exceeded"
CONGESTED = "temporary congestion"

# Result, source and reason of the A-ASSOCIATE-RJ PDU; result 2 is transient: the peer tries again.
REJECTIONS: dict[str, tuple[int, int, int]] = {
    CALLED_AE_UNKNOWN: (1, 1, 7),
    CALLING_AE_UNKNOWN: (1, 1, 3),
    CONGESTED: (2, 3, 1),
    LIMIT_EXCEEDED: (2, 3, 2),
}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Applicant:
    """What an association request says about its sender, and what the connection proves.

    Attributes:
        calling_ae_title: as in the request, claimed.
        called_ae_title: as in the request.
        address: IP address of the other end.
        certificate: SHA-256 of its verified certificate in hexadecimal; empty without TLS.
    """

    calling_ae_title: str
    called_ae_title: str
    address: str
    certificate: str = ""


@dataclass(frozen=True)
class _Entry:
    """A line of the AE table with its host looked up; ``networks`` None: from anywhere."""

    peer: CallingPeer
    networks: tuple[_Network, ...] | None

    def matches(self, applicant: Applicant) -> bool:
        certificates = self.peer.certificates
        if certificates and applicant.certificate not in certificates:
            return False
        if self.networks is None:
            return True
        address = plain_address(applicant.address)
        return address is not None and any(address in network for network in self.networks)


class Admission:
    """Decides on association requests by the settings; host names are looked up once, here."""

    def __init__(self, settings: DicomSettings) -> None:
        self._settings = settings
        self._entries: dict[str, list[_Entry]] = {}
        self.unknown: list[CallingPeer] = []
        """Entries whose host could not be looked up now."""
        for peer in settings.peers:
            found = _look_up(peer) if peer.host else set()
            if peer.host and not found:
                self.unknown.append(peer)
            self._entries.setdefault(peer.ae_title, []).append(_Entry(peer, _networks(peer, found)))

    def refusal(
        self, applicant: Applicant, *, associations: int, peer_associations: int, has_room: bool
    ) -> str:
        """Return a key of :data:`REJECTIONS`, or an empty string for a welcome peer.

        Args:
            applicant: who asks.
            associations: how many this process already serves.
            peer_associations: how many of them belong to the applicant's AE title.
            has_room: whether the store is above its free-space mark.
        """
        settings = self._settings
        if settings.check_called_ae_title and (
            applicant.called_ae_title.strip(" ") != settings.ae_title
        ):
            return CALLED_AE_UNKNOWN
        peer = self.peer(applicant)
        if peer is None and not self._takes_stranger(applicant):
            return CALLING_AE_UNKNOWN
        if not has_room:
            return CONGESTED
        if associations >= settings.associations_per_process:
            return LIMIT_EXCEEDED
        if peer is not None and 0 < peer.maximum_associations <= peer_associations:
            return LIMIT_EXCEEDED
        return ""

    def peer(self, applicant: Applicant) -> CallingPeer | None:
        """Return the entry of the AE table that is meant; None for a stranger or an impostor."""
        entries = self._entries.get(applicant.calling_ae_title.strip(" "), ())
        return next((each.peer for each in entries if each.matches(applicant)), None)

    def _takes_stranger(self, applicant: Applicant) -> bool:
        # A listed title that matches none of its entries is borrowed, and never a stranger's.
        title = applicant.calling_ae_title
        return (
            self._settings.accept_unknown_peers
            and is_ae_title(title)
            and title.strip(" ") not in self._entries
        )


def _networks(peer: CallingPeer, found: set[_Address]) -> tuple[_Network, ...] | None:
    """Return where a peer may call from; None where from anywhere."""
    if not peer.host and not peer.networks:
        return None
    networks = [ipaddress.ip_network(network) for network in peer.networks]
    networks += [ipaddress.ip_network(address) for address in found]
    return tuple(networks)


def _look_up(peer: CallingPeer) -> set[_Address]:
    try:
        found = socket.getaddrinfo(peer.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        log.error("the host of the listed peer %s is unknown: the peer is refused", peer.ae_title)
        return set()
    addresses = (plain_address(str(entry[4][0])) for entry in found)
    return {address for address in addresses if address is not None}


def plain_address(text: str) -> _Address | None:
    """Return an address in its plain form: without zone, and as IPv4 where it is mapped from it."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address

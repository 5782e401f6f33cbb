"""Who may open an association, and with what answer the others are turned away (PS3.8 9.3.4)."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from dicom_node.settings import CallingPeer, DicomSettings

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


@dataclass(frozen=True)
class Applicant:
    """What an association request says about its sender, and the address it came from."""

    calling_ae_title: str
    called_ae_title: str
    address: str


class Admission:
    """Decides on association requests by the settings; host names are looked up once, here."""

    def __init__(self, settings: DicomSettings) -> None:
        self._settings = settings
        self._addresses = {peer.ae_title.strip(): _addresses(peer) for peer in settings.peers}

    def refusal(self, applicant: Applicant, *, associations: int, has_room: bool) -> str:
        """Return a key of :data:`REJECTIONS`, or an empty string for a welcome peer.

        Args:
            applicant: who asks.
            associations: how many this process already serves.
            has_room: whether the store is above its free-space mark.
        """
        settings = self._settings
        called = applicant.called_ae_title.strip()
        if settings.check_called_ae_title and called != settings.ae_title.strip():
            return CALLED_AE_UNKNOWN
        if not self._knows(applicant):
            return CALLING_AE_UNKNOWN
        if not has_room:
            return CONGESTED
        if associations >= settings.associations_per_process:
            return LIMIT_EXCEEDED
        return ""

    def _knows(self, applicant: Applicant) -> bool:
        calling = applicant.calling_ae_title.strip()
        if calling not in self._addresses:
            return self._settings.accept_unknown_peers
        allowed = self._addresses[calling]
        # A configured host binds the title to it, so that no stranger borrows the title.
        return allowed is None or applicant.address in allowed


def _addresses(peer: CallingPeer) -> frozenset[str] | None:
    """Return the addresses of a peer's host; None where any will do."""
    if not peer.host:
        return None
    try:
        found = socket.getaddrinfo(peer.host, None, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return frozenset()
    return frozenset(str(entry[4][0]) for entry in found)

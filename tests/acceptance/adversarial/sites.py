"""Two sites with their own senders, issuers and habits, and the profiles of their feeds."""

from __future__ import annotations

from dataclasses import dataclass, field

from dicom_node.feeds.profile import FeedProfile
from dicom_node.settings import Hl7Settings, LinkingSettings

STANDARD_WORDS = {code: code for code in "FPCXRSA"}
OWN_WORDS = {"F": "Final", "P": "Prelim", "C": "Corrected", "X": "Cancelled", "R": "Unread"}


@dataclass(frozen=True)
class Site:
    """One hospital.

    Args:
        name: MSH-4 of all its systems.
        charset: MSH-18; ``codec`` is the Python codec of the same set.
        zone: appended to every time; empty where the profile tells the zone.
        accession_issuer_sent: whether accession numbers name their issuer; where they do not, the
            profile and the node's settings assume one and trust it.
        uid_segment: how reports name studies: ``OBX`` (113014) or ``ZDS``.
        words: OBR-25 by the code of table 0123 that is meant.
    """

    name: str
    charset: str
    codec: str
    zone: str
    accession_issuer_sent: bool
    uid_segment: str
    words: dict[str, str] = field(default_factory=dict, hash=False, compare=False)

    @property
    def patient_issuer(self) -> str:
        """Who issues patient ids."""
        return f"{self.name}PID"

    @property
    def accession_issuer(self) -> str:
        """Who issues accession numbers."""
        return f"{self.name}ACC"

    @property
    def order_issuer(self) -> str:
        """Who issues placer and filler order numbers."""
        return f"{self.name}ORD"

    @property
    def trusts_assumed_issuers(self) -> bool:
        """Whether the site declared that its assumed issuers count as declared."""
        return not self.accession_issuer_sent

    def sender(self, system: str) -> str:
        """MSH-3 and MSH-4 of one of its systems: RIS, ORDERS or ADT."""
        return f"{system}|{self.name}"

    def profiles(self) -> list[FeedProfile]:
        """The accepted profiles of its three senders."""
        return [self._profile(system) for system in ("RIS", "ORDERS", "ADT")]

    def _profile(self, system: str) -> FeedProfile:
        own = {}
        if self.trusts_assumed_issuers:
            own = {
                "issuer_of_patient_id": self.patient_issuer,
                "issuer_of_accession_number": self.accession_issuer,
                "trusted_assumed_issuers": (self.patient_issuer, self.accession_issuer),
            }
        return FeedProfile(
            sender=self.sender(system),
            name=f"{system} of {self.name}",
            charset=self.codec,
            time_zone="Europe/Berlin",
            issuer_of_order_numbers=self.order_issuer,
            accession_number_fields=("IPC-1", "OBR-18"),
            result_statuses={word: code for code, word in self.words.items()},
            **own,
        )


NORTH = Site("NORTH", "8859/1", "iso8859_1", "+0100", True, "OBX", STANDARD_WORDS)
SOUTH = Site("SOUTH", "UNICODE UTF-8", "utf_8", "", False, "ZDS", OWN_WORDS)
SITES = (NORTH, SOUTH)


def hl7_settings() -> Hl7Settings:
    """The listener's settings with every profile of both sites."""
    return Hl7Settings(feeds=tuple(profile for site in SITES for profile in site.profiles()))


def linking_settings() -> LinkingSettings:
    """The rules' settings: what the second site declared about its issuers."""
    trusted = [
        issuer
        for site in SITES
        if site.trusts_assumed_issuers
        for issuer in (site.patient_issuer, site.accession_issuer)
    ]
    return LinkingSettings(trusted_assumed_issuers=tuple(trusted))

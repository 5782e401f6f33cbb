"""Settings of the node; ``plugin.settings`` reads them from one TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dicom_node.feeds.profile import FeedProfile
from dicom_node.setting_values import (
    AeTitle,
    Codec,
    Fingerprint,
    Network,
    Section,
    Uid,
    is_loopback,
)


class CallingPeer(Section):
    """A system that may send images: how it is recognised, what it may do, what it leaves out.

    Several may share an AE title; the first that matches address and certificate counts. Who uses
    a listed title and matches none of its entries is refused.
    """

    ae_title: AeTitle
    host: str = ""  # name or address; empty with no networks: any address
    networks: tuple[Network, ...] = ()
    certificates: tuple[Fingerprint, ...] = ()  # empty: any that the authorities issued, or none
    issuer_of_patient_id: str = ""
    issuer_of_accession_number: str = ""
    maximum_associations: int = Field(default=0, ge=0)  # in one receiver process; 0: no own limit
    maximum_object_bytes: int = Field(default=0, ge=0)  # 0: the limit of [dicom]
    commitment_port: int = Field(default=0, ge=0, le=65535)  # where its commitment reports go
    commitment_host: str = ""  # empty: host, else the address that asked
    commitment_tls: bool = False  # with certificate, key and authorities of [dicom.tls]
    commitment_check_host_name: bool = True

    @property
    def is_bound(self) -> bool:
        """Whether the AE title alone does not make the peer."""
        return bool(self.host or self.networks or self.certificates)

    @property
    def issuers(self) -> tuple[str, str]:
        """What its objects are taken to mean where they state no issuer."""
        return self.issuer_of_patient_id, self.issuer_of_accession_number


class TlsSettings(Section):
    """Our certificate and whom we trust (PS3.15 B.12), for receiving and for sending.

    Files are PEM; the certificate file may hold the chain up to the authority. Without
    ``key_password_variable`` the key is not encrypted; else the variable holds its password.
    """

    port: int = Field(default=2762, ge=0, le=65535)
    certificate: Path
    key: Path
    authorities: Path
    key_password_variable: str = ""


class CompletionRule(Section):
    """Which series make a study complete, for the studies that the rule is about.

    Patterns are compared with the whole text, without case; ``*`` and ``?`` stand for anything.
    The first rule that is about a study counts; a study without one is complete by quiet time.
    """

    modality: str = ""  # of some series with images; empty: any
    body_part: str = ""  # Body Part Examined of that series; empty: any
    study_description: str = "*"
    series: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    quiet_seconds: float = Field(default=10.0, ge=0)  # after all of them are there
    give_up_seconds: float = Field(default=86400.0, ge=0)  # of silence without them; 0: never


class DicomSettings(Section):
    """The DICOM storage provider (PS3.4 Annex B)."""

    ae_title: AeTitle = "RADLOOP"
    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, le=65535)
    plain: bool = True  # false: nothing listens on port, only on that of [dicom.tls]
    tls: TlsSettings | None = None
    receiver_processes: int = Field(default=2, ge=1, le=64)
    associations_per_process: int = Field(default=256, ge=1, le=4096)
    connections_per_address: int = Field(default=128, ge=1)  # in one receiver process
    check_called_ae_title: bool = True
    accept_unknown_peers: bool = False
    peers: tuple[CallingPeer, ...] = ()
    private_sop_classes: tuple[Uid, ...] = ()
    private_transfer_syntaxes: tuple[Uid, ...] = ()
    accept_deflated: bool = False
    default_issuer_of_patient_id: str = ""
    default_issuer_of_accession_number: str = ""
    maximum_pdu_size: int = Field(default=131072, ge=4096, le=1048576)
    maximum_object_bytes: int = Field(default=2 * 1024**3, ge=1)
    unfinished_bytes_per_peer: int = Field(default=8 * 1024**3, ge=1)  # in one receiver process
    minimum_free_bytes: int = Field(default=1024**3, ge=0)
    network_timeout_seconds: float = Field(default=60.0, gt=0)
    minimum_bytes_per_second: int = Field(default=1024, ge=0)  # of an object in progress
    parser_memory_bytes: int = Field(default=1024**3, ge=512 * 1024**2)  # of one confined process
    parser_deadline_seconds: float = Field(default=30.0, gt=0)  # for one object; pixels get more
    study_quiet_seconds: float = Field(default=60.0, ge=0)
    completion: tuple[CompletionRule, ...] = ()

    @model_validator(mode="after")
    def _check_transport(self) -> DicomSettings:
        if self.tls is None:
            if not self.plain:
                raise ValueError("plain = false needs [dicom.tls]: nothing would be listened on")
            if any(peer.certificates for peer in self.peers):
                raise ValueError("certificates of [[dicom.peers]] need [dicom.tls]")
            if any(peer.commitment_tls for peer in self.peers):
                raise ValueError("commitment_tls of [[dicom.peers]] needs [dicom.tls]")
        if self.accept_unknown_peers and not is_loopback(self.host):
            raise ValueError(
                "accept_unknown_peers = true is for a host on loopback only; set it to false and "
                "list every sender under [[dicom.peers]]"
            )
        return self

    @model_validator(mode="after")
    def _check_peers(self) -> DicomSettings:
        for first in self.peers:
            for other in self.peers:
                if first.ae_title != other.ae_title:
                    continue
                if first.is_bound != other.is_bound:
                    raise ValueError(
                        f"[[dicom.peers]] lists {first.ae_title!r} with a host, network or "
                        "certificate and again without any, which lets everybody use the title"
                    )
                if first.issuers != other.issuers:
                    raise ValueError(
                        f"[[dicom.peers]] lists {first.ae_title!r} with different issuers; files "
                        "know their sender by AE title only"
                    )
        return self


class Hl7TlsSettings(TlsSettings):
    """As :class:`TlsSettings`, for messages, on a port of their own."""

    port: int = Field(default=2576, ge=0, le=65535)


class Hl7Settings(Section):
    """The HL7 v2 listener (MLLP)."""

    host: str = "127.0.0.1"
    port: int = Field(default=2575, ge=0, le=65535)
    plain: bool = True  # false: nothing listens on port, only on that of [hl7.tls]
    tls: Hl7TlsSettings | None = None
    maximum_message_bytes: int = Field(default=16 * 1024**2, ge=1024)
    frame_deadline_seconds: float = Field(default=30.0, gt=0)
    maximum_connections: int = Field(default=64, ge=1)
    connections_per_address: int = Field(default=32, ge=1)
    minimum_free_bytes: int | None = Field(default=None, ge=0)  # None: as in [dicom]
    default_charset: Codec = Field(default="ascii", min_length=1)
    default_issuer_of_patient_id: str = ""
    default_issuer_of_accession_number: str = ""
    feeds: tuple[FeedProfile, ...] = ()  # accepted: they were written into the settings
    accept_unknown_feeds: bool = False  # true: reports of senders without a profile may link too

    @model_validator(mode="after")
    def _check_transport(self) -> Hl7Settings:
        if self.tls is None:
            if not self.plain:
                raise ValueError("plain = false needs [hl7.tls]: nothing would be listened on")
            if any(feed.certificates for feed in self.feeds):
                raise ValueError("certificates of [[hl7.feeds]] need [hl7.tls]")
        return self


class LinkingSettings(Section):
    """When a report and a study belong together."""

    linker: str = "standard"
    date_window_days: int = Field(default=1, ge=0)
    trusted_assumed_issuers: tuple[str, ...] = ()  # assumed counts as declared for these
    equivalent_issuers: tuple[tuple[str, ...], ...] = ()  # names of one and the same issuer
    clock_skew_seconds: float = Field(default=300.0, ge=0)  # of a sender; beyond: dates say less

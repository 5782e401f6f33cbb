"""Settings of the node; ``plugin.settings`` reads them from one TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from dicom_node.feeds.profile import FeedProfile
from dicom_node.setting_values import (
    AeTitle,
    Codec,
    Fingerprint,
    Network,
    OptionalAeTitle,
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


class DicomwebTlsSettings(TlsSettings):
    """As :class:`TlsSettings`, for DICOMweb, on a port of its own."""

    port: int = Field(default=8443, ge=0, le=65535)
    client_certificates: Literal["required", "accepted"] = "required"  # accepted: or none


class DicomwebSender(Section):
    """Who may store by STOW-RS: a bearer token and the AE title that its objects come under.

    The settings hold SHA-256 of the token, or name an environment variable that holds the token.
    ``radloop token new`` makes one. Issuers and limits are those of ``[[dicom.peers]]`` with the
    same AE title.
    """

    ae_title: AeTitle
    token_sha256: Fingerprint | None = None
    token_variable: str = ""
    networks: tuple[Network, ...] = ()  # empty: any address
    certificates: tuple[Fingerprint, ...] = ()  # empty: any that the authorities issued, or none

    @model_validator(mode="after")
    def _check_token(self) -> DicomwebSender:
        if (self.token_sha256 is None) == (not self.token_variable):
            raise ValueError("a sender needs token_sha256 or token_variable, and not both")
        return self


class DicomwebSettings(Section):
    """The STOW-RS service (PS3.18 10.5); sizes, rates and free space are those of [dicom]."""

    host: str = "127.0.0.1"
    port: int = Field(default=8081, ge=0, le=65535)
    plain: bool = True  # false: nothing listens on port, only on that of [dicomweb.tls]
    tls: DicomwebTlsSettings | None = None
    senders: tuple[DicomwebSender, ...] = Field(min_length=1)
    maximum_connections: int = Field(default=64, ge=1, le=4096)
    connections_per_address: int = Field(default=32, ge=1)
    maximum_requests: int = Field(default=8, ge=1, le=64)  # that are stored at a time
    requests_per_sender: int = Field(default=4, ge=1, le=64)  # of one AE title among them
    maximum_request_bytes: int = Field(default=16 * 1024**3, ge=1)
    maximum_parts: int = Field(default=10_000, ge=1, le=100_000)  # of one request

    @model_validator(mode="after")
    def _check_transport(self) -> DicomwebSettings:
        if self.plain and not is_loopback(self.host):
            raise ValueError(
                "without TLS only a host on loopback is served, because tokens would travel in "
                "the clear; set plain = false and [dicomweb.tls]"
            )
        if self.tls is None:
            if not self.plain:
                raise ValueError("plain = false needs [dicomweb.tls]: nothing would be listened on")
            if any(sender.certificates for sender in self.senders):
                raise ValueError("certificates of [[dicomweb.senders]] need [dicomweb.tls]")
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


class PacsPeer(Section):
    """An archive: it receives the structured reports, or is asked for studies.

    With ``stow_url`` reports go by STOW-RS; whose study it is, is asked by C-FIND where there is a
    port, else by QIDO-RS. The URL is that of the DICOMweb service, without ``/studies``.
    """

    name: str = "pacs"
    ae_title: OptionalAeTitle = ""
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)  # 0: it has no DIMSE address
    tls: bool = False  # with certificate, key and authorities of [dicom.tls]
    check_host_name: bool = True  # the archive's certificate must name its host
    certificates: tuple[Fingerprint, ...] = ()  # pinned; empty: any that the authorities issued
    stow_url: str = ""
    token_variable: str = ""  # environment variable with a bearer token for stow_url
    user: str = ""  # for Basic authentication at stow_url
    password_variable: str = ""  # environment variable with the user's password
    retrieve: Literal["", "move", "get"] = ""  # by C-MOVE or C-GET; empty: it is not asked
    issuer_of_patient_id: str = ""  # whose ids its answers hold where they do not say it
    issuer_of_accession_number: str = ""
    maximum_attempts: int = Field(default=8, ge=1)
    first_retry_seconds: float = Field(default=2.0, gt=0)
    commitment: bool = False  # true: each report that it took, it is asked to commit to
    commitment_attempts: int = Field(default=3, ge=1)  # to ask, while no answer comes
    commitment_wait_seconds: float = Field(default=3600.0, gt=0)  # until it is asked again
    commitment_linger_seconds: float = Field(default=5.0, ge=0)  # for an answer on the spot

    @property
    def has_dimse(self) -> bool:
        """Whether it can be called by an association."""
        return self.port > 0

    @model_validator(mode="after")
    def _check_transport(self) -> PacsPeer:
        if not self.stow_url and not (self.port and self.ae_title):
            raise ValueError("an archive needs ae_title and port, or stow_url")
        if bool(self.port) != bool(self.ae_title):
            raise ValueError("ae_title and port belong together")
        if (self.commitment or self.retrieve) and not self.has_dimse:
            raise ValueError("commitment and retrieve need ae_title and port: they go by DIMSE")
        if self.certificates and not (self.tls or self.stow_url.startswith("https:")):
            raise ValueError("certificates are only checked with tls = true or an https stow_url")
        return self

    @model_validator(mode="after")
    def _check_stow(self) -> PacsPeer:
        if not self.stow_url:
            if self.token_variable or self.user or self.password_variable:
                raise ValueError("token_variable, user and password_variable need stow_url")
            return self
        _check_stow_url(self.stow_url)
        if bool(self.user) != bool(self.password_variable):
            raise ValueError("user and password_variable belong together")
        if self.user and self.token_variable:
            raise ValueError("stow_url takes a token or a user, not both")
        return self


def _check_stow_url(url: str) -> None:
    """Raise ValueError where a URL cannot be stored to, or not safely."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("stow_url is no http or https URL")
    if parts.username or parts.password:
        raise ValueError("stow_url must hold no credentials: name the variable that holds them")
    if parts.query or parts.fragment:
        raise ValueError("stow_url must have no query and no fragment")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("stow_url must be https, unless its host is on loopback")


class ReportingSettings(Section):
    """Who signs the structured reports as a device (TID 1004) and under which UID root."""

    device_name: str = "radloop"
    manufacturer: str = "radloop"
    institution: str = ""
    exporter: str = "structured_report"
    peer: str = ""  # name of the archive that gets the reports; empty: nothing is sent


class RetentionRule(Section):
    """Which studies are deleted, and how long after their last image came; without a rule, none.

    What a frozen cohort or a live model's prediction rests on is kept unless the rule says so.
    """

    name: str = Field(min_length=1, max_length=64)
    older_than_days: float = Field(gt=0)
    modality: str = ""  # of some series; empty: any
    body_part: str = ""  # Body Part Examined of that series; empty: any
    study_description: str = "*"
    delete_cohort_members: bool = False
    delete_predicted: bool = False


class CommitmentSettings(Section):
    """What the node promises to those who ask it to commit (PS3.4 Annex J), and how it reports.

    ``minimum_retention_days`` counts from the judgement; no rule of retention deletes a committed
    instance before. An erasure does.
    """

    minimum_retention_days: float = Field(default=365.0, ge=0)
    index_wait_seconds: float = Field(default=300.0, ge=0)  # for what came before the request
    maximum_attempts: int = Field(default=12, ge=1)  # to report
    first_retry_seconds: float = Field(default=5.0, gt=0)  # doubled with each attempt, up to 1 h


class ErasureSettings(Section):
    """What happens after a patient was erased."""

    keep_out: bool = False  # true: whatever comes again for an erased patient is erased again

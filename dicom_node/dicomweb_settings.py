"""Settings of the STOW-RS service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dicom_node.setting_values import AeTitle, Fingerprint, Network, Section, is_loopback
from dicom_node.settings import TlsSettings


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

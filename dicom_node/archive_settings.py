"""Settings of the archives that we call, and of the reports that go to them."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from dicom_node.setting_values import Fingerprint, OptionalAeTitle, Section, is_loopback


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

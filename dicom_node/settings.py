"""Settings of the node; ``plugin.settings`` reads them from one TOML file."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _codec(name: str) -> str:
    try:
        codecs.lookup(name or "ascii")
    except LookupError:
        raise ValueError("there is no codec of this name") from None
    return name


Codec = Annotated[str, AfterValidator(_codec)]
"""The name of a Python codec; empty where a general default applies."""


class Section(BaseModel):
    """A section of the settings file: unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CallingPeer(Section):
    """A system that may send images, and what to assume where its objects are silent."""

    ae_title: str = Field(min_length=1, max_length=16)
    host: str = ""  # empty: any address
    issuer_of_patient_id: str = ""
    issuer_of_accession_number: str = ""


class DicomSettings(Section):
    """The DICOM storage provider (PS3.4 Annex B)."""

    ae_title: str = Field(default="RADLOOP", min_length=1, max_length=16)
    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, le=65535)
    receiver_processes: int = Field(default=2, ge=1, le=64)
    associations_per_process: int = Field(default=16, ge=1, le=512)
    check_called_ae_title: bool = True
    accept_unknown_peers: bool = True
    peers: tuple[CallingPeer, ...] = ()
    default_issuer_of_patient_id: str = ""
    default_issuer_of_accession_number: str = ""
    maximum_pdu_size: int = Field(default=131072, ge=4096, le=1048576)
    maximum_object_bytes: int = Field(default=2 * 1024**3, ge=1)
    minimum_free_bytes: int = Field(default=1024**3, ge=0)
    network_timeout_seconds: float = Field(default=60.0, gt=0)
    study_quiet_seconds: float = Field(default=60.0, ge=0)


class Hl7Feed(Section):
    """A sending application and facility (MSH-3|MSH-4) and what to assume where it is silent."""

    sender: str
    issuer_of_patient_id: str = ""
    issuer_of_accession_number: str = ""
    charset: Codec = ""  # a Python codec name; used where MSH-18 is empty
    accession_number_field: Literal["auto", "OBR-18", "OBR-3"] = "auto"  # auto: 18, else 3


class Hl7Settings(Section):
    """The HL7 v2 listener (MLLP)."""

    host: str = "127.0.0.1"
    port: int = Field(default=2575, ge=0, le=65535)
    maximum_message_bytes: int = Field(default=16 * 1024**2, ge=1024)
    frame_deadline_seconds: float = Field(default=30.0, gt=0)
    maximum_connections: int = Field(default=64, ge=1)
    default_charset: Codec = Field(default="ascii", min_length=1)
    default_issuer_of_patient_id: str = ""
    default_issuer_of_accession_number: str = ""
    feeds: tuple[Hl7Feed, ...] = ()


class LinkingSettings(Section):
    """When a report and a study belong together."""

    linker: str = "standard"
    date_window_days: int = Field(default=1, ge=0)
    trusted_assumed_issuers: tuple[str, ...] = ()  # assumed counts as declared for these


class PacsPeer(Section):
    """An archive that receives the structured reports."""

    name: str = "pacs"
    ae_title: str = Field(min_length=1, max_length=16)
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    maximum_attempts: int = Field(default=8, ge=1)
    first_retry_seconds: float = Field(default=2.0, gt=0)


class ReportingSettings(Section):
    """Who signs the structured reports as a device (TID 1004) and under which UID root."""

    device_name: str = "radloop"
    manufacturer: str = "radloop"
    institution: str = ""
    exporter: str = "structured_report"
    peer: str = ""  # name of the archive that gets the reports; empty: nothing is sent

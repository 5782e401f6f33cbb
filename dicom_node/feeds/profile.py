"""The profile of a feed: where one sender puts what the standard says elsewhere.

A profile is a TOML file, or an entry ``[[hl7.feeds]]`` of the settings. A field path names
segment, field and, after a dot, component and subcomponent: ``OBR-3``, ``OBR-3.1``, ``ZDS-1.1``.
Where several paths are given, the first that holds a value counts. A pattern is searched for in the
value; a value in which it is not found does not count, and the next path is tried. In the maps an
empty right side means that the value says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dicom_node.reports.status import OBSERVATION_STATUSES, RESULT_STATUSES
from dicom_node.setting_values import Codec, Fingerprint, Network, Section, TimeZone

_PATH = re.compile(r"[A-Z][A-Z0-9]{2}-[1-9][0-9]{0,2}(\.[1-9][0-9]?(\.[1-9][0-9]?)?)?")


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is no field path such as OBR-18 or OBR-3.1")
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


def _patient_path(text: str) -> str:
    if not re.fullmatch(r"PID-[1-9][0-9]?", text):
        raise ValueError(f"{text!r} is no whole field of PID, such as PID-3 or PID-2")
    return text


PatientPath = Annotated[str, AfterValidator(_patient_path)]


def _sender(text: str) -> str:
    if text.count("|") != 1:
        raise ValueError(f"{text!r} is not MSH-3 and MSH-4 joined with |, such as RIS|HOSPITAL")
    return text


def _codes(known: Iterable[str]) -> Callable[[dict[str, str]], dict[str, str]]:
    def check(mapped: dict[str, str]) -> dict[str, str]:
        for said, code in mapped.items():
            if code not in known:
                choice = ", ".join(sorted(known))
                raise ValueError(f"{said!r} is mapped to {code!r}, none of {choice}")
        return mapped

    return check


Sender = Annotated[str, AfterValidator(_sender)]
ResultCodes = Annotated[dict[str, str], AfterValidator(_codes(RESULT_STATUSES))]
ObservationCodes = Annotated[dict[str, str], AfterValidator(_codes(OBSERVATION_STATUSES))]
SexCodes = Annotated[dict[str, str], AfterValidator(_codes("MFOU"))]
FieldPath = Annotated[str, AfterValidator(_path)]
Pattern = Annotated[str, AfterValidator(_pattern)]


class FeedProfile(Section):
    """How the messages of one sender are read, and what is assumed where they are silent."""

    sender: Sender  # MSH-3 and MSH-4, joined with "|"
    name: str = ""
    networks: tuple[Network, ...] = ()  # that it may send from; empty: any
    certificates: tuple[Fingerprint, ...] = ()  # that it may show; empty: any, or none
    charset: Codec = ""  # a Python codec name; used where MSH-18 is empty
    charset_overrides: bool = False  # true: MSH-18 of this sender is wrong, charset counts
    time_zone: TimeZone = ""  # IANA name; of times without a zone; empty: unknown
    patient_id_fields: tuple[PatientPath, ...] = ("PID-3",)  # all repetitions of the first filled
    patient_id_pattern: Pattern = ""  # its group 1, or all of it, is the identifier
    patient_id_types: tuple[str, ...] = ()  # CX.5 of the repetitions that count; empty: all
    issuer_of_patient_id: str = ""  # assumed where CX.4 is empty
    issuer_of_accession_number: str = ""  # assumed where EI.2 to EI.4 are empty
    issuer_of_order_numbers: str = ""
    accession_number_fields: tuple[FieldPath, ...] = ("IPC-1", "OBR-18", "OBR-3")
    accession_number_pattern: Pattern = ""  # its group 1, or all of it, is the number
    report_number_fields: tuple[FieldPath, ...] = ("OBR-3", "ORC-3", "OBR-18", "OBR-2")
    study_uid_fields: tuple[FieldPath, ...] = ("IPC-3", "ZDS-1.1")
    result_status_fields: tuple[FieldPath, ...] = ("OBR-25",)
    result_statuses: ResultCodes = Field(default_factory=dict)  # as sent: code of table 0123
    observation_statuses: ObservationCodes = Field(default_factory=dict)  # as sent: table 0085
    status_changed_fields: tuple[FieldPath, ...] = ("OBR-22",)
    observation_date_fields: tuple[FieldPath, ...] = ("OBR-7",)
    modality_fields: tuple[FieldPath, ...] = ("IPC-5", "OBR-24")
    modalities: dict[str, str] = Field(default_factory=dict)  # as sent: DICOM modality
    sexes: SexCodes = Field(default_factory=dict)  # as sent: M, F, O or U
    ignored_observations: tuple[str, ...] = ()  # OBX-3.1 of lines that are no report text
    test_patients: tuple[Pattern, ...] = ()  # of an identifier or a name; never used
    equivalent_issuers: tuple[tuple[str, ...], ...] = ()  # names of one and the same issuer
    trusted_assumed_issuers: tuple[str, ...] = ()  # assumed counts as declared for these
    on_content_fault: Literal["AA", "AE", "AR"] = "AA"
    acknowledgement: Literal["auto", "original", "enhanced"] = "auto"  # auto: by MSH-15, MSH-16
    history: bool = False  # an import of old reports: they may train and are never answered

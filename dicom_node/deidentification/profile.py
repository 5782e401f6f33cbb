"""Which profile of PS3.15 Annex E is applied, by which options, and under which secret.

The profile is the Basic Application Level Confidentiality Profile (PS3.15 E.2, code 113100 of
CID 7050). What the table of attributes leaves open is decided towards less: see
:mod:`dicom_node.deidentification.rules`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

EDITION = "DICOM PS3.15 2026c"
"""The edition of the standard whose Table E.1-1 gives the actions of the Basic Profile."""

_UID_BYTES = 16
_LEAST_SHIFT, _SHIFTS = 366, 3287  # days: one to ten years back


class Option(StrEnum):
    """Options of PS3.15 E.3 that can be chosen; the value is the name in commands and records."""

    CLEAN_DESCRIPTORS = "clean-descriptors"
    MODIFIED_DATES = "modified-dates"
    PATIENT_CHARACTERISTICS = "patient-characteristics"
    DEVICE_IDENTITY = "device-identity"


BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")
CODES: dict[Option, tuple[str, str]] = {
    Option.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.MODIFIED_DATES: (
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
    Option.PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Option.DEVICE_IDENTITY: ("113109", "Retain Device Identity Option"),
}
"""Code values and meanings of CID 7050 (PS3.16), coding scheme DCM."""


@dataclass(frozen=True)
class Profile:
    """How the objects of one patient are de-identified for one recipient.

    Args:
        key: secret from which new UIDs follow; the same key gives the same UIDs.
        patient: pseudonym that becomes Patient ID and Patient's Name.
        shift_days: by how many days dates move into the past, where they are kept at all.
        options: what is kept or cleaned instead of removed.
        software: name and version of what de-identifies, for De-identification Method.
    """

    key: bytes
    patient: str
    shift_days: int = 0
    options: frozenset[Option] = frozenset()
    software: str = "radloop"

    def uid(self, uid: str) -> str:
        """Return the UID that stands for another one: 2.25 and 128 bits of a keyed digest.

        The form is that of PS3.5 B.2; the digest is HMAC-SHA256 (RFC 2104).
        """
        digest = hmac.new(self.key, b"uid\0" + uid.encode("utf-8", "replace"), hashlib.sha256)
        return f"2.25.{int.from_bytes(digest.digest()[:_UID_BYTES], 'big')}"

    def to_job(self) -> dict[str, Any]:
        """Return the profile as a dict for JSON."""
        return {
            "key": self.key.hex(),
            "patient": self.patient,
            "shift_days": self.shift_days,
            "options": sorted(self.options),
            "software": self.software,
        }

    @classmethod
    def from_job(cls, job: dict[str, Any]) -> Profile:
        """Return the profile that :meth:`to_job` wrote."""
        return cls(
            key=bytes.fromhex(job["key"]),
            patient=job["patient"],
            shift_days=job["shift_days"],
            options=frozenset(map(Option, job["options"])),
            software=job["software"],
        )


def shift_of(key: bytes, patient: str) -> int:
    """Return by how many days a patient's dates move: fixed by key and pseudonym, 366 to 3652."""
    digest = hmac.new(key, b"dates\0" + patient.encode(), hashlib.sha256).digest()
    return _LEAST_SHIFT + int.from_bytes(digest[:8], "big") % _SHIFTS

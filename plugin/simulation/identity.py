"""Who is who in the simulated hospital: sites, patients, and unique identifiers from a seed."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

UidSource = Callable[[str], str]
"""Returns the UID for a name, always the same one for the same name."""


@dataclass(frozen=True)
class Site:
    """A place of the hospital with its own numbering and its own report system.

    Both issuers are declared: by Issuer of Patient ID (0010,0021) and Issuer of Accession Number
    Sequence (0008,0051) in images, by PID-3.4 and OBR-3.2 in messages.
    """

    name: str
    calling_ae_title: str
    issuer_of_patient_id: str
    issuer_of_accession_number: str
    sending_application: str
    sending_facility: str
    hl7_version: str
    hl7_charset: str  # MSH-18
    encoding: str  # the Python codec of that charset
    letter: str  # begins its message control ids
    declares_study_uid: bool  # its reports carry the Study Instance UID as an OBX
    fills_accession_field: bool  # OBR-18 holds the accession number; else only OBR-3 does

    @property
    def sender(self) -> str:
        """MSH-3 and MSH-4, joined as the node names a feed."""
        return f"{self.sending_application}|{self.sending_facility}"


SITES = (
    Site(
        name="Simulated Hospital North",
        calling_ae_title="SIMMR_NORTH",
        issuer_of_patient_id="SIMNORTH",
        issuer_of_accession_number="SIMNORTHRIS",
        sending_application="SIMRIS",
        sending_facility="NORTH",
        hl7_version="2.5.1",
        hl7_charset="UNICODE UTF-8",
        encoding="utf-8",
        letter="N",
        declares_study_uid=True,
        fills_accession_field=True,
    ),
    Site(
        name="Simulated Hospital South",
        calling_ae_title="SIMMR_SOUTH",
        issuer_of_patient_id="SIMSOUTH",
        issuer_of_accession_number="SIMSOUTHRIS",
        sending_application="SIMRIS",
        sending_facility="SOUTH",
        hl7_version="2.3.1",
        hl7_charset="8859/1",
        encoding="latin-1",
        letter="S",
        declares_study_uid=False,
        fills_accession_field=False,
    ),
)
"""The two sites; they share numbers, so that a number without its issuer would mislead."""


@dataclass(frozen=True)
class SimulatedPatient:
    """A person who does not exist."""

    patient_id: str
    issuer_of_patient_id: str
    family_name: str
    given_name: str
    birth_date: dt.date
    sex: str  # "F" or "M"
    weight: float  # kg

    def age(self, on: dt.date) -> int:
        """Return the age in whole years on a day."""
        before = (on.month, on.day) < (self.birth_date.month, self.birth_date.day)
        return on.year - self.birth_date.year - before


_FAMILY_NAMES = (
    "Albers", "Bergström", "Castellano", "Dvorak", "Eriksen", "Fontaine", "Grünwald", "Haddad",
    "Ilves", "Jovanovic", "Kowalski", "Lefèvre", "Marchetti", "Nygård", "O'Sullivan", "Petersen",
    "Quist", "Rossi", "Sørensen", "Takahashi", "Urban", "Vasquez", "Weiß", "Young",
)  # fmt: skip
_GIVEN_NAMES = {
    "F": ("Anna", "Beatriz", "Chloé", "Dagmar", "Elif", "Freya", "Greta", "Hélène", "Ines", "Jana"),
    "M": ("Adam", "Björn", "Cem", "David", "Emil", "François", "Goran", "Hugo", "Ivan", "Jürgen"),
}


def draw_patient(
    rng: np.random.Generator, patient_id: str, issuer: str, sex: str = ""
) -> SimulatedPatient:
    """Draw a patient; the family name says that the patient is simulated."""
    sex = sex or str(rng.choice(["F", "M"]))
    born = dt.date(1938, 1, 1) + dt.timedelta(days=int(rng.integers(0, 63 * 365)))
    return SimulatedPatient(
        patient_id=patient_id,
        issuer_of_patient_id=issuer,
        family_name=f"Sim{rng.choice(_FAMILY_NAMES)}",
        given_name=str(rng.choice(_GIVEN_NAMES[sex])),
        birth_date=born,
        sex=sex,
        weight=round(float(np.clip(rng.normal(74, 11), 45, 120)), 1),
    )


def seeded_uids(seed: int) -> UidSource:
    """Return a source of UIDs under 2.25 (PS3.5 B.2): a UUID made from the seed and a name."""
    return partial(_seeded_uid, seed)


def _seeded_uid(seed: int, name: str) -> str:
    digest = hashlib.sha256(f"radloop simulation/{seed}/{name}".encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"

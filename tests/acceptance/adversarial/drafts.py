"""A pair while it is made: what the report and its studies will say, and what that leaves true."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum

from tests.acceptance.adversarial.people import Person
from tests.acceptance.adversarial.sites import Site


class Lost(StrEnum):
    """Why a report must stay unlinked: what the generator took from the data."""

    KEY = "no Study Instance UID and no accession number with its issuer is left"
    PATIENT = "no patient identifier with its issuer agrees"
    CONTRADICTION = "the data contradict each other"
    SUSPENDED = "the identity of the patient is in doubt"
    WITHDRAWN = "the report was withdrawn or cancelled"
    UNREADABLE = "no message of the report can be decoded"


@dataclass(slots=True)
class Version:
    """One message of a report; ``status`` is a code of table 0123, ``line_status`` of 0085."""

    status: str
    lines: tuple[str, ...]
    changed: dt.datetime
    sent: dt.datetime
    line_status: str = ""
    addendum: tuple[str, ...] = ()
    unreadable: bool = False


@dataclass(slots=True)
class DraftStudy:
    """A study as its images describe it; an empty issuer is missing."""

    uid: str
    person: Person
    patient_id: str
    accession: str
    date: dt.date
    modality: str
    patient_issuer: str
    accession_issuer: str
    patient_issuer_assumed: bool = False
    accession_issuer_assumed: bool = False
    name: str = ""
    birth_date: str = ""


@dataclass(slots=True)
class Draft:
    """One report and the studies that it is about, with everything around them."""

    key: int
    site: Site
    person: Person
    exam: dt.datetime
    modality: str
    accession: str
    placer: str
    filler: str
    studies: list[DraftStudy]
    faults: list[str]
    strangers: list[DraftStudy] = field(default_factory=list)  # studies of no pair
    report_ids: list[str] = field(default_factory=list)  # each message takes one of them
    patient_issuer_sent: bool = True
    accession_issuer_sent: bool = True
    accessions: list[str] = field(default_factory=list)  # that the report names
    uids: list[str] = field(default_factory=list)
    name: str = ""
    birth_date: dt.date = dt.date(1900, 1, 1)
    observed: dt.datetime = dt.datetime(1900, 1, 1)
    national_id: str = ""
    versions: list[Version] = field(default_factory=list)
    orders: list[bytes] = field(default_factory=list)
    adt: list[bytes] = field(default_factory=list)
    replays: int = 0
    reuse_control_id: bool = False
    lost: set[Lost] = field(default_factory=set)
    text: tuple[str, ...] | None = None  # lines that hold at the end
    appended: tuple[str, ...] = ()
    contested: bool = False


@dataclass(slots=True)
class Pair:
    """What is true of a pair, kept to the end of a run.

    Args:
        sender: MSH-3 and MSH-4 of the report; with ``filler`` it tells which report is meant.
        studies: that the report is truly about, by UID.
        lost: why it must stay unlinked; empty where the two agreements are still in the data.
        contested: another patient's report names the study too, so both may be frozen.
        text: the lines that hold at the end, None where no text holds.
        said: accession numbers and the patient id of the last message, bare, as baselines see them.
    """

    key: int
    sender: str
    filler: str
    studies: tuple[str, ...]
    faults: tuple[str, ...]
    lost: frozenset[Lost]
    contested: bool
    text: tuple[str, ...] | None
    appended: tuple[str, ...]
    superseded: tuple[str, ...]
    said: tuple[tuple[str, ...], str]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.faults and not self.contested

"""From one row of a table to what its report says; what is not understood refuses the row."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from dicom_node.errors import NeedsReview
from dicom_node.file_meta import is_uid
from dicom_node.history.dates import read_time
from dicom_node.history.mapping import ImportMapping
from dicom_node.history.tables import Row

_LONGEST_VALUE = 250
# Vertical tab, form feed, next line, line and paragraph separator: line breaks of other programs.
_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ud800-\udfff]")
_ROUNDED = re.compile(r"[0-9](?:[.,][0-9]+)?E\+?[0-9]+", re.IGNORECASE)
_NOTHING = frozenset(("null", "none", "n/a", "nan", "nil"))


class UnusableRow(NeedsReview):
    """A row that cannot become a report.

    Args:
        column: what the column is for, as the mapping calls it.
        reason: in plain words, without a value of the row.
        value: what was not understood, for the table of a dry run; empty where it may name
            a person.
    """

    def __init__(self, column: str, reason: str, value: str = "") -> None:
        super().__init__(f"{column.replace('_', ' ')}: {reason}")
        self.column = column
        self.value = value


@dataclass(frozen=True, slots=True)
class Section:
    """A text and the heading over it; the heading ``REPORT`` is not written."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class HistoricReport:
    """What one row says, in the forms of HL7 and DICOM; an empty text says nothing.

    ``document`` is the relative name of a PDF, as the table has it; ``further_accessions`` are
    accession numbers with their issuers beside the first.
    """

    number: str
    status: str  # OBR-25, table 0123
    patient_id: str
    issuer_of_patient_id: str = ""  # declared by the table, never assumed here
    patient_name: str = ""  # PN
    birth_date: str = ""  # DA
    sex: str = ""
    accession_number: str = ""
    issuer_of_accession_number: str = ""
    study_instance_uids: tuple[str, ...] = ()
    study_date: str = ""  # YYYYMMDD[hhmm[ss]]
    report_date: str = ""
    modality: str = ""
    procedure: str = ""
    interpreter: str = ""
    sections: tuple[Section, ...] = ()
    document: str = ""
    further_accessions: tuple[tuple[str, str], ...] = ()

    def digest(self) -> str:
        """Return SHA-256 of all that the row says (hexadecimal)."""
        values = asdict(self)
        if not self.further_accessions:
            # The digest is older than the field, and what was imported before must stay known.
            del values["further_accessions"]
        said = json.dumps(values, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(said.encode()).hexdigest()


def report_of(row: Row, mapping: ImportMapping) -> HistoricReport:
    """Return what a row says under a mapping.

    Raises:
        UnusableRow: a value that is needed is missing, or one is there that is not understood.
    """
    reading = _Reading(row.cells, mapping)
    report = HistoricReport(
        number="",
        status=reading.status(),
        patient_id=reading.identifier("patient_id", needed=True),
        issuer_of_patient_id=reading.value("issuer_of_patient_id"),
        patient_name=reading.name(),
        birth_date=reading.time("birth_date")[:8],
        sex=reading.coded("sex", mapping.sexes, {"M": "M", "F": "F", "O": "O", "U": "U"}),
        accession_number=reading.identifier("accession_number"),
        issuer_of_accession_number=reading.value("issuer_of_accession_number"),
        study_instance_uids=reading.uids(),
        study_date=reading.time("study_date"),
        report_date=reading.time("report_date"),
        modality=reading.modality(),
        procedure=reading.value("procedure"),
        interpreter=reading.value("interpreter"),
        sections=reading.sections(),
        document=reading.value("document"),
    )
    uid = report.study_instance_uids[0] if report.study_instance_uids else ""
    number = reading.identifier("report_number") or report.accession_number or uid
    if not number:
        raise UnusableRow("report_number", "nothing names the report or its study")
    if not report.sections and not report.document and report.status != "X":
        raise UnusableRow("text", "there is no text")
    return replace(report, number=number)


class _Reading:
    def __init__(self, cells: Mapping[str, str], mapping: ImportMapping) -> None:
        self._cells = cells
        self._mapping = mapping
        self._columns: dict[str, str] = mapping.table_columns.model_dump()

    def value(self, use: str) -> str:
        column = self._columns[use]
        text = self._cells.get(column, "").replace("\xa0", " ").strip() if column else ""
        if text.casefold() in _NOTHING:
            return ""
        if len(text) > _LONGEST_VALUE:
            raise UnusableRow(use, f"more than {_LONGEST_VALUE} characters")
        if not text.isprintable():
            raise UnusableRow(use, "characters that cannot be printed")
        return text

    def identifier(self, use: str, *, needed: bool = False) -> str:
        text = self.value(use)
        if needed and not text:
            raise UnusableRow(use, "it is empty")
        if _ROUNDED.fullmatch(text):
            raise UnusableRow(use, "a number that a spreadsheet has rounded")
        return text

    def time(self, use: str) -> str:
        text = self.value(use)
        if not text:
            return ""
        found = read_time(text, self._mapping.date_forms)
        if found is None:
            raise UnusableRow(use, "no form of date_forms fits, or two that differ")
        return found

    def coded(self, use: str, known: Mapping[str, str], standard: Mapping[str, str]) -> str:
        text = self.value(use)
        found = _look_up(text, known, standard) if text else ""
        if found is None:
            raise UnusableRow(use, "a value that the mapping does not know", text)
        return found

    def status(self) -> str:
        found = self.coded("status", self._mapping.statuses, {}) or self._mapping.default_status
        if not found:
            raise UnusableRow("status", "it is empty, and default_status says nothing")
        return found

    def modality(self) -> str:
        text = self.value("modality")
        found = _look_up(text, self._mapping.modalities, {}) if text else ""
        if found is not None:
            return found
        if re.fullmatch("[A-Z]{2,6}", text):
            return text
        raise UnusableRow("modality", "a value that the mapping does not know", text)

    def uids(self) -> tuple[str, ...]:
        parts = re.split(r"[\s,;\\]+", self.value("study_instance_uid"))
        found = tuple(dict.fromkeys(part for part in parts if part))
        if not all(map(is_uid, found)):
            raise UnusableRow("study_instance_uid", "this is no UID")
        return found

    def name(self) -> str:
        if family := self.value("family_name"):
            return _pn(family, self.value("given_name"))
        text = self.value("patient_name")
        form = self._mapping.name_form
        if not text or form == "DICOM":
            return text
        if form == "family, given":
            family, _, given = text.partition(",")
        elif form == "family given":
            family, _, given = text.partition(" ")
        else:
            given, _, family = text.rpartition(" ")
        return _pn(family, given)

    def sections(self) -> tuple[Section, ...]:
        found = []
        for each in self._mapping.text:
            text = clean_text(self._cells.get(each.column, ""))
            if text:
                found.append(Section(each.heading, text))
        return tuple(found)


def clean_text(text: str) -> str:
    """Return text with line feeds between its lines and no blanks around it.

    Raises:
        UnusableRow: a control character, or one that stands for a byte somebody lost.
    """
    text = _BREAKS.sub("\n", text)
    if _UNPRINTABLE.search(text):
        raise UnusableRow("text", "control characters, or characters that were lost")
    return "\n".join(line.rstrip() for line in text.split("\n")).strip()


def _look_up(text: str, known: Mapping[str, str], standard: Mapping[str, str]) -> str | None:
    """Find a value as it is written, else without case; None where nobody knows it."""
    if text in known:
        return known[text]
    folded = {key.casefold(): value for key, value in known.items()}
    return folded.get(text.casefold(), standard.get(text.upper()))


def _pn(family: str, given: str) -> str:
    parts = [part.replace("^", " ").strip() for part in (family, given)]
    return "^".join(parts).rstrip("^")

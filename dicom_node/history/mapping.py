"""What the columns of a table of old reports mean: a TOML file that a person has looked at.

A mapping is to a table what a profile is to an HL7 feed. Issuers that the mapping names are assumed
ones; only a column can declare an issuer. A value that the mapping does not know refuses its row:
nothing about identity, status or time is guessed.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from dicom_node.errors import InvalidSettings
from dicom_node.feeds.profile import FeedProfile, Pattern
from dicom_node.history.dates import check_form
from dicom_node.setting_values import Codec, Section, TimeZone

APPLICATION = "IMPORT"
"""MSH-3 of every message that an import makes; MSH-4 is the name of the mapping."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Column = Annotated[str, Field(max_length=256)]
Status = Literal["P", "R", "S", "A", "F", "C", "X"]
Sex = Literal["M", "F", "O", "U"]
NameForm = Literal["DICOM", "family, given", "family given", "given family"]
Heading = Literal[
    "HISTORY", "COMPARISON", "TECHNIQUE", "FINDINGS", "IMPRESSION", "ADDENDUM", "REPORT"
]


def _date_form(text: str) -> str:
    try:
        check_form(text)
    except ValueError as error:
        raise ValueError(str(error)) from None
    return text


DateForm = Annotated[str, AfterValidator(_date_form)]


class Columns(Section):
    """The name of the column that holds each value; empty: the table has none."""

    patient_id: Column = Field(min_length=1)
    issuer_of_patient_id: Column = ""
    patient_name: Column = ""
    family_name: Column = ""
    given_name: Column = ""
    birth_date: Column = ""
    sex: Column = ""
    accession_number: Column = ""
    issuer_of_accession_number: Column = ""
    study_instance_uid: Column = ""
    report_number: Column = ""  # what names the report; empty: accession number, else study
    study_date: Column = ""
    report_date: Column = ""  # when the status was reached: the order of versions
    status: Column = ""
    modality: Column = ""
    procedure: Column = ""
    interpreter: Column = ""
    document: Column = ""  # name of a PDF beside the table, or below its folder


class TextColumn(Section):
    """A column of report text, and the heading under which it stands in the report."""

    column: Column = Field(min_length=1)
    heading: Heading = "REPORT"


class ImportMapping(Section):
    """How the rows of a table become reports; without columns, how other files are read.

    Args:
        name: of this collection; ``IMPORT|name`` is the sender of its messages.
        encoding: a Python codec; of text files, empty: UTF-8, or what a byte order mark says.
        delimiter: of text files, one character; empty: as found in the first lines.
        sheet: of a workbook; empty: the first one.
        header_row: number of the row with the names of the columns, from 1.
        date_forms: tried in order, as in :func:`dicom_node.history.dates.check_form`.
        default_status: counts where there is no status column, or a cell of it is empty.
    """

    name: Name
    encoding: Codec = ""
    delimiter: str = Field(default="", max_length=1)
    sheet: str = ""
    header_row: int = Field(default=1, ge=1, le=100)
    time_zone: TimeZone = ""
    date_forms: tuple[DateForm, ...] = ()
    name_form: NameForm = "DICOM"
    default_status: Literal["", "P", "F"] = ""
    issuer_of_patient_id: str = ""
    issuer_of_accession_number: str = ""
    test_patients: tuple[Pattern, ...] = ()
    equivalent_issuers: tuple[tuple[str, ...], ...] = ()
    trusted_assumed_issuers: tuple[str, ...] = ()
    columns: Columns | None = None
    text: tuple[TextColumn, ...] = ()
    statuses: dict[str, Status] = Field(default_factory=dict)
    sexes: dict[str, Sex] = Field(default_factory=dict)
    modalities: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> ImportMapping:
        columns = self.columns
        if columns is None:
            if self.text:
                raise ValueError("text without [columns]")
            return self
        if not self.text and not columns.document:
            raise ValueError("no column of text and no column that names a document")
        if not (columns.accession_number or columns.study_instance_uid):
            raise ValueError("no column names the study: accession_number or study_instance_uid")
        if not columns.status and not self.default_status:
            raise ValueError("without a status column, default_status must say what the rows are")
        if columns.patient_name and (columns.family_name or columns.given_name):
            raise ValueError("patient_name excludes family_name and given_name")
        if bool(columns.given_name) > bool(columns.family_name):
            raise ValueError("given_name needs family_name")
        if self.delimiter in ('"', "\n", "\r", "\0", "'"):
            raise ValueError("this character cannot separate columns")
        return self

    @property
    def sender(self) -> str:
        """MSH-3 and MSH-4 of the messages, joined with ``|``."""
        return f"{APPLICATION}|{self.name}"

    @property
    def digest(self) -> str:
        """SHA-256 of all that the mapping says (hexadecimal)."""
        said = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    @property
    def table_columns(self) -> Columns:
        """The columns of tables.

        Raises:
            InvalidSettings: the mapping has none: it is for files that are no tables.
        """
        if self.columns is None:
            raise InvalidSettings("the mapping has no [columns], which a table needs")
        return self.columns

    def check_for_tables(self) -> None:
        """Check that the mapping can read tables.

        Raises:
            InvalidSettings: it has no columns.
        """
        _ = self.table_columns

    @property
    def used_columns(self) -> dict[str, str]:
        """Each use of a column with the column's name, in the order of the mapping."""
        named = {use: name for use, name in self.table_columns.model_dump().items() if name}
        return named | {
            f"text {number}": each.column for number, each in enumerate(self.text, start=1)
        }

    def profile(self) -> FeedProfile:
        """Return the profile under which the messages are read."""
        return FeedProfile(
            sender=self.sender,
            name=self.name,
            charset="utf_8",
            time_zone=self.time_zone,
            issuer_of_patient_id=self.issuer_of_patient_id,
            issuer_of_accession_number=self.issuer_of_accession_number,
            accession_number_fields=("OBR-18",),
            report_number_fields=("OBR-3",),
            study_uid_fields=("ZDS-1.1",),
            test_patients=self.test_patients,
            equivalent_issuers=self.equivalent_issuers,
            trusted_assumed_issuers=self.trusted_assumed_issuers,
            history=True,
        )


def load_mapping(path: Path) -> ImportMapping:
    """Read a mapping file.

    Raises:
        InvalidSettings: it is missing, no TOML, or has an unknown key or a bad value; the message
            names the key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"{path} cannot be read as TOML: {error}") from None
    return mapping_of(values, str(path))


def mapping_of(values: dict[str, Any], origin: str) -> ImportMapping:
    """Check the values of a mapping.

    Raises:
        InvalidSettings: see :func:`load_mapping`; ``origin`` stands before the reason.
    """
    try:
        return ImportMapping.model_validate(values)
    except ValidationError as error:
        reasons = (
            f"{'.'.join(map(str, each['loc'])) or 'mapping'}: {each['msg']}"
            for each in error.errors()
        )
        raise InvalidSettings(f"{origin}: {'; '.join(reasons)}") from None

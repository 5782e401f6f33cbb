"""The reports that readers have labelled, of the node or of a file, for whoever judges by them.

Patients with image-level reference labels are left out: they are the test fold, and whoever fits
or chooses by the test set has used it up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import literal
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.linking.decision import CONFIRMED
from dicom_node.models import Link, Report, Study
from labeling.evaluation.cases import Place
from labeling.reference import ReaderLabel, reader_labels, reference_states
from labeling.reference_samples import drawn_subjects
from labeling.report_file import read_reports
from labeling.runs import READABLE
from training.folds import Identity
from training.patients import NameOfIssuer, Patients, read_patients


class LabelledReports(NamedTuple):
    """Reports that readers have labelled, and how many subjects stand for nobody knows which.

    ``sampled`` and ``left_out`` are filled by ``plugin.stages.basis.chosen``: whether every label
    was sampled, blinded and adjudicated, and how many labels were left out that were not.
    """

    reports: list[ReferenceReport]
    ambiguous: int = 0
    sampled: bool = False
    left_out: int = 0


class ReferenceReport(NamedTuple):
    """A report that readers have labelled. ``row`` is its id in the database; 0: of a file."""

    name: str  # what readers call it: accession number, or id of a file's row
    patient: str
    text: str
    labels: Mapping[Place, ReaderLabel]
    row: int = 0


def node_reports(session: Session, name_of: NameOfIssuer = str) -> list[ReferenceReport]:
    """Return the reports of ``labelled_on_node``."""
    return labelled_on_node(session, name_of).reports


def labelled_on_node(session: Session, name_of: NameOfIssuer = str) -> LabelledReports:
    """Return the current reports that readers have labelled, of training patients.

    Readers name a report by its accession number alone. Where a number is of several patients or
    issuers nobody knows which report was read, so none of them is taken.

    Args:
        session: any session.
        name_of: the one name of an issuer.
    """
    labels = reader_labels(session, "report")
    patients = read_patients(session, name_of)
    held_out = tested_patients(session, patients)
    by_number: dict[str, list[NumberedReport]] = {}
    for row in numbered_reports(session, labels):
        by_number.setdefault(row.accession_number, []).append(row)
    found: list[ReferenceReport] = []
    ambiguous = 0
    for number, rows in by_number.items():
        identities = {patients.of(row.issuer, row.patient_id) for row in rows}
        issuers = {name_of(row.accession_issuer) for row in rows if row.accession_issuer}
        if len(identities) > 1 or len(issuers) > 1:
            ambiguous += 1
        elif identities.isdisjoint(held_out):
            [identity] = identities
            for row in rows:
                name = number if row is rows[0] else f"{number} ({row.report_id})"
                found.append(
                    ReferenceReport(
                        name, "|".join(identity), row.text, labels[number], row.report_id
                    )
                )
    return LabelledReports(sorted(found, key=lambda each: each.row), ambiguous)


def file_reports(session: Session, path: Path, encoding: str) -> LabelledReports:
    """Return the reports of a file that readers have labelled (level "file").

    Nothing tells which of them are of one patient: each is taken for a patient of its own.
    """
    texts = dict(read_reports(path, encoding))
    labels = reader_labels(session, "file", texts)
    return LabelledReports(
        [
            ReferenceReport(name, name, text, labels[name])
            for name, text in texts.items()
            if name in labels
        ]
    )


def tested_patients(session: Session, patients: Patients) -> set[Identity]:
    """Return the patients of the test fold: with image-level labels, or drawn to get some."""
    found: set[Identity] = set()
    tested = reference_states(session, "image").keys() | drawn_subjects(session, "image")
    for batch in chunks(sorted(tested)):
        for study in session.exec(select(Study).where(col(Study.study_instance_uid).in_(batch))):
            found.add(patients.of(study.issuer_of_patient_id, study.patient_id))
    return found


class NumberedReport(NamedTuple):
    """A current report with the accession number and patient of its study, else its own."""

    report_id: int
    text: str
    result_status: str
    accession_number: str
    accession_issuer: str
    issuer: str
    patient_id: str


def numbered_reports(
    session: Session, numbers: Iterable[str], *, with_text: bool = True
) -> list[NumberedReport]:
    """Return the reports of these accession numbers, in the order of their ids, each once."""
    text: Any = col(Report.text) if with_text else literal("")
    linked: dict[int, NumberedReport] = {}
    own: dict[int, NumberedReport] = {}
    for batch in chunks(sorted(numbers)):
        of_studies = (
            select_columns(col(Report.id), text, col(Report.result_status), *_naming(Study))
            .join(Link, col(Link.report_id) == col(Report.id))
            .join(Study, col(Study.study_instance_uid) == col(Link.study_instance_uid))
            .where(col(Link.state) == CONFIRMED, col(Study.accession_number).in_(batch), *READABLE)
            .order_by(col(Report.id), col(Link.id))
        )
        for each in session.execute(of_studies):
            linked.setdefault(each[0], NumberedReport(*each))
        of_reports = (
            select_columns(col(Report.id), text, col(Report.result_status), *_naming(Report))
            .where(col(Report.accession_number).in_(batch), *READABLE)
            .order_by(col(Report.id))
        )
        for each in session.execute(of_reports):
            own.setdefault(each[0], NumberedReport(*each))
    return [row for _, row in sorted({**own, **linked}.items())]


def _naming(table: type[Study] | type[Report]) -> tuple[Any, ...]:
    return (
        col(table.accession_number),
        col(table.issuer_of_accession_number),
        col(table.issuer_of_patient_id),
        col(table.patient_id),
    )

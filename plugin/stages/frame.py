"""Which reports or studies can be drawn for readers, and why the others cannot.

Patients of the test fold are never drawn for reports: what fits thresholds tests nothing. Unless it
is asked for, nobody is drawn whom a reader has read or a sample holds already, or of whom a model
has learned.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.linking.decision import CONFIRMED
from dicom_node.models import Link, Report, Study
from dicom_node.reports.status import FINAL_STATUSES
from dicom_node.studies import frozen_studies
from labeling.evaluation.sampling import Unit
from labeling.models import Label, LabelingRun, ReferenceLabel
from labeling.reference_file import names_subject
from labeling.reference_samples import drawn_subjects
from labeling.report_file import read_reports
from labeling.runs import READABLE
from labeling.vocabulary import WHOLE, State
from plugin.stages.labelled import NumberedReport, numbered_reports, tested_patients
from training.folds import Identity
from training.models import CohortMember
from training.patients import NameOfIssuer, Patients, read_patients
from training.selection import SeriesRule, final_reports, images, linked_reports

_SAID = (str(State.PRESENT), str(State.UNCERTAIN))
_FORMULA = re.compile(r"[=+\-@\t]")
_LIKE_A_FORMULA = "a spreadsheet would take the name for a formula"


@dataclass(frozen=True)
class FrameQuery:
    """What a frame is made of.

    Args:
        level: "report", "image", or "file" for the reports of a file.
        file, encoding: of the reports where the level is "file".
        include_read: take also patients whom a reader has read or a sample holds.
        include_trained: take also patients of a training or validation fold.
        without_report: of studies only those without a final report: they teach nothing.
        images: which series a study must hold.
        run: whose labels tell strata apart; None: there are none.
    """

    level: str
    file: Path | None = None
    encoding: str = "utf-8-sig"
    include_read: bool = False
    include_trained: bool = False
    without_report: bool = False
    images: SeriesRule | None = None
    run: LabelingRun | None = None


@dataclass(frozen=True)
class Frame:
    """The subjects that can be drawn, and how many others cannot, by reason."""

    units: list[Unit]
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Found:
    """A subject before anybody is left out."""

    subject: str
    patient: Identity
    report_id: int = 0
    fault: str = ""


def frame_of(session: Session, query: FrameQuery, name_of: NameOfIssuer) -> Frame:
    """Return the frame of a node, or of a file.

    Args:
        session: any session.
        query: what it is made of.
        name_of: the one name of an issuer.
    """
    patients = read_patients(session, name_of)
    if query.level == "file":
        found = _of_file(query)
        gone: dict[str, set[Identity]] = {}
        if not query.include_read:
            read = _read_subjects(session, "file") | drawn_subjects(session, "file")
            gone["read or drawn before"] = {("", each) for each in read}
    else:
        found = (
            _of_studies(session, query, patients)
            if query.level == "image"
            else (_of_reports(session, patients, name_of))
        )
        gone = _not_to_be_drawn(session, query, patients)
    units: list[tuple[_Found, str]] = []
    left_out: Counter[str] = Counter()
    for each in found:
        reason = each.fault or next(
            (why for why, identities in gone.items() if each.patient in identities), ""
        )
        if not reason and not names_subject(query.level, each.subject):
            reason = "its name cannot stand in a file of reference labels"
        if not reason and _FORMULA.match(each.subject):
            reason = _LIKE_A_FORMULA
        if reason:
            left_out[reason] += 1
        else:
            units.append((each, "|".join(each.patient)))
    said = _said(session, query.run, {each.report_id for each, _ in units})
    return Frame(
        [
            Unit(each.subject, patient, said.get(each.report_id, frozenset()))
            for each, patient in units
        ],
        left_out,
    )


def _of_file(query: FrameQuery) -> Iterator[_Found]:
    if query.file is None:
        return
    for name, text in read_reports(query.file, query.encoding):
        yield _Found(name, ("", name), fault="" if text.strip() else "without text")


def _of_reports(session: Session, patients: Patients, name_of: NameOfIssuer) -> Iterator[_Found]:
    """Yield a subject for each accession number with a report that labelers read."""
    of_reports = select(Report.accession_number).where(*READABLE).distinct()
    of_studies = (
        select(Study.accession_number)
        .join(Link, col(Link.study_instance_uid) == col(Study.study_instance_uid))
        .where(Link.state == CONFIRMED)
        .distinct()
    )
    numbers = {*session.exec(of_reports), *session.exec(of_studies)} - {""}
    by_number: dict[str, list[NumberedReport]] = {}
    for row in numbered_reports(session, numbers, with_text=False):
        by_number.setdefault(row.accession_number, []).append(row)
    for number, rows in sorted(by_number.items()):
        identities = {patients.of(row.issuer, row.patient_id) for row in rows}
        issuers = {name_of(row.accession_issuer) for row in rows if row.accession_issuer}
        faults = (
            (len(identities) > 1 or len(issuers) > 1, "a number of several patients or issuers"),
            (len(rows) > 1, "several reports under one number"),
            (rows[0].result_status not in FINAL_STATUSES, "not final"),
            (not rows[0].patient_id, "of an unknown patient"),
        )
        fault = next((reason for applies, reason in faults if applies), "")
        yield _Found(number, min(identities), rows[0].report_id, fault)


def _of_studies(session: Session, query: FrameQuery, patients: Patients) -> Iterator[_Found]:
    fitting = images(session, query.images) if query.images else {}
    frozen, links = frozen_studies(session), linked_reports(session)
    rows = session.exec(
        select(Study.study_instance_uid, Study.issuer_of_patient_id, Study.patient_id).order_by(
            col(Study.study_instance_uid)
        )
    )
    for uid, issuer, value in rows:
        finals = final_reports(links.get(uid, ()))
        faults = (
            (not (issuer and value), "of an unknown patient"),
            (query.images is not None and uid not in fitting, "no image series that fits"),
            (uid in frozen, "an object of it is in quarantine"),
            (query.without_report and bool(finals), "it has a final report"),
        )
        fault = next((reason for applies, reason in faults if applies), "")
        report = finals[0].report_id if len(finals) == 1 else 0
        yield _Found(uid, patients.of(issuer, value), report, fault)


def _not_to_be_drawn(
    session: Session, query: FrameQuery, patients: Patients
) -> dict[str, set[Identity]]:
    """Return by reason the patients who are left out."""
    gone: dict[str, set[Identity]] = {}
    if query.level == "report":
        gone["of the test fold"] = tested_patients(session, patients)
    if not query.include_read:
        reports = _read_subjects(session, "report") | drawn_subjects(session, "report")
        studies = _read_subjects(session, "image") | drawn_subjects(session, "image")
        gone["read or drawn before"] = _patients_of(session, patients, reports, studies)
    if not query.include_trained:
        trained = set(
            session.exec(
                select(CohortMember.study_instance_uid)
                .where(col(CohortMember.fold).in_(("train", "validation")))
                .distinct()
            )
        )
        gone["of a training fold"] = _patients_of(session, patients, (), trained)
    return gone


def _read_subjects(session: Session, level: str) -> set[str]:
    query = select(ReferenceLabel.subject).where(ReferenceLabel.level == level).distinct()
    return set(session.exec(query))


def _patients_of(
    session: Session, patients: Patients, numbers: Collection[str], studies: Collection[str]
) -> set[Identity]:
    """Return the patients of these accession numbers and studies."""
    found = {
        patients.of(row.issuer, row.patient_id)
        for row in numbered_reports(session, numbers, with_text=False)
    }
    for batch in chunks(sorted(studies)):
        rows = session.exec(
            select(Study.issuer_of_patient_id, Study.patient_id).where(
                col(Study.study_instance_uid).in_(batch)
            )
        )
        found |= {patients.of(issuer, value) for issuer, value in rows}
    return found


def _said(
    session: Session, run: LabelingRun | None, reports: Iterable[int]
) -> dict[int, frozenset[str]]:
    """Return by report which observations a run calls present or uncertain in the whole report."""
    found: dict[int, set[str]] = {}
    for batch in chunks(sorted(reports) if run is not None else ()):
        rows = session.exec(
            select(Label.report_id, Label.observation).where(
                Label.run_id == (run.id if run else None),
                Label.site == WHOLE,
                col(Label.state).in_(_SAID),
                col(Label.report_id).in_(batch),
            )
        )
        for report, observation in rows:
            found.setdefault(report, set()).add(observation)
    return {report: frozenset(names) for report, names in found.items()}

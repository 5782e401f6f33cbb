"""What a labeler measured beside what readers say: from stored labels, or read afresh in a child.

Patients with image-level reference labels are left out: they are the test fold, and whoever fits
or chooses by the test set has used it up.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.linking.decision import CONFIRMED
from dicom_node.models import Link, Report, Study
from labeling.decision import measured
from labeling.evaluation.cases import Case, Place, Reference, locate_quote
from labeling.evaluation.qualification import Effort
from labeling.labeler import LabelResult, checked
from labeling.models import Calibration, Label, LabelingRun
from labeling.reference import ReaderLabel, reader_labels, reference_states
from labeling.report_file import read_reports
from labeling.runs import WITHOUT_RESULT, result_of_label
from labeling.schema_file import schema_of
from labeling.standing import Configuration, configuration_of, newest_run
from labeling.thresholds import UNCALIBRATED, Thresholds
from labeling.vocabulary import LabelSchema
from plugin.child import ChildProcess
from plugin.context import Progress
from plugin.errors import Permanent
from plugin.folders import DataFolder
from plugin.labeler_child import LabelerChild
from plugin.rate import Rate
from plugin.settings import Settings
from training.patients import read_patients

_JOB = 32


class ReferenceReport(NamedTuple):
    """A report that readers have labelled. ``row`` is its id in the database; 0: of a file."""

    name: str  # what readers call it: accession number, or id of a file's row
    patient: str
    text: str
    labels: Mapping[Place, ReaderLabel]
    row: int = 0


@dataclass(frozen=True)
class Judged:
    """A labeler's measurements beside readers' labels.

    Args:
        configuration: what read.
        calibration_digest: of the thresholds that decided the stored labels; empty: none.
        model_name: for people.
        schema: of the labels.
        cases: one a report, as the labeler measured them.
        reports: the readers' side of the same reports, by the name of the case.
        sought: the thresholds under which it read, and so looked for evidence.
        effort: what reading cost, where the reports were read now.
    """

    configuration: Configuration
    calibration_digest: str
    model_name: str
    schema: LabelSchema
    cases: tuple[Case, ...]
    reports: Mapping[str, ReferenceReport]
    sought: Thresholds = UNCALIBRATED
    effort: Effort | None = None

    @property
    def label_ids(self) -> list[int]:
        """Rows of the reference labels that are used."""
        labels = (each for report in self.reports.values() for each in report.labels.values())
        return sorted({row for each in labels for row in each.ids})

    @property
    def reference_digest(self) -> str:
        """SHA-256 over the readers' labels: subjects, places and states."""
        lines = sorted(
            f"{name}\t{observation}\t{site}\t{label.state}\t{label.severity}"
            for name, report in self.reports.items()
            for (observation, site), label in report.labels.items()
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def stored_readings(session: Session, settings: Settings, labeler: str) -> Judged:
    """Return what the newest run of a labeler has stored of the reports that readers labelled.

    Raises:
        Permanent: readers have labelled no report, or the labeler has read none of those.
    """
    schema = schema_of(settings.labeling)
    reports = {each.row: each for each in node_reports(session)}
    run = newest_run(session, labeler, schema.digest)
    results = {} if run is None else _results(session, run, reports)
    if run is None or not results:
        raise Permanent(
            f"labeler {labeler!r} has read no report that a reader has labelled "
            f"under schema {schema.name!r}: radloop label --labeler {labeler} first"
        )
    found = {reports[row].name: reports[row] for row in results}
    cases = tuple(case_of(reports[row], each) for row, each in results.items())
    of = configuration_of(run)
    sought = _thresholds_by_digest(session, run.calibration_digest)
    return Judged(of, run.calibration_digest, run.model_name, schema, cases, found, sought)


def _results(
    session: Session, run: LabelingRun, reports: Iterable[int]
) -> dict[int, list[LabelResult]]:
    results: dict[int, list[LabelResult]] = {}
    for batch in chunks(reports):
        rows = select(Label).where(Label.run_id == run.id, col(Label.report_id).in_(batch))
        for label in session.exec(rows.order_by(col(Label.id))):
            results.setdefault(label.report_id, []).append(result_of_label(label))
    return results


def _thresholds_by_digest(session: Session, digest: str) -> Thresholds:
    query = select(Calibration.thresholds).where(Calibration.digest == digest)
    found = session.exec(query).first() if digest else None
    return UNCALIBRATED if found is None else Thresholds.from_json(found)


def fresh_readings(
    settings: Settings,
    labeler: str,
    reports: Sequence[ReferenceReport],
    progress: Progress,
    thresholds_for: Callable[[Configuration], Thresholds],
) -> Judged:
    """Let a labeler read reports in a child process, timed; nothing is stored.

    The first report is not timed: with it the model is loaded.

    Args:
        settings, labeler: what reads.
        reports: what is read.
        progress: takes lines as it goes.
        thresholds_for: gives the thresholds that hold for a configuration: the labeler looks for
            evidence where a label would count.

    Raises:
        Permanent: the labeler cannot be loaded, or there is no report.
        ChildFailed: the child died, for example for want of memory.
    """
    if not reports:
        raise Permanent("readers have labelled none of these reports")
    schema = schema_of(settings.labeling)
    folder = DataFolder(settings.data_folder)
    cases: list[Case] = []
    seconds = 0.0
    with ChildProcess(folder.child_log, settings.labeling.language_model.threads) as child:
        reader = LabelerChild(child, labeler, settings.labeling, folder.language_models)
        identity = reader.identify(progress)
        configuration = Configuration(
            labeler, schema.digest, identity.model_digest, identity.prompt_digest
        )
        thresholds = thresholds_for(configuration)
        reader.heed(thresholds)
        rate = Rate(labeler, len(reports), progress, time.monotonic)
        for chunk in (reports[:1], *_chunks(reports[1:])):
            began = time.monotonic()
            texts = [(place, each.text) for place, each in enumerate(chunk)]
            for place, results in reader.read(texts, progress):
                report = chunk[place]
                cases.append(case_of(report, checked(results, schema, report.text)))
                rate.done()
            seconds += time.monotonic() - began if len(cases) > 1 else 0.0
        (peak,) = child.run("peak_memory", {}, progress)
    return Judged(
        configuration=configuration,
        calibration_digest=thresholds.digest,
        model_name=identity.model_name,
        schema=schema,
        cases=tuple(cases),
        reports={each.name: each for each in reports},
        sought=thresholds,
        effort=Effort(max(len(reports) - 1, 0), seconds, peak),
    )


def node_reports(session: Session) -> list[ReferenceReport]:
    """Return the current reports that readers have labelled, of training patients."""
    labels = reader_labels(session, "report")
    patients = read_patients(session)
    held_out = {
        patients.of(study.issuer_of_patient_id, study.patient_id)
        for study in _studies_of(session, reference_states(session, "image"))
    }
    found: list[ReferenceReport] = []
    for report, accession_number, issuer, patient_id in _reports(session, labels):
        identity = patients.of(issuer, patient_id)
        if identity in held_out:
            continue
        known = any(each.name == accession_number for each in found)
        found.append(
            ReferenceReport(
                name=f"{accession_number} ({report.id})" if known else accession_number,
                patient="|".join(identity),
                text=report.text,
                labels=labels[accession_number],
                row=report.id or 0,
            )
        )
    return found


def file_reports(session: Session, path: Path, encoding: str) -> list[ReferenceReport]:
    """Return the reports of a file that readers have labelled (level "file").

    Nothing tells which of them are of one patient: each is taken for a patient of its own.
    """
    texts = dict(read_reports(path, encoding))
    labels = reader_labels(session, "file", texts)
    return [
        ReferenceReport(name, name, text, labels[name])
        for name, text in texts.items()
        if name in labels
    ]


def case_of(report: ReferenceReport, results: Iterable[LabelResult]) -> Case:
    """Return a report's measurements beside its readers' labels; disagreement is no reference."""
    references = {
        place: Reference(
            label.state,
            label.severity,
            tuple(span for quote in label.quotes for span in locate_quote(report.text, quote)),
        )
        for place, label in report.labels.items()
        if label.state is not None
    }
    return Case(report.name, report.patient, tuple(map(measured, results)), references)


def _studies_of(session: Session, uids: Iterable[str]) -> Iterable[Study]:
    for batch in chunks(sorted(uids)):
        yield from session.exec(select(Study).where(col(Study.study_instance_uid).in_(batch)))


def _reports(session: Session, subjects: Iterable[str]) -> Iterable[tuple[Report, str, str, str]]:
    """Yield report, accession number and patient: those of the linked study, else its own."""
    wanted = set(subjects)
    linked = session.exec(
        select(Report, Study)
        .join(Link, col(Link.report_id) == col(Report.id))
        .join(Study, col(Study.study_instance_uid) == col(Link.study_instance_uid))
        .where(Link.state == CONFIRMED, *_HOLDS)
        .order_by(col(Report.id), col(Link.id))
    ).all()
    seen: set[int | None] = set()
    for report, study in linked:
        if study.accession_number in wanted and report.id not in seen:
            seen.add(report.id)
            yield report, study.accession_number, study.issuer_of_patient_id, study.patient_id
    for batch in chunks(sorted(wanted)):
        own = select(Report).where(col(Report.accession_number).in_(batch), *_HOLDS)
        for report in session.exec(own.order_by(col(Report.id))):
            if report.id not in seen:
                seen.add(report.id)
                yield (
                    report,
                    report.accession_number,
                    report.issuer_of_patient_id,
                    report.patient_id,
                )


_HOLDS: tuple[Any, ...] = (
    col(Report.is_current),
    col(Report.result_status).not_in(WITHOUT_RESULT),
    Report.text != "",
)


def _chunks(reports: Sequence[ReferenceReport]) -> Iterable[Sequence[ReferenceReport]]:
    for start in range(0, len(reports), _JOB):
        yield reports[start : start + _JOB]

"""What a student can learn from in a node: a labeler's labels, and readers' where they spoke.

Reads the last commit and changes nothing. Left out are patients of the test fold (those with
image-level reference labels), provisional labels, and versions of a report that are not current.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.linking.decision import CONFIRMED
from dicom_node.models import Link, Report, Study
from labeling.evaluation.cases import locate_quote
from labeling.models import Label, LabelingRun
from labeling.reference import ReaderLabel
from labeling.report_file import labels_of
from labeling.runs import result_of_label
from labeling.standing import newest_run
from labeling.vocabulary import LabelSchema
from plugin.errors import Permanent
from plugin.stages.labelled import node_reports, tested_patients
from training.folds import Identity
from training.patients import NameOfIssuer, Patients, read_patients


@dataclass(frozen=True)
class Lesson:
    """One report to learn from, as values of JSON for the pipe to a child.

    Args:
        row: id, patient, text and the teacher's labels (``labeling.student.examples``).
        said: of the readers: observation, site, state (None: they disagree), ranges of the text.
    """

    row: Mapping[str, Any]
    said: tuple[tuple[str, str, str | None, list[tuple[int, int]]], ...] = ()

    def as_row(self) -> dict[str, Any]:
        """Return the lesson as values of JSON."""
        return {"row": self.row, "said": self.said}


@dataclass(frozen=True)
class Lessons:
    """The reports of a node to learn from, and who labelled them.

    Args:
        teacher: labeler, model, digests of the configuration, and whether it was calibrated.
        lessons: one a report.
        held_out: reports that readers labelled and the student does not learn from.
        reference_labels: rows of the readers' labels that are learned from.
    """

    teacher: Mapping[str, Any]
    lessons: tuple[Lesson, ...]
    held_out: int
    reference_labels: tuple[int, ...]


@dataclass(frozen=True)
class Asked:
    """Whose labels are taken, and of which reports.

    Args:
        labeler: the teacher, as the settings name it.
        most: reports at most; those that readers labelled come first, the others are drawn.
        seed: of the draw.
        hold_out_references: leave out the reports that readers labelled, with all others of those
            patients, so that the student can be judged by them; they do not count for ``most``.
    """

    labeler: str
    most: int = 20_000
    seed: int = 1
    hold_out_references: bool = False


def lessons_of(
    session: Session, asked: Asked, schema: LabelSchema, name_of: NameOfIssuer = str
) -> Lessons:
    """Return what the newest run of a labeler says of the node's reports, and what readers say.

    Args:
        session: any session.
        asked: whose labels, of which reports.
        schema: of the labels.
        name_of: the one name of an issuer: the test fold is one of patients, whatever their names.

    Raises:
        Permanent: the labeler has labelled no report under this schema that may be learned from.
    """
    run = newest_run(session, asked.labeler, schema.digest)
    read = node_reports(session, name_of)
    judged = {each.row: each.labels for each in read}
    patients = read_patients(session, name_of)
    tested = tested_patients(session, patients)
    judging = {each.patient for each in read} if asked.hold_out_references else set[str]()
    lessons: list[Lesson] = []
    held_out, learned = set[int](), set[int]()
    for report, identity, labels in _labelled(session, run, asked, judged.keys(), patients):
        said = judged.get(report.id or 0, {})
        if identity in tested:
            continue
        if "|".join(identity) in judging:
            held_out |= {report.id or 0} if said else set()
            continue
        learned |= {row for each in said.values() for row in each.ids}
        lessons.append(_lesson(report, identity, labels, said))
    if run is None or not lessons:
        raise Permanent(
            f"labeler {asked.labeler!r} has labelled no report under schema {schema.name!r} that "
            f"may be learned from: radloop label --labeler {asked.labeler} first"
        )
    return Lessons(_teacher(run), tuple(lessons), len(held_out), tuple(sorted(learned)))


def _teacher(run: LabelingRun) -> dict[str, Any]:
    return {
        "labeler": run.labeler,
        "model": run.model_name,
        "model_digest": run.model_digest,
        "question_digest": run.question_digest,
        "schema_digest": run.schema_digest,
        "calibration_digest": run.calibration_digest,
        "calibrated": bool(run.calibration_digest),
    }


def _labelled(
    session: Session,
    run: LabelingRun | None,
    asked: Asked,
    first: Collection[int],
    patients: Patients,
) -> Iterator[tuple[Report, Identity, list[Label]]]:
    """Yield the current reports that a run has labelled, with their patients and labels."""
    if run is None:
        return
    for some in chunks(_drawn(session, run, asked, first), 200):
        query = select(Label).where(Label.run_id == run.id, col(Label.report_id).in_(some))
        labels = session.exec(query.order_by(col(Label.report_id), col(Label.id)))
        reports = _reports(session, some)
        for row, each in groupby(labels, lambda label: label.report_id):
            report, study = reports[row]
            whose = study or report
            yield report, patients.of(whose.issuer_of_patient_id, whose.patient_id), list(each)


def _drawn(
    session: Session, run: LabelingRun, asked: Asked, first: Collection[int]
) -> Sequence[int]:
    """Return rows of reports: ``first``, then others in an order that a seed decides."""
    query = (
        select(Label.report_id)
        .join(Report, col(Report.id) == col(Label.report_id))
        .where(Label.run_id == run.id, col(Label.provisional).is_(False), col(Report.is_current))
        .distinct()
    )

    def order(row: int) -> tuple[bool, bytes]:
        return row not in first, hashlib.sha256(f"{asked.seed}/{row}".encode()).digest()

    most = asked.most + (len(first) if asked.hold_out_references else 0)
    return sorted(sorted(session.exec(query), key=order)[:most])


def _reports(session: Session, rows: Iterable[int]) -> dict[int, tuple[Report, Study | None]]:
    """Return reports by row, with the study that each is confirmed to speak of."""
    found: dict[int, tuple[Report, Study | None]] = {}
    query = (
        select(Report, Study)
        .outerjoin(Link, (col(Link.report_id) == col(Report.id)) & (col(Link.state) == CONFIRMED))
        .outerjoin(Study, col(Study.study_instance_uid) == col(Link.study_instance_uid))
        .where(col(Report.id).in_(list(rows)))
        .order_by(col(Link.id))
    )
    for report, study in session.exec(query):
        found.setdefault(report.id or 0, (report, study))
    return found


def _lesson(
    report: Report,
    patient: Identity,
    labels: Iterable[Label],
    said: Mapping[tuple[str, str], ReaderLabel],
) -> Lesson:
    row = labels_of(str(report.id), map(result_of_label, labels))
    return Lesson(
        {**row, "patient": "|".join(patient), "text": report.text},
        tuple(
            (observation, site, None if each.state is None else str(each.state),
             [span for quote in each.quotes for span in locate_quote(report.text, quote)])
            for (observation, site), each in said.items()
        ),
    )  # fmt: skip

"""What an export is made from: the stored cohort, as names that only the node can read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.storage import DicomStore
from labeling.models import Label
from plugin.context import Context
from training.cohort import manifest, members_of
from training.exports.members import ExportedLabel, ExportMember, LeftOut
from training.exports.options import ExportOptions
from training.exports.pseudonyms import Pseudonyms, export_key
from training.membership import Ground, standing_of
from training.models import Cohort, CohortMember
from training.optouts import opted_out_studies
from training.selection import SeriesRule
from training.series import analysed_digests
from training.standing import Fault

_READERS = {1.0: "present", 0.0: "absent"}


@dataclass(frozen=True)
class Order:
    """One export: the job of the child process, and what the node keeps of it.

    ``held`` are the pairs of pseudonyms, patient and study, that the export mentions; ``faults``
    tells by study why it does not stand, as it was when the order was made.
    """

    cohort_id: int
    cohort_digest: str
    choices: dict[str, Any]
    job: dict[str, Any]
    held: list[list[str]]
    faults: dict[str, Fault | None]


def order_of(
    context: Context,
    session: Session,
    ground: Ground,
    cohort: Cohort,
    options: ExportOptions,
    software: str,
) -> Order:
    """Return what is to be exported of a cohort; members that do not stand are left out.

    Raises:
        training.errors.Permanent: the rows of the cohort no longer match its digest.
    """
    record = manifest(session, cohort)
    key = export_key(ground.salt, cohort.digest)
    names = Pseudonyms(key)
    faults = _faults(session, ground, cohort)
    rows = members_of(session, cohort)
    everywhere = opted_out_studies(session, ground.salt, ground.name_of)
    opted_out = everywhere & {row.study_instance_uid for row in rows}
    standing = [
        row for row in rows if not row.exclusion_reason and row.study_instance_uid not in opted_out
    ]
    good = [row for row in standing if faults[row.study_instance_uid] is None]
    labels = _labels(session, cohort.labeling_run_id, good)
    members = [
        _member(context, session, cohort, names, row, labels, record["report_sha256"])
        for row in good
    ]
    left_out = [
        *(
            _left_out(names, row, row.exclusion_reason, "cohort")
            for row in rows
            if row.exclusion_reason and row.study_instance_uid not in opted_out
        ),
        *(
            _left_out(names, row, str(fault), "standing")
            for row in standing
            if (fault := faults[row.study_instance_uid]) is not None
        ),
    ]
    job = {
        "cohort": {
            "name": cohort.name,
            "digest": cohort.digest,
            "frozen_at": cohort.frozen_at.isoformat(),
            "schema": record["schema"],
            "labeling_run": {
                name: value for name, value in record["labeling_run"].items() if name != "id"
            },
            "query": record["query"],
        },
        "key": key.hex(),
        "software": software,
        "choices": options.to_record(),
        "members": [each.to_job() for each in members],
        "left_out": [asdict(each) for each in left_out],
        "opted_out": len(opted_out),
        "memory_bytes": context.settings.dicom.parser_memory_bytes,
        "largest_object": context.settings.dicom.maximum_object_bytes,
        "deadline_seconds": context.settings.dicom.parser_deadline_seconds,
    }
    held = {(each.patient, each.study) for each in members}
    held |= {(each.patient, each.study) for each in left_out}
    return Order(
        cohort.id or 0,
        cohort.digest,
        options.to_record(),
        job,
        [list(pair) for pair in sorted(held)],
        faults,
    )


def still_holds(session: Session, ground: Ground, order: Order) -> bool:
    """Tell whether cohort and members are what they were when the order was made."""
    cohort = session.get_one(Cohort, order.cohort_id)
    if cohort.digest != order.cohort_digest:
        return False
    return _faults(session, ground, cohort) == order.faults


def _faults(session: Session, ground: Ground, cohort: Cohort) -> dict[str, Fault | None]:
    found = standing_of(session, ground, cohort)
    # Who stands in one fold under another identity may go out.
    return {
        each.member.study_instance_uid: None if each.fault is Fault.MOVED else each.fault
        for each in found
    }


def _left_out(names: Pseudonyms, row: CohortMember, reason: str, stage: str) -> LeftOut:
    patient = names.patient(row.patient_key) if row.patient_key else ""
    return LeftOut(patient, names.study(row.study_instance_uid), reason, stage)


def _member(
    context: Context,
    session: Session,
    cohort: Cohort,
    names: Pseudonyms,
    row: CohortMember,
    labels: dict[int, list[ExportedLabel]],
    report_digests: dict[str, str],
) -> ExportMember:
    test = row.fold == "test"
    said = _by_readers(row) if test else labels.get(row.report_id or 0, [])
    report = report_digests.get(str(row.report_id), "")
    return ExportMember(
        patient=names.patient(row.patient_key),
        study=names.study(row.study_instance_uid),
        fold=row.fold,
        targets=row.targets,
        label_source="readers" if test else "labeler",
        labels=tuple(said),
        report_digest=names.digest(report) if report else "",
        labels_digest=names.digest(_digest(said)) if said else "",
        files=_files(context, session, cohort, names, row),
    )


def _by_readers(row: CohortMember) -> list[ExportedLabel]:
    """Return what the readers said, as far as the frozen targets tell it."""
    return [
        ExportedLabel(observation, site, _READERS[target], None)
        for observation, sites in row.targets.items()
        for site, target in sites.items()
        if target is not None
    ]


def _labels(
    session: Session, run_id: int, rows: Iterable[CohortMember]
) -> dict[int, list[ExportedLabel]]:
    reports = {row.report_id for row in rows if row.report_id is not None}
    found: dict[int, list[ExportedLabel]] = {}
    for chunk in chunks(sorted(reports)):
        query = select(Label).where(Label.run_id == run_id, col(Label.report_id).in_(chunk))
        for row in session.exec(query.order_by(col(Label.observation), col(Label.site))):
            said = ExportedLabel(row.observation, row.site, row.state, row.probability)
            found.setdefault(row.report_id, []).append(said)
    return found


def _digest(labels: Iterable[ExportedLabel]) -> str:
    text = json.dumps([asdict(each) for each in labels], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _files(
    context: Context, session: Session, cohort: Cohort, names: Pseudonyms, row: CohortMember
) -> tuple[tuple[str, str], ...]:
    query = cohort.query
    rule = SeriesRule.of_record(query)
    store = DicomStore(context.folder.root)
    digests = analysed_digests(session, row.study_instance_uid, rule)
    return tuple(
        sorted(
            ((str(store.path(each)), names.image(each)) for each in digests),
            key=lambda pair: pair[1],
        )
    )

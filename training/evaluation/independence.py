"""Whether a model knows a test set: its patients, under whatever identity, and its side of a split.

A patient key is frozen with a cohort, and two identities may turn out to be one patient since. So
both sides are asked as identities stand today. A model also knows what the model knew with whose
weights its training began, as far as the registry holds that one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.models import Study
from training.evaluation.attributes import sites_of
from training.evaluation.splits import UNKNOWN, Split
from training.evaluation.test_set import Known
from training.membership import Ground
from training.models import CohortMember, Model, TrainingRun
from training.patients import read_patients

Row = tuple[str, str]
"""A study and the patient key that was frozen with it."""


def cohorts_behind(session: Session, model: Model) -> set[int]:
    """Return the cohorts that a model, and those whose weights it began with, learned from."""
    found: set[int] = set()
    seen: set[int | None] = set()
    waiting = [model]
    while waiting:
        own = waiting.pop()
        if own.id in seen:
            continue
        seen.add(own.id)
        run = session.get_one(TrainingRun, own.training_run_id)
        found.add(run.cohort_id)
        began_with = (run.metrics.get("architecture") or {}).get("weights_digest")
        if began_with:
            waiting += session.exec(select(Model).where(Model.weights_digest == began_with))
    return found


def patients_that_trained(
    session: Session, ground: Ground, cohorts: Collection[int], items: Iterable[Known]
) -> int:
    """Return how many patients of a test set trained or validated in cohorts.

    Args:
        session: any session.
        ground: how patients are told apart.
        cohorts: ids.
        items: the test set.
    """
    tested = [(each.study_instance_uid, each.patient_key) for each in items]
    learned = _learned(session, cohorts)
    keys = _keys(session, ground, {uid for uid, _ in (*tested, *learned)})
    known = {key for row in learned for key in _of(row, keys)}
    studies = {uid for uid, _ in learned}
    met = [row for row in tested if row[0] in studies or not known.isdisjoint(_of(row, keys))]
    return len({min(_of(row, keys)) for row in met})


def studies_beyond(
    session: Session, split: Mapping[str, str], cohorts: Collection[int]
) -> tuple[int, int]:
    """Return how many studies of training lie on a split's test side, and how many on none.

    Args:
        session: any session.
        split: as a cohort's query holds it; empty: none, and nothing lies beyond.
        cohorts: ids.
    """
    if not split:
        return 0, 0
    ((kind, value),) = split.items()
    asked = Split(kind, value)  # type: ignore[arg-type]  # the query was checked when it was frozen
    uids = sorted({uid for uid, _ in _learned(session, cohorts)})
    sites = sites_of(session, uids)
    dates = {
        uid: date
        for chunk in chunks(uids)
        for uid, date in session.exec(
            select(Study.study_instance_uid, Study.study_date).where(
                col(Study.study_instance_uid).in_(chunk)
            )
        )
    }
    sides = [asked.side(dates.get(uid, ""), sites.get(uid, UNKNOWN)) for uid in uids]
    return sides.count("test"), sides.count(None)


def _learned(session: Session, cohorts: Collection[int]) -> list[Row]:
    """Return the studies of training and validation folds."""
    return list(
        session.exec(
            select(CohortMember.study_instance_uid, CohortMember.patient_key).where(
                col(CohortMember.cohort_id).in_(sorted(cohorts)),
                CohortMember.exclusion_reason == "",
                col(CohortMember.fold).in_(("train", "validation")),
            )
        )
    )


def _keys(session: Session, ground: Ground, studies: Collection[str]) -> dict[str, set[str]]:
    """Return the keys of every identity of each study's patient, as identities are today."""
    columns = select(Study.study_instance_uid, Study.issuer_of_patient_id, Study.patient_id)
    rows = [
        row
        for chunk in chunks(sorted(studies))
        for row in session.exec(columns.where(col(Study.study_instance_uid).in_(chunk)))
    ]
    patients = read_patients(session, ground.name_of, {value for _, _, value in rows if value})
    return {uid: patients.keys(issuer, value, ground.salt) for uid, issuer, value in rows}


def _of(row: Row, keys: Mapping[str, set[str]]) -> set[str]:
    uid, frozen = row
    return {frozen, *keys.get(uid, ())}

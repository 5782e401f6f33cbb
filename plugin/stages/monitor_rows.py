"""What the monitor watches, asked of the tables: predictions, and the labels of later reports."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import select as plain_select
from sqlmodel import Session, col, or_, select

from dicom_node.database import chunks
from dicom_node.models import Report, Study, Transmission
from dicom_node.reports.status import FINAL_STATUSES
from dicom_node.studies import frozen_studies
from labeling.models import Label, LabelingRun
from labeling.schema_file import schema_of
from labeling.standing import newest_run
from labeling.vocabulary import State
from plugin.settings import Settings
from training.domain.domain import OUTSIDE, UNLIKE
from training.evaluation.attributes import houses_of
from training.membership import Ground
from training.models import Cohort, CohortMember, Model, Prediction, TrainingRun
from training.monitoring.cases import NOT_STATED, Watched, shown_name
from training.monitoring.origins import scanners_of
from training.patients import last_change_of_identity, read_patients
from training.selection import final_reports, linked_reports, suspended_studies
from training.targets import Targets, targets_of


class Left(StrEnum):
    """Why a predicted study is not compared, or not watched at all."""

    TAUGHT = "its patient taught the model"  # not watched at all
    NO_REPORT = "no confirmed final report yet"
    SEVERAL = "several final reports"
    IMPORTED = "its report was imported"
    EARLIER = "a final report was there before the prediction"
    UNREAD = "its report has no labels yet"
    SCHEMA = "the settings have another label schema than the model"
    HELD = "the study is frozen, or a link of it is suspended"
    MOVED = "the study's patient was given another identity since"


@dataclass(frozen=True)
class Gathered:
    """The rows to watch, whose labels they hold, and how many studies were left out and why."""

    rows: list[Watched]
    labeler: str
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class _Truth:
    """What a study's report said, and when."""

    targets: Targets
    at: dt.datetime
    first: dt.datetime  # when the first final version came


@dataclass
class _Known:
    """What the tables say of the predicted studies."""

    studies: Mapping[str, Study]
    scanners: Mapping[str, str]
    houses: Mapping[str, str]
    delivered: Mapping[str, dt.datetime]
    truths: dict[str, _Truth] = field(default_factory=dict)
    why: dict[str, Left] = field(default_factory=dict)
    moved: dict[str, dt.datetime] = field(default_factory=dict)


def gather(session: Session, settings: Settings, ground: Ground, model: Model) -> Gathered:
    """Collect every prediction of a model, each with the label of the report that came later.

    A study counts once, as the model saw it last before the report came. Patients that the model
    learned from are left out.

    Args:
        session: any session.
        settings: of the node.
        ground: how patients are told apart.
        model: a registered model; only observations with an operating point are watched.
    """
    run = session.get_one(TrainingRun, model.training_run_id)
    cohort = session.get_one(Cohort, run.cohort_id)
    labeler = settings.monitor.labeler
    labeler = labeler or session.get_one(LabelingRun, cohort.labeling_run_id).labeler
    predictions = _predictions(session, model)
    left: Counter[str] = Counter()
    known = _known(session, predictions)
    keys = _keys(session, ground, known.studies)
    taught = _taught(session, run.cohort_id)
    _read_reports(session, settings, model, labeler, known)
    _hold(session, ground, known)
    rows: list[Watched] = []
    for uid, states in predictions.items():
        if keys[uid] & taught:
            left[Left.TAUGHT] += 1
            continue
        chosen, truth, why = _choose(states, known.truths.get(uid), known.why.get(uid))
        moved = known.moved.get(uid)
        if truth is not None and moved is not None and moved > chosen[0].predicted_at:
            truth, why = None, Left.MOVED
        if why is not None:
            left[why] += 1
        rows += [_watched(each, min(keys[uid], default=uid), known, truth) for each in chosen]
    return Gathered(rows, labeler, {each.value: left[each] for each in Left if left[each]})


def _predictions(session: Session, model: Model) -> dict[str, list[list[Prediction]]]:
    """Return by study the states of it that the model saw, the latest first."""
    wanted = sorted(model.operating_points)
    query = (
        select(Prediction)
        .where(Prediction.model_id == model.id, col(Prediction.observation).in_(wanted))
        .order_by(col(Prediction.id))
    )
    found: dict[str, dict[str, list[Prediction]]] = {}
    for row in session.exec(query):
        found.setdefault(row.study_instance_uid, {}).setdefault(row.study_digest, []).append(row)
    return {
        uid: sorted(states.values(), key=lambda rows: rows[0].predicted_at, reverse=True)
        for uid, states in found.items()
    }


def _choose(
    states: Sequence[list[Prediction]], truth: _Truth | None, why: Left | None
) -> tuple[list[Prediction], _Truth | None, Left | None]:
    """Return the latest state, with the truth where it came before the report."""
    if truth is None:
        return states[0], None, why or Left.NO_REPORT
    before = [rows for rows in states if rows[0].predicted_at < truth.first]
    if not before:
        return states[0], None, Left.EARLIER
    return before[0], truth, None


def _watched(row: Prediction, key: str, known: _Known, truth: _Truth | None) -> Watched:
    uid = row.study_instance_uid
    delivered = known.delivered.get(uid)
    label = None if truth is None else truth.targets.get(row.observation, {}).get(row.site)
    return Watched(
        study=uid,
        patient=key,
        observation=row.observation,
        site=row.site,
        probability=row.probability,
        threshold=row.threshold,
        stage=row.stage,
        scanner=shown_name(row.scanner or known.scanners.get(uid, "")) or NOT_STATED,
        house=shown_name(row.house or known.houses[uid]) or NOT_STATED,
        predicted_at=row.predicted_at,
        label=label,
        report_at=truth.at if truth else None,
        ours_before=bool(truth and delivered and delivered < truth.at),
        abstained=row.probability is None and row.reason.startswith((OUTSIDE, UNLIKE)),
    )


def _known(session: Session, predictions: Collection[str]) -> _Known:
    studies: dict[str, Study] = {}
    delivered: dict[str, dt.datetime] = {}
    for part in chunks(sorted(predictions)):
        for study in session.exec(select(Study).where(col(Study.study_instance_uid).in_(part))):
            studies[study.study_instance_uid] = study
        for uid, moment, created in session.execute(
            plain_select(
                col(Transmission.study_instance_uid),
                col(Transmission.delivered_at),
                col(Transmission.created_at),
            ).where(
                col(Transmission.study_instance_uid).in_(part),
                or_(col(Transmission.delivered_at).is_not(None), col(Transmission.attempts) > 0),
            )
        ):
            # What was tried may have arrived, though nobody said so: perhaps is before.
            at = moment or created
            delivered[uid] = min(at, delivered.get(uid, at))
    return _Known(studies, scanners_of(session, studies), houses_of(session, studies), delivered)


def _keys(session: Session, ground: Ground, studies: Mapping[str, Study]) -> dict[str, set[str]]:
    """Return the keys of every identity of each study's patient."""
    patients = read_patients(session, ground.name_of)
    return {
        uid: patients.keys(each.issuer_of_patient_id, each.patient_id, ground.salt)
        for uid, each in studies.items()
    }


def _taught(session: Session, cohort_id: int) -> set[str]:
    """Return the patients from whom a model learned, or by whom its thresholds were chosen."""
    rows = session.exec(
        select(CohortMember.patient_key).where(
            CohortMember.cohort_id == cohort_id, col(CohortMember.fold).in_(("train", "validation"))
        )
    )
    return set(rows) - {""}


def _read_reports(
    session: Session, settings: Settings, model: Model, labeler: str, known: _Known
) -> None:
    """Fill in what the labeler read in the one final report of each study, or why not."""
    schema = schema_of(settings.labeling)
    run = newest_run(session, labeler, model.schema_digest)
    links = linked_reports(session)
    reports: dict[str, int] = {}
    for uid in known.studies:
        finals = final_reports(links.get(uid, ()))
        if len(finals) == 1:
            reports[uid] = finals[0].report_id
        else:
            known.why[uid] = Left.SEVERAL if finals else Left.NO_REPORT
    if schema.digest != model.schema_digest:
        known.why.update(dict.fromkeys(reports, Left.SCHEMA))
        return
    versions = _versions(session, reports.values())
    states = _states(session, run, reports.values()) if run is not None else {}
    first = _first_finals(session, {each.report_identity for each in versions.values()})
    for uid, report_id in reports.items():
        version = versions[report_id]
        if version.history:
            known.why[uid] = Left.IMPORTED
        elif report_id not in states:
            known.why[uid] = Left.UNREAD
        else:
            # A doubtful word of a report is no label to be held against.
            targets = targets_of(states[report_id], schema, "mask", own_policies=False)
            at = version.received_at
            known.truths[uid] = _Truth(targets, at, first.get(version.report_identity, at))


def _hold(session: Session, ground: Ground, known: _Known) -> None:
    """Take away what may be of the wrong patient or the wrong images, as reports are held back."""
    held = frozen_studies(session).keys() | suspended_studies(session, set(known.studies))
    for uid in held & known.studies.keys():
        known.truths.pop(uid, None)
        known.why[uid] = Left.HELD
    changed: dict[tuple[str, str], dt.datetime | None] = {}
    for uid in known.truths:
        study = known.studies[uid]
        whom = (study.issuer_of_patient_id, study.patient_id)
        if whom not in changed:
            changed[whom] = last_change_of_identity(session, ground.name_of, whom)
        moment = changed[whom]
        if moment is not None:
            known.moved[uid] = moment


def _versions(session: Session, ids: Collection[int]) -> dict[int, Report]:
    return {
        row.id or 0: row
        for part in chunks(sorted(ids))
        for row in session.exec(select(Report).where(col(Report.id).in_(part)))
    }


def _first_finals(session: Session, chains: Collection[str]) -> dict[str, dt.datetime]:
    found: dict[str, dt.datetime] = {}
    for part in chunks(sorted(chains)):
        rows = session.exec(
            select(Report.report_identity, Report.received_at).where(
                col(Report.report_identity).in_(part),
                col(Report.result_status).in_(sorted(FINAL_STATUSES)),
            )
        )
        for name, moment in rows:
            found[name] = min(moment, found.get(name, moment))
    return found


def _states(
    session: Session, run: LabelingRun, ids: Collection[int]
) -> dict[int, dict[tuple[str, str], State | None]]:
    found: dict[int, dict[tuple[str, str], State | None]] = {}
    for part in chunks(sorted(ids)):
        rows = session.exec(
            select(Label.report_id, Label.observation, Label.site, Label.state).where(
                Label.run_id == run.id, col(Label.report_id).in_(part)
            )
        )
        for report_id, observation, site, state in rows:
            found.setdefault(report_id, {})[observation, site] = State(state)
    return found

"""What a cohort asks for, and what is known about each study: the ground of every decision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node.linking.decision import CONFIRMED
from dicom_node.models import Link, Study
from dicom_node.studies import frozen_studies
from labeling.models import Label
from labeling.reference import reference_states
from labeling.reference_samples import drawn_subjects
from labeling.vocabulary import LabelSchema, State
from training.folds import Fold, assign_fold
from training.patients import NameOfIssuer, read_patients
from training.selection import (
    LinkedReport,
    SeriesRule,
    final_reports,
    images,
    linked_reports,
)
from training.settings import TrainingSettings
from training.targets import Place, UncertainPolicy

States = dict[Place, State | None]

UNSAMPLED = "unsampled"
"""The shortcoming of a test fold whose labels were not sampled, blinded and adjudicated."""


@dataclass(frozen=True)
class CohortQuery:
    """What a cohort is made of.

    Args:
        name: what people call it.
        schema: the observations and sites that become targets.
        run_id: the labeling run whose labels train and validate.
        modality, body_parts, series_description: the image series that a study must hold.
        uncertain_policy: what an uncertain label becomes; None: as the settings say.
        include_reference_only_tests: whether a test member may lack a final report.
        lock_reference_patients: whether the test fold is exactly the patients with image-level
            reference labels; otherwise the patient's key alone decides the fold.
        accepted: shortcomings of the labels that a person accepted ("uncalibrated",
            "unqualified", ``UNSAMPLED``); they stand in the cohort for good.
        uncalibrated: what has no fitted threshold where others have: observations, and "... at its
            sites"; written into the cohort, too.
        unjudged: in the same way what the verdict let pass without enough readers' labels.
    """

    name: str
    schema: LabelSchema
    run_id: int
    modality: str = "MR"
    body_parts: tuple[str, ...] = ()
    series_description: str = ""
    uncertain_policy: UncertainPolicy | None = None
    include_reference_only_tests: bool = True
    lock_reference_patients: bool = True
    accepted: tuple[str, ...] = ()
    uncalibrated: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """Everything the decision about one study rests on."""

    key: str  # patient key; empty where the patient is unknown
    fold: Fold | None
    images_digest: str
    frozen: bool  # dicom_node.studies.is_frozen
    complete: bool
    links: tuple[LinkedReport, ...]
    labels: States | None  # of the one final report; None: the run did not read it
    reference: States | None  # of readers; those that deserve to test, or were accepted
    other_reference: bool = False  # readers labelled its images, and none of that may test

    @property
    def report(self) -> LinkedReport | None:
        """The confirmed final report, where there is exactly one."""
        found = final_reports(self.links)
        return found[0] if len(found) == 1 else None


def gather(
    session: Session,
    query: CohortQuery,
    settings: TrainingSettings,
    salt: bytes,
    complete: Collection[str] | None,
    name_of: NameOfIssuer = str,
) -> dict[str, Evidence]:
    """Collect the evidence on every study, in order of Study Instance UID.

    Args:
        session: any session.
        query: what the cohort is made of.
        settings: shares of the folds.
        salt: of the patient keys.
        complete: studies that are complete; None: do not ask.
        name_of: the one name of an issuer.
    """
    keys = _patient_keys(session, salt, name_of)
    read = _references(session, query.schema)
    accepted = UNSAMPLED in query.accepted
    references = read if accepted else _references(session, query.schema, deserving=True)
    locked = None
    if query.lock_reference_patients:
        # Whoever was drawn for the test fold trains nothing, read or not.
        held_out = read.keys() | drawn_subjects(
            session, "image", {each.id for each in query.schema.observations}
        )
        locked = {keys[uid] for uid in held_out if keys.get(uid)}
    rule = SeriesRule(query.modality, query.body_parts, query.series_description)
    fitting, frozen = images(session, rule), frozen_studies(session)
    links, labels = linked_reports(session), _labels(session, query.run_id)
    shares = (settings.validation_share, settings.test_share)
    done = None if complete is None else frozenset(complete)
    gathered = {}
    for uid, key in keys.items():
        finals = final_reports(links.get(uid, ()))
        gathered[uid] = Evidence(
            key=key,
            fold=assign_fold(key, *shares, locked) if key else None,
            images_digest=fitting.get(uid, ""),
            frozen=uid in frozen,
            complete=done is None or uid in done,
            links=tuple(links.get(uid, ())),
            labels=labels.get(finals[0].report_id) if len(finals) == 1 else None,
            reference=references.get(uid),
            other_reference=uid in read and uid not in references,
        )
    return gathered


def _references(
    session: Session, schema: LabelSchema, *, deserving: bool = False
) -> dict[str, States]:
    """Return the readers' image-level states by study, for the observations of the schema.

    ``deserving``: only those that were sampled, blinded and adjudicated.
    """
    known = {each.id for each in schema.observations}
    found = {
        uid: {place: state for place, state in states.items() if place[0] in known}
        for uid, states in reference_states(session, "image", deserving=deserving).items()
    }
    return {uid: states for uid, states in found.items() if states}


def _patient_keys(session: Session, salt: bytes, name_of: NameOfIssuer) -> dict[str, str]:
    """Return each study's patient key, of the identity that survived all joins.

    Without Patient ID or its issuer nobody can say which patient it is; the key is then empty.
    """
    patients = read_patients(session, name_of)
    rows = session.exec(
        select(Study.study_instance_uid, Study.issuer_of_patient_id, Study.patient_id).order_by(
            col(Study.study_instance_uid)
        )
    )
    return {uid: patients.key(issuer, identifier, salt) for uid, issuer, identifier in rows}


def _labels(session: Session, run_id: int) -> dict[int, States]:
    """Return the run's states by report, for reports with a confirmed link."""
    linked = select(Link.report_id).where(Link.state == CONFIRMED)
    rows = session.exec(
        select(Label.report_id, Label.observation, Label.site, Label.state).where(
            Label.run_id == run_id, col(Label.report_id).in_(linked)
        )
    )
    found: dict[int, States] = {}
    for report_id, observation, site, state in rows:
        found.setdefault(report_id, {})[observation, site] = State(state)
    return found

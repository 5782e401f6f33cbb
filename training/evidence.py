"""What is known about each study: the ground of every decision about a cohort."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select as plain_select
from sqlmodel import Session, col, select

from dicom_node.documents.rejections import expired_studies, held_studies
from dicom_node.linking.decision import CONFIRMED
from dicom_node.models import Link, Study
from dicom_node.studies import frozen_studies
from labeling.models import Label
from labeling.reference import reference_states
from labeling.reference_samples import drawn_subjects
from labeling.vocabulary import LabelSchema, State
from training.evaluation.attributes import sites_of
from training.evaluation.splits import UNKNOWN
from training.folds import Fold, assign_fold
from training.listed import Listed, names
from training.optouts import opted_out_studies
from training.patients import NameOfIssuer, Patients, read_patients
from training.query import CohortQuery
from training.selection import LinkedReport, final_reports, images, linked_reports
from training.series_choices import choices
from training.settings import TrainingSettings
from training.targets import Place
from training.typed_targets import Said

__all__ = ["CohortQuery", "Evidence", "States", "gather"]

States = dict[Place, State | None]

UNSAMPLED = "unsampled"
"""The shortcoming of a test fold whose labels were not sampled, blinded and adjudicated."""

_NOT_JUDGED = "the rule could not look at them, for a file cannot be read"


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
    probabilities: Mapping[Place, float] = field(default_factory=dict)
    said: Mapping[Place, Said] = field(default_factory=dict)  # severity and words of place
    no_images: str = ""  # why a rule for series takes none of them
    refusal: str = ""  # why the query's lists, its dates or the patient leave the study out
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
    patients = read_patients(session, name_of)
    studies = _studies(session)
    keys = {uid: patients.key(each.issuer, each.patient_id, salt) for uid, each in studies.items()}
    by_readers = _references(session, query.schema)
    accepted = UNSAMPLED in query.accepted
    references = by_readers if accepted else _references(session, query.schema, deserving=True)
    locked = None
    if query.lock_reference_patients:
        # Whoever was drawn for the test fold trains nothing, read or not.
        held_out = by_readers.keys() | drawn_subjects(
            session, "image", {each.id for each in query.schema.observations}
        )
        locked = {keys[uid] for uid in held_out if keys.get(uid)}
    fitting, frozen = images(session, query.rule), frozen_studies(session)
    whys = _whys(session, query.image_rule)
    unread = _NOT_JUDGED if query.image_rule else ""
    links, labels = linked_reports(session), _labels(session, query.run_id)
    shares = (settings.validation_share, settings.test_share)
    done = None if complete is None else frozenset(complete)
    refusals = _Refusals(
        query, patients, salt, opted_out_studies(session, salt, name_of, patients=patients)
    )
    rejected = expired_studies(session) | held_studies(session)
    sites = sites_of(session) if query.split else {}
    gathered = {}
    for uid, key in keys.items():
        fold, date = assign_fold(key, *shares, locked) if key else None, studies[uid].date
        outside = query.split.refusal(fold, date, sites.get(uid, UNKNOWN)) if query.split else ""
        finals = final_reports(links.get(uid, ()))
        read = labels.get(finals[0].report_id) if len(finals) == 1 else None
        gathered[uid] = Evidence(
            key=key,
            fold=fold,
            images_digest=fitting.get(uid, ""),
            frozen=uid in frozen,
            complete=done is None or uid in done,
            links=tuple(links.get(uid, ())),
            labels=read.states if read else None,
            reference=references.get(uid),
            probabilities=read.probabilities if read else {},
            said=read.said if read else {},
            no_images="" if uid in fitting else whys.get(uid, unread),
            refusal=refusals.of(uid, key, date) or outside or rejected.get(uid, ""),
            other_reference=uid in by_readers and uid not in references,
        )
    return gathered


@dataclass(frozen=True)
class _Known:
    """A study as the index has it."""

    issuer: str
    patient_id: str
    date: str  # Study Date (0008,0020)


@dataclass
class _Read:
    """What a run says of one report."""

    states: States = field(default_factory=dict)
    probabilities: dict[Place, float] = field(default_factory=dict)
    said: dict[Place, Said] = field(default_factory=dict)


class _Refusals:
    """Why a query does not want a study, whatever is known of its report."""

    def __init__(
        self, query: CohortQuery, patients: Patients, salt: bytes, opted_out: set[str]
    ) -> None:
        self._query, self._salt, self._opted_out = query, salt, opted_out
        self._excluded = [(each, set(each.keys(patients, salt))) for each in query.excluded]
        self._consent = set(query.consent.keys(patients, salt)) if query.consent else set()

    def of(self, uid: str, key: str, date: str) -> str:
        """Return the reason, or an empty text."""
        if uid in self._opted_out:
            return "its patient has opted out of research"
        for listed, keys in self._excluded:
            if self._on(listed, keys, uid, key):
                return f"on the query's list of {listed.kind} to leave out"
        return self._without_consent(uid, key) or self._outside(date)

    def _on(self, listed: Listed, keys: set[str], uid: str, key: str) -> bool:
        return names(listed, keys, uid, key, self._salt)

    def _without_consent(self, uid: str, key: str) -> str:
        consent = self._query.consent
        if consent is None:
            return ""
        named = self._on(consent, self._consent, uid, key)
        if self._query.consent_rule == "opt_in":
            return "" if named else "no consent: not on the list of those who agreed"
        return "no consent: on the list of those who did not agree" if named else ""

    def _outside(self, date: str) -> str:
        first, last = self._query.first_date, self._query.last_date
        if not (first or last):
            return ""
        if not (len(date) == 8 and date.isdigit()):
            return "study date unknown"
        return "" if first <= date and (not last or date <= last) else "study date outside"


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


def _whys(session: Session, rule_digest: str) -> dict[str, str]:
    """Return why a rule for series takes what it takes, or nothing, by study."""
    found = choices(session, rule_digest) if rule_digest else {}
    return {uid: each.why for uid, each in found.items()}


def _studies(session: Session) -> dict[str, _Known]:
    rows = session.exec(
        select(
            Study.study_instance_uid,
            Study.issuer_of_patient_id,
            Study.patient_id,
            Study.study_date,
        ).order_by(col(Study.study_instance_uid))
    )
    return {uid: _Known(issuer, value, date.strip()) for uid, issuer, value, date in rows}


def _labels(session: Session, run_id: int) -> dict[int, _Read]:
    """Return what the run says by report, for reports with a confirmed link."""
    linked = select(Link.report_id).where(Link.state == CONFIRMED)
    columns = (
        *(Label.report_id, Label.observation, Label.site, Label.state, Label.probability),
        *(Label.severity, Label.locations),
    )
    rows = session.execute(
        plain_select(*(col(each) for each in columns)).where(
            col(Label.run_id) == run_id, col(Label.report_id).in_(linked)
        )
    )
    found: dict[int, _Read] = {}
    for report_id, observation, site, state, probability, severity, locations in rows:
        read = found.setdefault(report_id, _Read())
        read.states[observation, site] = State(state)
        if probability is not None:
            read.probabilities[observation, site] = probability
        if severity or locations:
            read.said[observation, site] = Said(severity, tuple(locations))
    return found

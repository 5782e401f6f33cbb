"""Which identities are one patient, for folds and membership: from the events that joined them.

Folds are more careful than links. A link is given up where events contradict each other; a fold
must not split a person in two, so here whoever might be one patient is one: a join stands until an
event undoes it, whatever else was said. Both follow the same events in the order of their own
times.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from sqlmodel import Session, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.database import chunks
from dicom_node.hl7.parsed import PatientAction
from dicom_node.linking.identifiers import Identifier, Issuers
from dicom_node.linking.models import PatientEvent
from dicom_node.models import Study
from training.folds import Identity, patient_key, survivors

Join = tuple[Identity, Identity]
"""The identity that was, and the one that it belongs to since."""

NameOfIssuer = Callable[[str], str]
"""Turns a name of an issuer into the one name that stands for all its names."""

_JOINS = frozenset({PatientAction.MERGE, PatientAction.CHANGE, PatientAction.MOVE})
_ABOUT_TWO = sorted(map(str, (*_JOINS, PatientAction.UNLINK)))


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """What an event said about two identities, whoever said it.

    ``time`` is comparable text: what counts is when it happened, never when it was heard of.
    """

    time: str
    joins: bool  # false: an earlier join of these two is undone
    prior: Identity
    surviving: Identity


def standing_joins(events: Iterable[IdentityEvent]) -> list[Join]:
    """Return the joins that no later event undoes, in the order of the events' times.

    Of events at one time those that undo come first: who might be one patient stays one.
    """
    standing: dict[frozenset[Identity], list[tuple[int, Join]]] = {}
    ordered = sorted(events, key=lambda each: (each.time, each.joins, each.prior, each.surviving))
    for number, each in enumerate(ordered):
        pair = frozenset((each.prior, each.surviving))
        if each.joins:
            standing.setdefault(pair, []).append((number, (each.prior, each.surviving)))
        else:
            standing.pop(pair, None)
    return [join for _, join in sorted(each for joins in standing.values() for each in joins)]


class Patients:
    """The patients that identities belong to.

    Args:
        joins: from :func:`standing_joins`, under the names that ``name_of`` gives.
        name_of: the one name of an issuer; by default each name is an issuer of its own.
    """

    def __init__(self, joins: Iterable[Join], name_of: NameOfIssuer = str) -> None:
        self._went_to = survivors(joins)
        self._joined: dict[Identity, list[Identity]] = {}
        for each, end in self._went_to.items():
            self._joined.setdefault(end, []).append(each)
        self._name_of = name_of

    def of(self, issuer: str, patient_id: str) -> Identity:
        """Return the identity that stands for the patient: the one that survived all joins."""
        identity = self._name_of(issuer), patient_id
        return self._went_to.get(identity, identity)

    def key(self, issuer: str, patient_id: str, salt: bytes) -> str:
        """Return the patient's key; empty where nobody can say which patient it is."""
        return patient_key(*self.of(issuer, patient_id), salt) if issuer and patient_id else ""

    def keys(self, issuer: str, patient_id: str, salt: bytes) -> set[str]:
        """Return the keys of every identity of the patient; none where nobody can say who it is."""
        if not (issuer and patient_id):
            return set()
        end = self.of(issuer, patient_id)
        joined = [end, *self._joined.get(end, ())]
        return {patient_key(name, value, salt) for name, value in joined}

    def named(self, identities: Iterable[Identity]) -> set[Identity]:
        """Return every identity that is one patient with one of these, under its one name."""
        ends = {self.of(*identity) for identity in identities}
        return ends | {each for each, end in self._went_to.items() if end in ends}


def read_patients(
    session: Session,
    name_of: NameOfIssuer = str,
    patient_ids: Collection[str] | None = None,
) -> Patients:
    """Read the events that join identities.

    Args:
        session: any session.
        name_of: the one name of an issuer.
        patient_ids: read only what concerns these identifiers and whoever was ever joined with
            them; None: everything.
    """
    if patient_ids is not None:
        patient_ids = _ever_joined(session, patient_ids)
    return Patients(standing_joins(_events(session, name_of, patient_ids)), name_of)


def studies_of_patients(
    session: Session, name_of: NameOfIssuer, identities: Iterable[Identity]
) -> set[str]:
    """Return every study of the patients behind these identities."""
    wanted = set(identities)
    values = _ever_joined(session, {value for _, value in wanted if value})
    patients = Patients(standing_joins(_events(session, name_of, values)), name_of)
    named = patients.named(wanted)
    found: set[str] = set()
    for chunk in chunks(sorted(values)):
        rows = session.exec(
            select(Study.study_instance_uid, Study.issuer_of_patient_id, Study.patient_id).where(
                col(Study.patient_id).in_(chunk)
            )
        )
        found |= {uid for uid, issuer, value in rows if (name_of(issuer), value) in named}
    return found


def last_change_of_identity(
    session: Session, name_of: NameOfIssuer, identity: Identity
) -> dt.datetime | None:
    """Return when the newest event that joined or parted this patient's identities was recorded.

    None where there is none, or nobody can say which patient it is.
    """
    if not all(identity):
        return None
    values = _ever_joined(session, {identity[1]})
    patients = Patients(standing_joins(_events(session, name_of, values)), name_of)
    named = patients.named({identity})
    rows = [
        row
        for part in chunks(sorted(values))
        for row in session.exec(_about_two(part))
        if not named.isdisjoint(
            {
                (name_of(row.issuer), row.patient_id),
                (name_of(row.prior_issuer), row.prior_patient_id),
            }
        )
    ]
    return max((row.recorded_at for row in rows), default=None)


def _about_two(patient_ids: Collection[str] | None) -> SelectOfScalar[PatientEvent]:
    """Return the query for events that hold and name two identities."""
    query = select(PatientEvent).where(
        col(PatientEvent.holds), col(PatientEvent.action).in_(_ABOUT_TWO)
    )
    if patient_ids is None:
        return query
    return query.where(
        or_(
            col(PatientEvent.patient_id).in_(patient_ids),
            col(PatientEvent.prior_patient_id).in_(patient_ids),
        )
    )


def _ever_joined(session: Session, values: Iterable[str]) -> set[str]:
    """Return the patient ids that any event ever named together with these, these included."""
    found: set[str] = set()
    waiting = set(values)
    while waiting:
        found |= waiting
        reached: set[str] = set()
        for part in chunks(sorted(waiting)):
            for one, other in (_PAIR, _PAIR[::-1]):
                reached.update(session.exec(select(other).where(col(one).in_(part))))
        waiting = reached - found - {""}
    return found


_PAIR = (PatientEvent.prior_patient_id, PatientEvent.patient_id)


def _events(
    session: Session, name_of: NameOfIssuer, patient_ids: Collection[str] | None
) -> Iterator[IdentityEvent]:
    parts = [None] if patient_ids is None else list(chunks(sorted(patient_ids)))
    seen: set[int] = set()
    for part in parts:
        for row in session.exec(_about_two(part)):
            if row.patient_id and row.prior_patient_id and row.id not in seen:
                seen.add(row.id or 0)
                prior = name_of(row.prior_issuer), row.prior_patient_id
                surviving = name_of(row.issuer), row.patient_id
                yield IdentityEvent(row.event_time, row.action in _JOINS, prior, surviving)


def one_name(issuers: Issuers) -> NameOfIssuer:
    """Return what turns a name of an issuer into the one that stands for all its names."""
    return lambda issuer: issuers.normal(Identifier("", issuer)).issuer

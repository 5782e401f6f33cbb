"""A study that comes again under another identity changes over as a whole, or not at all.

Objects under the new identity wait in quarantine and the study is frozen. When every instance of it
has come again under one and the same new identity and shows what it showed before, the study takes
that identity and all of them enter, in one transaction. At no time does a study hold objects of two
patients.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, delete, update
from sqlmodel import Session, col, select

from dicom_node import quarantine, study_rows
from dicom_node.arrivals import Arrival, declared_identity, read_arrivals
from dicom_node.headers import Header
from dicom_node.known import known_objects
from dicom_node.models import Instance, Quarantined, Series
from dicom_node.register import Objection, Register

_GROUP = 256
IDENTITY_CHANGE = "its study has another identity now"
NOT_SENT_AGAIN = "a person gave its study another identity, under which it was not sent"


def switch_if_whole(register: Register, header: Header) -> None:
    """Give a study the identity of ``header`` where every instance of it waits under it."""
    uid, identity = header.study_instance_uid, declared_identity(header)
    missing = register.known.missing.get((uid, identity))
    if missing is None:
        missing = _missing(register, uid, identity)
        register.known.missing[uid, identity] = missing
    missing.discard(header.sop_instance_uid)
    if not missing and _shows_what_it_showed(register, uid, identity):
        switch(register, header)


def _missing(register: Register, uid: str, identity: str) -> set[str]:
    """Return the instances of a study that do not wait under an identity and do not have it."""
    register.write()
    waiting = register.session.exec(
        select(Quarantined.sop_instance_uid).where(*_waits(uid, identity))
    )
    return _under_other_identity(register, uid, identity).keys() - set(waiting)


def _shows_what_it_showed(register: Register, uid: str, identity: str) -> bool:
    """Compare each instance with what waits for it; what shows something else waits no more."""
    register.write()
    versions: dict[str, list[Quarantined]] = {}
    for row in _waiting(register.session, uid, identity):
        versions.setdefault(row.sop_instance_uid, []).append(row)
    for sop_instance_uid, digest in _under_other_identity(register, uid, identity).items():
        rows = versions[sop_instance_uid]
        if not any(register.contents.same(digest, row.digest) for row in rows):
            for row in rows:
                row.cause = quarantine.CONTENT
                row.reason = "the stored object with this SOP Instance UID shows something else"
                register.session.add(row)
            register.known.missing.pop((uid, identity), None)
            return False
    return True


def switch(register: Register, header: Header) -> None:
    """Give a study the identity of ``header`` and file every object that waits under it."""
    uid, identity = header.study_instance_uid, declared_identity(header)
    register.write()
    waiting = _waiting(register.session, uid, identity)
    arrivals = read_arrivals(
        register.inspector, [(register.store.path(row.digest), row.received_at) for row in waiting]
    )
    for row in waiting:
        register.session.expunge(row)
    register.session.execute(delete(Quarantined).where(*_waits(uid, identity)))
    study = register.known.studies[uid]
    study_rows.identify_patient(study, header, register.settings)
    study_rows.identify_order(study, header, register.settings)
    register.session.add(study)
    register.note_patient(study, study.last_received_at)
    register.known.waiting.get(uid, set()).discard(identity)
    register.reidentified.add(uid)
    register.moved.update(each.digest for each in arrivals)
    _look_further(register, arrivals)
    for each in arrivals:
        _enter(register, each, identity)


def _enter(register: Register, each: Arrival, identity: str) -> None:
    objection: Objection | None
    if isinstance(each.header, Header):
        objection = register.objection(each, each.header, standing=identity)
        if objection is None:
            register.enter(each, each.header, IDENTITY_CHANGE)
            return
    else:
        objection = Objection(quarantine.UNREADABLE, str(each.header))
    register.confine(each, objection)


def leave_out(register: Register, header: Header, by: str) -> None:
    """Supersede what was not sent under the identity that a study has now."""
    register.write()
    left = _under_other_identity(register, header.study_instance_uid, declared_identity(header))
    left.pop(header.sop_instance_uid, None)
    for sop_instance_uid in left:
        register.supersede(sop_instance_uid, header.study_instance_uid, by, NOT_SENT_AGAIN)


def _waiting(session: Session, uid: str, identity: str) -> list[Quarantined]:
    query = (
        select(Quarantined)
        .where(*_waits(uid, identity))
        .order_by(col(Quarantined.received_at), col(Quarantined.digest))
    )
    return list(session.exec(query))


def _waits(uid: str, identity: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that an object waits for its study to take an identity."""
    return (
        col(Quarantined.kind) == quarantine.DICOM,
        col(Quarantined.state) == quarantine.OPEN,
        col(Quarantined.cause) == quarantine.IDENTITY,
        col(Quarantined.study_instance_uid) == uid,
        col(Quarantined.declared_identity) == identity,
    )


def _under_other_identity(register: Register, uid: str, identity: str) -> dict[str, str]:
    """Return digest by SOP Instance UID of the instances that stand under another identity."""
    query = (
        select(Instance.sop_instance_uid, Instance.digest, Instance.declared_identity)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(Series.study_instance_uid == uid, Instance.declared_identity != identity)
        .order_by(col(Instance.sop_instance_uid))
    )
    rows = register.session.exec(query).all()
    found = {sop_instance_uid: digest for sop_instance_uid, digest, known in rows if known}
    early = [(sop_instance_uid, digest) for sop_instance_uid, digest, known in rows if not known]
    for (sop_instance_uid, digest), declared in zip(early, _declared(register, early), strict=True):
        if declared != identity:
            found[sop_instance_uid] = digest
    return found


def _declared(register: Register, early: Iterable[tuple[str, str]]) -> list[str]:
    """Read the declared identities of instances whose rows were written before rows held it."""
    known = list(early)
    headers = register.inspector.headers([register.store.path(digest) for _, digest in known])
    identities = []
    for (sop_instance_uid, _), header in zip(known, headers, strict=True):
        identity = declared_identity(header) if isinstance(header, Header) else ""
        identities.append(identity)
        register.session.execute(
            update(Instance)
            .where(col(Instance.sop_instance_uid) == sop_instance_uid)
            .values(declared_identity=identity)
        )
    return identities


def _look_further(register: Register, arrivals: list[Arrival]) -> None:
    """Learn what the index holds about objects of an earlier group, keeping what is known."""
    for start in range(0, len(arrivals), _GROUP):
        found = known_objects(register.session, arrivals[start : start + _GROUP])
        register.known.instances.update(found.instances)
        register.known.series.update(found.series)

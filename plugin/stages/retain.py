"""Retention: the images of studies that a rule of the site says are too old are deleted.

Nothing is deleted without a rule. What a frozen cohort or a live model's prediction rests on is
kept unless the rule says otherwise; always kept is what is in dispute, still to be sent, or was
promised to a sender by storage commitment. Rows and tombstones go in one transaction, the files
after it.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, SQLModel, col, func, select

from dicom_node.commitment.filing import WAITING
from dicom_node.commitment.models import (
    CommitmentReference,
    CommitmentRequest,
    CommittedInstance,
)
from dicom_node.database import chunks
from dicom_node.deletion import finish_deletions, list_for_deletion, salted_key
from dicom_node.keeping_settings import RetentionRule
from dicom_node.life_models import ExpiredStudy, Tombstone
from dicom_node.models import (
    Instance,
    Link,
    Quarantined,
    Series,
    Study,
    SupersededInstance,
    Transmission,
)
from dicom_node.studies import is_frozen
from plugin.context import Context
from plugin.stages.erase_files import paths_of, remove_prepared
from training.models import CohortMember, Prediction
from training.registry import Stage, models

log = logging.getLogger("radloop")

_FIRST_SECONDS = 3600.0
_DAY_SECONDS = 86400.0
_LARGEST_DRIFT_SECONDS = 3600.0
_BY_DIGEST = (
    *("decoded_content", "misplaced_file", "quarantine_decision", "quarantined"),
    "series_picture",
)


@dataclass(frozen=True)
class Expiry:
    """A study that is older than a rule allows; ``kept`` says why it stays all the same."""

    study_instance_uid: str
    rule: str
    last_received_at: dt.datetime
    kept: str = ""


class DailyRetention:
    """Applies the rules once a day while the node runs, the first time an hour after its start.

    When the time of day has run away from the time that passed, the clock was set, and ages mean
    nothing: then nothing is deleted until the node is started again.
    """

    def __init__(self, context: Context, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._monotonic = monotonic
        self._started = context.clock(), monotonic()
        self._due = monotonic() + _FIRST_SECONDS

    def attend(self) -> None:
        """Apply the rules if a day has passed."""
        if not self._context.settings.retention or self._monotonic() < self._due:
            return
        self._due = self._monotonic() + _DAY_SECONDS
        began, monotonic = self._started
        shown = (self._context.clock() - began).total_seconds()
        if abs(shown - (self._monotonic() - monotonic)) > _LARGEST_DRIFT_SECONDS:
            log.error("the clock was set since the start: retention deletes nothing")
            return
        done = expire_studies(self._context, dry_run=False)
        log.info("retention: %d studies expired", len(done["expired"]))


def expire_studies(context: Context, *, dry_run: bool) -> dict[str, Any]:
    """Delete the images of studies that are too old, or tell what would go.

    Returns:
        ``expired`` (study, rule, last arrival), ``kept`` (study, rule, why) and ``files``.
    """
    with context.database.read() as session:
        found = find_expired(session, context.settings.retention, context.clock())
    going = [each for each in found if not each.kept]
    files = 0
    for each in going if not dry_run else ():
        # One study at a time: indexing goes on in between.
        with context.database.filing:
            with context.database.write() as session:
                files += _expire(context, session, each)
            finish_deletions(context.database, context.folder.root)
    if going and not dry_run:
        remove_prepared(context.folder)  # inputs made of images that are gone
    return {
        "dry_run": dry_run,
        "expired": [_shown(each) for each in going],
        "kept": [{**_shown(each), "why": each.kept} for each in found if each.kept],
        "files": files,
    }


def _shown(each: Expiry) -> dict[str, Any]:
    return {
        "study_instance_uid": each.study_instance_uid,
        "rule": each.rule,
        "last_received_at": each.last_received_at.isoformat(),
    }


def find_expired(
    session: Session, rules: tuple[RetentionRule, ...], now: dt.datetime
) -> list[Expiry]:
    """Return each study with images that is older than the first rule that is about it allows."""
    if not rules:
        return []
    series: dict[str, set[tuple[str, str]]] = {}
    for row in session.exec(select(Series)):
        known = series.setdefault(row.study_instance_uid, set())
        known.add((row.modality, row.body_part_examined.upper()))
    live = [each.model.id for each in models(session) if each.stage is Stage.LIVE]
    found = []
    for study in session.exec(select(Study).order_by(col(Study.last_received_at))):
        kinds = series.get(study.study_instance_uid)
        rule = next((each for each in rules if kinds and _is_about(each, study, kinds)), None)
        if rule is None or now - study.last_received_at < dt.timedelta(days=rule.older_than_days):
            continue
        uid = study.study_instance_uid
        kept = _promised(session, uid, now) or _why_kept(session, uid, rule, live)
        found.append(Expiry(uid, rule.name, study.last_received_at, kept))
    return found


def _is_about(rule: RetentionRule, study: Study, kinds: set[tuple[str, str]]) -> bool:
    described = fnmatch(study.study_description.casefold(), rule.study_description.casefold())
    return described and any(
        rule.modality in ("", modality) and rule.body_part.upper() in ("", body_part)
        for modality, body_part in kinds
    )


def _why_kept(session: Session, uid: str, rule: RetentionRule, live: list[int | None]) -> str:
    member = select(CohortMember.id).where(
        CohortMember.study_instance_uid == uid, CohortMember.exclusion_reason == ""
    )
    predicted = select(Prediction.id).where(
        Prediction.study_instance_uid == uid, col(Prediction.model_id).in_(live)
    )
    queued = select(Transmission.id).where(
        Transmission.study_instance_uid == uid, Transmission.state == "queued"
    )
    reasons = (
        (is_frozen(session, uid), "in dispute: a person decides first"),
        (_any(session, queued), "a structured report of it is still to be sent"),
        (not rule.delete_cohort_members and _any(session, member), "member of a frozen cohort"),
        (not rule.delete_predicted and _any(session, predicted), "a live model predicted on it"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _promised(session: Session, uid: str, now: dt.datetime) -> str:
    """Return until when a study must stay because we committed to an instance of it, in words."""
    named = col(CommittedInstance.sop_instance_uid)
    current = (
        select(Instance.sop_instance_uid)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(Series.study_instance_uid == uid)
    )
    # The bytes that were promised may be an earlier version by now, or lie in another study than
    # the instance does.
    earlier = select(SupersededInstance.sop_instance_uid).where(
        SupersededInstance.study_instance_uid == uid
    )
    query = select(func.max(col(CommittedInstance.kept_until))).where(
        sa.or_(
            col(CommittedInstance.study_instance_uid) == uid,
            named.in_(current),
            named.in_(earlier),
        )
    )
    until = session.exec(query).one()
    if until is None or until <= now:
        return ""
    return f"storage commitment: promised to a sender until {until.date().isoformat()}"


def _any(session: Session, query: Any) -> bool:
    return session.exec(query.limit(1)).first() is not None


def _expire(context: Context, session: Session, each: Expiry) -> int:
    """Delete the rows of a study's instances, leave tombstones, list the files; count these."""
    uid, now = each.study_instance_uid, context.clock()
    if session.get_one(Study, uid).last_received_at != each.last_received_at:
        return 0  # it has grown since
    if _promised(session, uid, now):
        return 0  # committed since
    salt = context.folder.patient_key_salt()
    instances = session.exec(
        select(Instance.sop_instance_uid, Instance.digest)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(Series.study_instance_uid == uid)
    ).all()
    earlier = session.exec(
        select(SupersededInstance.digest).where(SupersededInstance.study_instance_uid == uid)
    )
    aside = session.exec(
        select(Quarantined.digest).where(
            Quarantined.kind == "dicom", Quarantined.study_instance_uid == uid
        )
    )
    digests = {*(digest for _, digest in instances), *earlier, *aside}
    paths = paths_of(context.folder.root, digests)
    study_key = salted_key(uid, salt)
    session.add_all(
        Tombstone(
            instance_key=salted_key(sop_instance_uid, salt),
            study_key=study_key,
            rule=each.rule,
            expired_at=now,
        )
        for sop_instance_uid, _ in instances
    )
    session.flush()
    connection = session.connection()
    tables = SQLModel.metadata.tables
    series = select(Series.series_instance_uid).where(Series.study_instance_uid == uid)
    connection.execute(sa.delete(Instance).where(col(Instance.series_instance_uid).in_(series)))
    connection.execute(
        sa.delete(SupersededInstance).where(col(SupersededInstance.study_instance_uid) == uid)
    )
    connection.execute(sa.delete(Series).where(col(Series.study_instance_uid) == uid))
    _forget_commitments(session, [sop_instance_uid for sop_instance_uid, _ in instances])
    for chunk in chunks(sorted(digests)):
        for name in _BY_DIGEST:
            connection.execute(sa.delete(tables[name]).where(tables[name].c["digest"].in_(chunk)))
    of_study = tables["series_choice"].c["study_instance_uid"]
    connection.execute(sa.delete(tables["series_choice"]).where(of_study == uid))
    if _is_referred_to(session, uid):
        session.merge(ExpiredStudy(study_instance_uid=uid, rule=each.rule, expired_at=now))
    else:
        for name in ("study_completion", "study"):
            column = tables[name].c["study_instance_uid"]
            connection.execute(sa.delete(tables[name]).where(column == uid))
    list_for_deletion(session, paths, now)
    return len(paths)


def _forget_commitments(session: Session, sop_instance_uids: list[str]) -> None:
    """Delete what was promised of instances that go; who still waits is told that they have."""
    waiting = select(CommitmentRequest.id).where(CommitmentRequest.state == WAITING)
    for chunk in chunks(sop_instance_uids):
        promised = col(CommittedInstance.sop_instance_uid).in_(chunk)
        session.execute(sa.delete(CommittedInstance).where(promised))
        session.execute(
            sa.delete(CommitmentReference).where(
                col(CommitmentReference.sop_instance_uid).in_(chunk),
                col(CommitmentReference.request_id).not_in(waiting),
            )
        )


def _is_referred_to(session: Session, uid: str) -> bool:
    return any(
        _any(session, select(table.id).where(table.study_instance_uid == uid))
        for table in (Link, CohortMember, Prediction, Transmission)
    )


def what_expired(session: Session, uid: str, salt: bytes) -> dict[str, Any]:
    """Tell what a rule of retention deleted under a SOP or Study Instance UID.

    A tombstone holds a salted digest of the UID, so it answers this question and no other.
    """
    key = salted_key(uid, salt)
    rows = session.exec(
        select(Tombstone).where(
            sa.or_(col(Tombstone.instance_key) == key, col(Tombstone.study_key) == key)
        )
    ).all()
    return {
        "uid": uid,
        "expired": bool(rows),
        "instances": len(rows),
        "by": sorted({f"{row.rule}, {row.expired_at.isoformat()}" for row in rows}),
    }

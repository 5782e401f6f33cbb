"""Stage: people look at merged patients, let their links stand, or take a merge back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, col, or_, select

from dicom_node.linking.gathering import load_identities
from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.identity import Identities
from dicom_node.linking.identity_fold import REASONS
from dicom_node.linking.links import Linking, relink
from dicom_node.linking.models import PatientEvent, PatientReview
from dicom_node.linking.touched import Touched
from plugin.context import Context
from plugin.errors import Permanent
from plugin.stages.link import need_words

_TIME = "%Y%m%d%H%M%S%f"  # of comparable texts, in UTC


def show_patient(session: Session, linking: Linking, who: Identifier) -> dict[str, Any]:
    """Return who is one patient with an identity, why it is under review, and what was said."""
    identities, asked = _identities(session, linking, who)
    same = sorted(identities.same(asked))
    events = [
        each.model_dump(mode="json", exclude={"place", "reading", "message_id"})
        for each in _events(session, {each.value for each in same})
    ]
    return {
        "patient": {
            "surviving": _named(identities.surviving(asked)),
            "known_as": [_named(each) for each in same],
            "under_review": identities.suspended(asked) or "no",
        },
        "suspensions": [
            {"reason": REASONS[each.kind], "patients": [_named(one) for one in each.identifiers]}
            for each in identities.suspensions(asked)
        ],
        "events": events,
        "remarks": [
            {"time": each.event.time, "action": each.event.action, "remark": each.text}
            for each in identities.remarks
        ],
        "reviews": [
            each.model_dump(mode="json", exclude={"reviewed"})
            for each in session.exec(
                select(PatientReview)
                .where(col(PatientReview.patient_id).in_({each.value for each in same}))
                .order_by(col(PatientReview.id))
            )
        ],
    }


def review_patient(context: Context, who: Identifier, *, by: str, reason: str) -> dict[str, Any]:
    """Let the links of a patient stand after a person has looked; a new doubt suspends again.

    Raises:
        Permanent: nothing about this patient waits for a review.
    """
    need_words(by, reason)
    linking = context.linking()
    with context.database.write() as session:
        identities, asked = _identities(session, linking, who)
        if not identities.suspended(asked):
            raise Permanent("nothing about this patient waits for a review")
        session.add(
            PatientReview(
                patient_id=asked.value,
                issuer=asked.issuer,
                issuer_assumed=asked.issuer_assumed,
                reviewed=identities.digest(asked),
                decided_by=by.strip(),
                reason=reason.strip(),
                decided_at=context.clock(),
            )
        )
        return _relink_patients(session, context, linking, identities.same(asked))


def unmerge_patients(
    context: Context, one: Identifier, other: Identifier, *, by: str, reason: str
) -> dict[str, Any]:
    """Take a merge of two identities back, as if it had never been said.

    Raises:
        Permanent: the two were not merged directly.
    """
    need_words(by, reason)
    linking = context.linking()
    now = context.clock()
    with context.database.write() as session:
        identities, first = _identities(session, linking, one)
        second = linking.issuers_of()("").normal(other)
        pair = {first, second}
        merges = [each for each in identities.standing if {each.prior, each.patient} == pair]
        if not merges:
            raise Permanent(
                "these two were not merged directly; radloop patient show lists the merges"
            )
        # A sender's clock may be ahead of ours: the merge must not come after its end.
        moment = max(now.astimezone(dt.UTC).strftime(_TIME), *(each.time for each in merges))
        session.add(
            PatientEvent(
                action="unlink",
                event_time=moment,
                prior_patient_id=merges[-1].prior.value,
                prior_issuer=merges[-1].prior.issuer,
                prior_issuer_assumed=merges[-1].prior.issuer_assumed,
                patient_id=merges[-1].patient.value,
                issuer=merges[-1].patient.issuer,
                issuer_assumed=merges[-1].patient.issuer_assumed,
                decided_by=by.strip(),
                reason=reason.strip(),
                recorded_at=now,
            )
        )
        return _relink_patients(session, context, linking, identities.same(first))


def _relink_patients(
    session: Session, context: Context, linking: Linking, patients: Iterable[Identifier]
) -> dict[str, Any]:
    session.flush()
    changed = relink(session, Touched(patients=set(patients)), linking, context.clock)
    return {
        "links_changed": [
            {"report": report, "study_instance_uid": uid} for report, uid in sorted(changed)
        ]
    }


def _identities(
    session: Session, linking: Linking, who: Identifier
) -> tuple[Identities, Identifier]:
    """Return the identities around one that is asked about, and it under its issuer's one name."""
    if not who.qualified:
        raise Permanent("a patient is named by patient id and issuer")
    issuers_of = linking.issuers_of()
    return load_identities(session, {who.value}, issuers_of), issuers_of("").normal(who)


def _events(session: Session, values: set[str]) -> Iterable[PatientEvent]:
    return session.exec(
        select(PatientEvent)
        .where(
            or_(
                col(PatientEvent.patient_id).in_(values),
                col(PatientEvent.prior_patient_id).in_(values),
            ),
            col(PatientEvent.holds),
        )
        .order_by(col(PatientEvent.event_time), col(PatientEvent.id))
    )


def _named(identifier: Identifier) -> str:
    assumed = " (assumed)" if identifier.issuer_assumed else ""
    return f"{identifier.value} of {identifier.issuer}{assumed}"

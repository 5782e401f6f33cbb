"""Links as rows: each pair has its present state, and every change of it is kept as an event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.linking.decision import RULE_VERSION, WITHDRAWN, Decision
from dicom_node.linking.models import LinkEvent
from dicom_node.models import Link

AUTOMATIC = "radloop"
"""Who decided, where no person did."""

NOTHING_IN_COMMON = "the study has nothing in common with the report now"

_SAID = ("state", "rule", "reason", "evidence", "decided_by")
_Known = dict[int, dict[str, Link]]


class LinkRows:
    """Compares decisions with the links that are there and writes what changes.

    Args:
        session: a writing session.
        reports: the versions whose links may change.
        now: the time of the decisions.
    """

    def __init__(self, session: Session, reports: Collection[int], now: dt.datetime) -> None:
        self._session = session
        self._now = now
        self._known: _Known = {}
        self._new: list[dict[str, Any]] = []
        self._changed: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        for part in chunks(sorted(reports)):
            rows = session.exec(select(Link).where(col(Link.report_id).in_(part)))
            for each in rows:
                self._known.setdefault(each.report_id, {})[each.study_instance_uid] = each

    def decide(
        self,
        report_id: int,
        decisions: Iterable[Decision],
        studies: Collection[str] | None = None,
    ) -> None:
        """Take the decisions about one report; its other links are withdrawn.

        Args:
            report_id: the version.
            decisions: one for each study in question.
            studies: the studies that are in question; None: all.
        """
        decided = set()
        for each in decisions:
            decided.add(each.study_instance_uid)
            if studies is None or each.study_instance_uid in studies:
                self._set(report_id, each)
        self.withdraw(report_id, NOTHING_IN_COMMON, studies, but=decided)

    def withdraw(
        self,
        report_id: int,
        reason: str,
        studies: Collection[str] | None = None,
        but: Collection[str] = (),
    ) -> None:
        """Withdraw the links of a version, but those to some studies."""
        for uid, link in self._known.get(report_id, {}).items():
            if uid in but or link.state == WITHDRAWN:
                continue
            if studies is None or uid in studies:
                decision = Decision(uid, WITHDRAWN, link.rule, reason, link.evidence)
                self._set(report_id, decision)

    def write(self) -> frozenset[tuple[int, str]]:
        """Write what was decided; return the pairs whose state or reason changed."""
        for table, rows in ((Link, self._new), (LinkEvent, self._events)):
            if rows:
                self._session.execute(insert(table), rows)
        if self._changed:
            self._session.execute(update(Link), self._changed)
            self._session.expire_all()
        return frozenset((row["report_id"], row["study_instance_uid"]) for row in self._events)

    def _set(self, report_id: int, decision: Decision) -> None:
        uid = decision.study_instance_uid
        link = self._known.get(report_id, {}).get(uid)
        said = {
            "state": decision.state,
            "rule": decision.rule,
            "reason": decision.reason,
            "evidence": decision.evidence,
            "decided_by": decision.decided_by or AUTOMATIC,
        }
        if link is not None and all(getattr(link, name) == said[name] for name in _SAID):
            return
        row = said | {"decided_at": self._now}
        pair = {"report_id": report_id, "study_instance_uid": uid}
        if link is None:
            self._new.append(row | pair)
        else:
            self._changed.append(row | {"id": link.id})
        self._events.append(row | pair | {"rule_version": RULE_VERSION})


def withdraw_links(
    session: Session, study_instance_uid: str, reason: str, now: dt.datetime
) -> None:
    """Withdraw every link of a study, those that a person decided included."""
    session.flush()
    reports: Sequence[int] = session.exec(
        select(Link.report_id).where(Link.study_instance_uid == study_instance_uid)
    ).all()
    rows = LinkRows(session, reports, now)
    for report_id in reports:
        rows.withdraw(report_id, reason, {study_instance_uid})
    rows.write()

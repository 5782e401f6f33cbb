"""Link reports to studies: find what a change reaches, gather the evidence, decide, keep it.

Whichever of the two comes later brings them together. Every decision is taken anew from all that is
known, so what holds does not depend on what came first. Decisions of people are applied on top.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from dicom_node.database import Clock, chunks
from dicom_node.feeds.registry import Profiles
from dicom_node.linking.copies import set_copies_aside
from dicom_node.linking.decision import Decision
from dicom_node.linking.doubts import NOT_CURRENT, WITHDRAWALS
from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.gathering import Gathered, gather
from dicom_node.linking.identifiers import Issuers
from dicom_node.linking.link_rows import LinkRows
from dicom_node.linking.models import LinkDecision
from dicom_node.linking.people import HumanDecision, settle
from dicom_node.linking.rules import decide
from dicom_node.linking.scope import Scope, candidates, find_scope
from dicom_node.linking.touched import Touched
from dicom_node.models import Report
from dicom_node.reports.status import EFFECTS, WITHOUT_TEXT, Effect
from dicom_node.settings import Hl7Settings, LinkingSettings

Linker = Callable[[ReportEvidence, Sequence[StudyEvidence], LinkingSettings], list[Decision]]
"""What stands behind the entry point group ``radloop.linkers``."""


@dataclass(frozen=True)
class Linking:
    """How links are decided.

    Args:
        settings: the section ``[linking]``.
        profiles: whose reports may link, and which names mean one issuer.
        linker: decides about one report and its candidates.
    """

    settings: LinkingSettings = field(default_factory=LinkingSettings)
    profiles: Profiles = field(default_factory=lambda: Profiles(Hl7Settings()))
    linker: Linker = decide

    def issuers_of(self) -> Callable[[str], Issuers]:
        """Return which names mean one issuer, by sender; as it stands at this moment."""
        general = Issuers(
            (*self.settings.equivalent_issuers, *self.profiles.equivalent_issuers()),
            self.settings.trusted_assumed_issuers,
        )
        known: dict[str, Issuers] = {"": general}

        def issuers(sender: str) -> Issuers:
            found = known.get(sender)
            if found is None:
                profile = self.profiles.of(sender)
                trusted = profile.trusted_assumed_issuers
                found = Issuers((), trusted, general) if trusted else general
                known[sender] = found
            return found

        return issuers


def relink(
    session: Session, touched: Touched, linking: Linking, clock: Clock
) -> frozenset[tuple[int, str]]:
    """Decide again about everything that a change reaches.

    Args:
        session: a writing session.
        touched: what changed.
        linking: how links are decided.
        clock: gives the time of the decisions.

    Returns:
        The pairs of report version and Study Instance UID whose link changed.
    """
    session.flush()
    scope = find_scope(session, touched)
    reports = scope.reports | scope.neighbours
    if not reports and not scope.gone:
        return frozenset()
    reasons = _without_text(session, reports)
    rows = LinkRows(session, reports | scope.gone, clock())
    for key in scope.gone:
        rows.withdraw(key, NOT_CURRENT)
    for key, reason in reasons.items():
        rows.withdraw(key, reason)
    found = _gather(session, reports - reasons.keys(), scope, linking)
    decided = _decide(session, found, linking)
    for key, decisions in decided.items():
        rows.decide(key, decisions, None if key in scope.reports else scope.studies)
    return rows.write()


def _gather(session: Session, reports: Collection[int], scope: Scope, linking: Linking) -> Gathered:
    """Gather the evidence; neighbours are compared with all their studies, not only the shared."""
    studies = scope.studies | candidates(session, scope.neighbours & set(reports))
    return gather(session, reports, studies, linking.issuers_of(), linking.profiles.accepted)


def _decide(session: Session, found: Gathered, linking: Linking) -> dict[int, list[Decision]]:
    decided = {
        key: linking.linker(
            report, [found.studies[uid] for uid in found.candidates[key]], linking.settings
        )
        for key, report in found.reports.items()
    }
    said = _human(session, set(found.identities.values()))
    human = {key: said[name] for key, name in found.identities.items() if name in said}
    settled = settle(decided, found.reports, found.studies, human)
    return set_copies_aside(session, settled, found.reports)


def _without_text(session: Session, reports: Collection[int]) -> dict[int, str]:
    """Return the versions that say nothing any more, each with the reason."""
    found: dict[int, str] = {}
    for part in chunks(sorted(reports)):
        rows = session.exec(
            select(Report.id, Report.result_status, Report.text).where(col(Report.id).in_(part))
        )
        for key, status, text in rows:
            effect = EFFECTS.get(status, Effect.FINAL)
            if key is not None and (status in WITHOUT_TEXT or effect in WITHDRAWALS or not text):
                found[key] = WITHDRAWALS.get(effect, "the report has no text yet")
    return found


def _human(session: Session, identities: Collection[str]) -> dict[str, list[HumanDecision]]:
    """Return what people decided, by report identity, in order."""
    found: dict[str, list[HumanDecision]] = {}
    for part in chunks(sorted(identities)):
        rows: Iterable[LinkDecision] = session.exec(
            select(LinkDecision)
            .where(col(LinkDecision.report_identity).in_(part))
            .order_by(col(LinkDecision.decided_at), col(LinkDecision.id))
        )
        for row in rows:
            decision = HumanDecision(
                study_instance_uid=row.study_instance_uid,
                action=row.action,
                evidence_digest=row.evidence_digest,
                decided_by=row.decided_by,
                reason=row.reason,
            )
            found.setdefault(row.report_identity, []).append(decision)
    return found

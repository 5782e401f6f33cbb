"""Memberships and their faults, asked of the tables in bulk; see :mod:`training.standing`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.documents.rejections import held_studies
from dicom_node.linking.decision import CONFIRMED
from dicom_node.models import Link, Report, Study
from dicom_node.reports.status import FINAL_STATUSES
from dicom_node.retrieval.comparing import Difference, differences
from dicom_node.studies import frozen_studies
from training.models import Cohort, CohortMember
from training.optouts import opted_out_studies
from training.patients import NameOfIssuer, read_patients, studies_of_patients
from training.selection import SeriesRule, images
from training.standing import Facts, Standing, fault_of


@dataclass(frozen=True, slots=True)
class Ground:
    """How patients are told apart: the secret of their keys, and the one name of an issuer.

    ``archives`` are the names of the archives whose differences count; None: all.
    """

    salt: bytes
    name_of: NameOfIssuer = str
    archives: frozenset[str] | None = None


def standing_of(session: Session, ground: Ground, cohort: Cohort) -> list[Standing]:
    """Return every member of a cohort, by Study Instance UID, with its fault."""
    return _judge(session, ground, _members(session, cohort_id=cohort.id))


def standings(session: Session, ground: Ground, studies: Collection[str]) -> list[Standing]:
    """Return every membership of these studies and of the same patients' studies, with its fault.

    The patients are taken whole: in which folds a patient stands is a question to all of them.
    """
    whole = with_patients(session, ground.name_of, studies)
    return _judge(session, ground, _members(session, studies=whole))


def with_patients(session: Session, name_of: NameOfIssuer, studies: Collection[str]) -> set[str]:
    """Return these studies and every other study of their patients."""
    identities: set[tuple[str, str]] = set()
    for chunk in chunks(sorted(studies)):
        rows = session.exec(
            select(Study.issuer_of_patient_id, Study.patient_id).where(
                col(Study.study_instance_uid).in_(chunk)
            )
        )
        identities |= {(issuer, value) for issuer, value in rows if issuer and value}
    return set(studies) | studies_of_patients(session, name_of, identities)


def _members(
    session: Session, *, cohort_id: int | None = None, studies: Collection[str] | None = None
) -> list[CohortMember]:
    query = select(CohortMember).where(CohortMember.exclusion_reason == "")
    if cohort_id is not None:
        query = query.where(CohortMember.cohort_id == cohort_id)
    if studies is None:
        found = list(session.exec(query))
    else:
        found = [
            member
            for chunk in chunks(sorted(studies))
            for member in session.exec(query.where(col(CohortMember.study_instance_uid).in_(chunk)))
        ]
    return sorted(found, key=lambda each: (each.cohort_id, each.study_instance_uid))


def _judge(session: Session, ground: Ground, members: Collection[CohortMember]) -> list[Standing]:
    if not members:
        return []
    known = _Known(session, ground, members)
    return [Standing(member, fault_of(known.facts(member))) for member in members]


@dataclass
class _Known:
    """What the tables say about members, read in bulk."""

    session: Session
    ground: Ground
    members: Collection[CohortMember]
    _images: dict[SeriesRule, dict[str, str]] = field(default_factory=dict)

    def facts(self, member: CohortMember) -> Facts:
        uid = member.study_instance_uid
        key = self._keys.get(uid, "")
        facts = Facts(
            needs_report=self._needs_report(member),
            frozen=uid in self._frozen,
            in_pacs=self._in_pacs.get(uid, Difference.NONE),
            rejected=uid in self._rejected,
            same_images=self._same_images(member),
            same_key=key == member.patient_key,
            opted_out=uid in self._opted_out,
            folds=len(self._folds.get((member.cohort_id, key), ())) if key else 1,
        )
        if not facts.needs_report:
            return facts
        is_current, status, identity, link = self._reports.get(
            (member.report_id or 0, uid), (False, "", "", "")
        )
        current_status, current_link = self._current.get((identity, uid), ("", ""))
        return replace(
            facts,
            link_state=link,
            is_current=is_current,
            result_status=status,
            current_status=current_status,
            current_link=current_link,
            final_reports=self._finals.get(uid, 0),
        )

    def _needs_report(self, member: CohortMember) -> bool:
        """A test member's truth is a reader's: its report may do without a link, as at freezing."""
        if member.fold != "test":
            return True
        return not self._cohorts[member.cohort_id].query.get("include_reference_only_tests", False)

    @cached_property
    def _studies(self) -> list[str]:
        return sorted({each.study_instance_uid for each in self.members})

    @cached_property
    def _cohorts(self) -> dict[int, Cohort]:
        ids = sorted({each.cohort_id for each in self.members})
        rows = [
            row
            for chunk in chunks(ids)
            for row in self.session.exec(select(Cohort).where(col(Cohort.id).in_(chunk)))
        ]
        return {row.id or 0: row for row in rows}

    @cached_property
    def _frozen(self) -> set[str]:
        return set(frozen_studies(self.session))

    @cached_property
    def _in_pacs(self) -> dict[str, Difference]:
        return differences(self.session, self._studies, self.ground.archives)

    @cached_property
    def _rejected(self) -> set[str]:
        return set(held_studies(self.session))

    @cached_property
    def _opted_out(self) -> set[str]:
        return opted_out_studies(self.session, self.ground.salt, self.ground.name_of)

    @cached_property
    def _keys(self) -> dict[str, str]:
        """The patient key of each study as identities are now."""
        rows: list[tuple[str, str, str]] = []
        for chunk in chunks(self._studies):
            rows += self.session.exec(
                select(
                    Study.study_instance_uid, Study.issuer_of_patient_id, Study.patient_id
                ).where(col(Study.study_instance_uid).in_(chunk))
            )
        values = {value for _, _, value in rows if value}
        patients = read_patients(self.session, self.ground.name_of, values)
        salt = self.ground.salt
        return {uid: patients.key(issuer, value, salt) for uid, issuer, value in rows}

    @cached_property
    def _folds(self) -> dict[tuple[int, str], set[str]]:
        found: dict[tuple[int, str], set[str]] = {}
        for each in self.members:
            key = self._keys.get(each.study_instance_uid, "")
            found.setdefault((each.cohort_id, key), set()).add(each.fold)
        return found

    @cached_property
    def _reports(self) -> dict[tuple[int, str], tuple[bool, str, str, str]]:
        """By report and study: whether it is current, its status, its chain, the link's state."""
        ids = {each.report_id for each in self.members if each.report_id is not None}
        columns = select(Report.id, Report.is_current, Report.result_status, Report.report_identity)
        versions = {
            key: (is_current, status, identity)
            for chunk in chunks(sorted(ids))
            for key, is_current, status, identity in self.session.exec(
                columns.where(col(Report.id).in_(chunk))
            )
        }
        links = self._links(ids)
        return {
            (each.report_id, uid): (*versions[each.report_id], links.get((each.report_id, uid), ""))
            for each in self.members
            for uid in (each.study_instance_uid,)
            if each.report_id is not None and each.report_id in versions
        }

    @cached_property
    def _current(self) -> dict[tuple[str, str], tuple[str, str]]:
        """By chain and study: status of the current version, and the state of its link."""
        places = {
            (chain, uid)
            for (_, uid), (is_current, _, chain, _) in self._reports.items()
            if not is_current
        }
        columns = select(Report.report_identity, Report.id, Report.result_status)
        statuses = {
            identity: (key or 0, status)
            for chunk in chunks(sorted({chain for chain, _ in places}))
            for identity, key, status in self.session.exec(
                columns.where(col(Report.is_current), col(Report.report_identity).in_(chunk))
            )
        }
        links = self._links({key for key, _ in statuses.values()})
        return {
            (chain, uid): (status, links.get((key, uid), ""))
            for chain, uid in places
            if chain in statuses
            for key, status in (statuses[chain],)
        }

    def _links(self, reports: Collection[int]) -> dict[tuple[int, str], str]:
        columns = select(Link.report_id, Link.study_instance_uid, Link.state)
        return {
            (report_id, uid): state
            for chunk in chunks(sorted(reports))
            for report_id, uid, state in self.session.exec(
                columns.where(col(Link.report_id).in_(chunk))
            )
        }

    @cached_property
    def _finals(self) -> dict[str, int]:
        """How many confirmed final reports each study has."""
        # Two queries and no join: SQLite would begin a join with every current report.
        columns = select(Link.study_instance_uid, Link.report_id)
        links = [
            row
            for chunk in chunks(self._studies)
            for row in self.session.exec(
                columns.where(col(Link.study_instance_uid).in_(chunk), Link.state == CONFIRMED)
            )
        ]
        versions = select(Report.id, Report.is_current, Report.result_status)
        final = {
            key
            for part in chunks(sorted({report for _, report in links}))
            for key, is_current, status in self.session.exec(
                versions.where(col(Report.id).in_(part))
            )
            if is_current and status in FINAL_STATUSES
        }
        found: dict[str, int] = {}
        for uid, report in links:
            found[uid] = found.get(uid, 0) + (report in final)
        return found

    def _same_images(self, member: CohortMember) -> bool:
        if not member.images_digest:
            return True
        rule = SeriesRule.of_record(self._cohorts[member.cohort_id].query)
        if rule not in self._images:
            self._images[rule] = images(self.session, rule, self._studies)
        return self._images[rule].get(member.study_instance_uid) == member.images_digest

"""Stage: documents that were stored are read once and become what they are.

The tables say what is unread: an object that is no image and has no row of this version of the
rules. The row of a document is committed together with all that follows from it, so a run that was
killed goes on where it was, and a document that cannot be read is a row with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from sqlmodel import Session, col, or_, select

from dicom_node.database import chunks
from dicom_node.documents.classifying import (
    KEY_OBJECTS,
    READ,
    RULE_VERSION,
    STRUCTURED,
    Own,
    Signs,
    Verdict,
    classify,
    signs_of,
)
from dicom_node.documents.kinds import Kind, State
from dicom_node.documents.models import DicomDocument
from dicom_node.headers import Elements, Header, Unreadable
from dicom_node.history.rows import UnusableRow
from dicom_node.history.structured import report_of_elements
from dicom_node.models import Instance, Series, Transmission
from dicom_node.storage import DicomStore
from dicom_node.studies import documents_only
from plugin.context import Context
from plugin.stages.document_filing import dated, drop_report, file_report, filed
from plugin.stages.document_notes import follow_note, note_rejections, stays_in_force
from plugin.stages.document_rows import (
    Before,
    Gone,
    Waiting,
    before_of,
    check_current,
    follow_acceptances,
    has_several_senders,
    member_of,
    put_row,
)
from plugin.stages.touched import TouchedStudies
from training.models import Model, Prediction

_log = logging.getLogger(__name__)


@dataclass
class DocumentsRead:
    """What one run did: documents by kind, and the studies of which images were rejected."""

    kinds: dict[str, int] = field(default_factory=dict)
    rejected_in: set[str] = field(default_factory=set)


class Documents(TouchedStudies):
    """Reads documents; looks only into studies that may have grown since the last look."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context

    def sweep(self) -> DocumentsRead:
        """Read what is unread.

        Raises:
            Transient, OSError: see :func:`read_documents`; the next sweep tries again.
        """
        with self.taken() as touched:
            if touched is not None and not touched:
                return DocumentsRead()
            return read_documents(self._context, touched)


def read_documents(context: Context, studies: Collection[str] | None = None) -> DocumentsRead:
    """Read every document that was not read under these rules; safe to run at any time.

    What is read may have others read again: those that name it, or are versions of one report
    with it.

    Args:
        context: the open node.
        studies: look into these only; None: into all.

    Raises:
        Transient: no parser, or no room; what was read is committed.
        OSError: the disk cannot be read.
    """
    result = DocumentsRead()
    context.profiles.reload_if_changed()
    if studies is None:
        _follow_acceptances(context)
    store = DicomStore(context.folder.root)
    seen: dict[str, int] = {}
    while waiting := _waiting(context, studies, seen):
        for each in waiting:
            done = sum(result.kinds.values())
            _Reading(context, store, each, result).read()
            # What cannot be read now is left to the next run.
            rounds = 1 if sum(result.kinds.values()) > done else _ROUNDS
            seen[each.instance.digest] = seen.get(each.instance.digest, 0) + rounds
    if result.kinds:
        _log.info("read %d documents", sum(result.kinds.values()))
    return result


def _follow_acceptances(context: Context) -> None:
    with context.database.read() as session:
        if not has_several_senders(session):
            return
    with context.database.write() as session:
        follow_acceptances(session, context.profiles.accepted)


_ROUNDS = 20  # of one document within one run: what hangs together settles in a few


def _waiting(
    context: Context, studies: Collection[str] | None, seen: dict[str, int]
) -> list[Waiting]:
    with context.database.read() as session:
        found = _unread(session, studies)
    return [each for each in found if seen.get(each.instance.digest, 0) < _ROUNDS]


def _unread(session: Session, studies: Collection[str] | None) -> list[Waiting]:
    """Return the documents without a row of this version of the rules.

    Key object selections come first, so that nothing is made of a report that was rejected; the
    others in order of arrival. Documents that are to be read again count in every study.
    """
    known = select(DicomDocument.digest).where(
        col(DicomDocument.digest) == col(Instance.digest),
        col(DicomDocument.rule_version) >= RULE_VERSION,
    )
    again = select(DicomDocument.digest).where(DicomDocument.rule_version == 0)
    query = (
        select(Instance, Series.study_instance_uid)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(documents_only(), ~known.exists())
    )
    queries = [query]
    if studies is not None:
        of_studies = col(Series.study_instance_uid)
        queries = [query.where(of_studies.in_(part)) for part in chunks(sorted(studies))]
        queries.append(query.where(col(Instance.digest).in_(again)))
    rows = {row[0].digest: row for each in queries for row in session.exec(each)}
    session.expunge_all()
    ordered = sorted(
        rows.values(),
        key=lambda row: (row[0].sop_class_uid != KEY_OBJECTS, row[0].received_at, row[0].digest),
    )
    return [Waiting(instance, uid) for instance, uid in ordered]


class _Reading:
    """One document: parsed in a confined process, judged, and written with what follows."""

    def __init__(
        self, context: Context, store: DicomStore, each: Waiting, result: DocumentsRead
    ) -> None:
        self._context = context
        self._store = store
        self._each = each
        self._result = result

    def read(self) -> None:
        """Read it; of one that is gone, deleted or superseded meanwhile, nothing is written."""
        instance = self._each.instance
        if not instance.sop_class_uid.startswith(STRUCTURED):
            self._write(Verdict(Kind.OTHER, "no structured report"))
            return
        try:
            header, document = self._parsed()
        except FileNotFoundError:
            return
        except Unreadable as error:
            self._write(Verdict(Kind.UNREADABLE, str(error)))
            return
        signs = signs_of(document)
        with self._context.database.read() as session:
            own = self._own(session, header, signs)
            verdict = _passed_on(session, classify(header, document, signs, own))
        if verdict.kind is Kind.REPORT:
            self._file(header, document, verdict, signs)
        else:
            self._write(verdict, signs=signs, header=header)

    def _parsed(self) -> tuple[Header, Elements]:
        path = self._store.path(self._each.instance.digest)
        (header,) = self._context.sandbox.headers([path])
        if isinstance(header, Unreadable):
            raise header
        return header, self._context.sandbox.elements(path, READ)

    def _own(self, session: Session, header: Header, signs: Signs) -> Own:
        """Return what of the things that a document names is ours, or a reader's word on ours."""
        named = sorted({header.sop_instance_uid, *signs.named})
        ours: set[str] = set()
        for part in chunks(named):
            for column in (Transmission.sop_instance_uid, Prediction.sop_instance_uid):
                ours |= set(session.exec(select(column).where(col(column).in_(part))))
            known = select(DicomDocument.sop_instance_uid).where(
                col(DicomDocument.sop_instance_uid).in_(part),
                DicomDocument.sop_instance_uid != header.sop_instance_uid,
                or_(
                    col(DicomDocument.kind) == Kind.OURS, col(DicomDocument.kind) == Kind.CORRECTION
                ),
            )
            ours |= set(session.exec(known))
        devices = set(session.exec(select(Model.device_uid))) & signs.device_uids
        tracking = self._own_tracking(session) if signs.tracking_uids else set()
        return Own(frozenset(ours), frozenset(devices), frozenset(tracking))

    def _own_tracking(self, session: Session) -> set[str]:
        """Return the Tracking UIDs of our reports about the study: they lie in files alone."""
        paths = session.exec(
            select(Transmission.path).where(
                Transmission.study_instance_uid == self._each.study_instance_uid
            )
        )
        found: set[str] = set()
        for name in sorted(set(paths)):
            try:
                path = self._context.folder.root / name
                found |= signs_of(self._context.sandbox.elements(path, READ)).tracking_uids
            except (FileNotFoundError, Unreadable):
                continue
        return found

    def _file(self, header: Header, document: Elements, verdict: Verdict, signs: Signs) -> None:
        """File the text of a report as the message that an import would make of it."""
        row = self._row(verdict, State.FILED, verdict.why, header)
        try:
            report = report_of_elements(header, document, header.sop_instance_uid)
            row.dated = dated(report)
            found = filed(self._context, report, row, member_of(row, signs))
        except UnusableRow as error:
            why = f"nothing is taken from it: {error}"
            self._write(verdict, State.REFUSED, why, signs=signs, header=header)
            return
        try:
            file_report(
                self._context,
                self._each,
                row,
                found,
                lambda session, row: self._put(session, row, signs),
            )
        except Gone:
            return
        self._count(verdict.kind)

    def _write(
        self,
        verdict: Verdict,
        state: State | str = "",
        why: str = "",
        *,
        signs: Signs | None = None,
        header: Header | None = None,
    ) -> None:
        digest, study = self._each.instance.digest, self._each.study_instance_uid
        with self._context.database.write() as session:
            try:
                check_current(session, self._each)
            except Gone:
                return
            before = before_of(session, digest)
            if stays_in_force(verdict, before):
                self._keep(session)
                return
            if verdict.kind is Kind.REJECTION:
                state, why = note_rejections(session, self._each, verdict, before)
            row = self._row(verdict, state, why or verdict.why, header)
            drop_report(self._context, session, row)
            self._put(session, row, signs)
            if verdict.kind is Kind.REJECTION and self._is_news(before, state):
                self._result.rejected_in |= follow_note(self._context, session, digest, study)
        self._count(verdict.kind)

    @staticmethod
    def _is_news(before: Before, state: State | str) -> bool:
        return (before.kind, before.state) != (Kind.REJECTION, str(state))

    def _keep(self, session: Session) -> None:
        row = session.get_one(DicomDocument, self._each.instance.digest)
        row.rule_version = RULE_VERSION
        session.add(row)

    def _put(self, session: Session, row: DicomDocument, signs: Signs | None) -> None:
        put_row(session, row, signs, self._context.profiles.accepted)

    def _row(
        self, verdict: Verdict, state: State | str, why: str, header: Header | None
    ) -> DicomDocument:
        instance = self._each.instance
        return DicomDocument(
            digest=instance.digest,
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            study_instance_uid=self._each.study_instance_uid,
            calling_ae_title=instance.calling_ae_title,
            kind=verdict.kind.value,
            why=why,
            title=verdict.title,
            refers_to=list(verdict.refers_to),
            verified=verdict.verified,
            observers=list(verdict.observers),
            state=str(state),
            patient_id=header.patient_id if header is not None else "",
            rule_version=RULE_VERSION,
            received_at=instance.received_at,
            read_at=self._context.clock(),
        )

    def _count(self, kind: Kind) -> None:
        self._result.kinds[kind.value] = self._result.kinds.get(kind.value, 0) + 1


def _passed_on(session: Session, verdict: Verdict) -> Verdict:
    """Add what of ours readers' corrections refer to that a document names."""
    found = set(verdict.refers_to)
    for part in chunks(sorted(found)):
        query = select(DicomDocument.refers_to).where(
            col(DicomDocument.sop_instance_uid).in_(part), DicomDocument.kind == Kind.CORRECTION
        )
        found = found.union(*session.exec(query))
    return replace(verdict, refers_to=tuple(sorted(found)))

"""Stage: old studies come in from a folder, a medium or an Orthanc; they are never answered."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.database import chunks, insert_if_absent
from dicom_node.imports.candidates import Candidate, Source
from dicom_node.imports.folders import source_at
from dicom_node.imports.models import ImportedObject, ObjectImport
from dicom_node.imports.orthanc import Access, OrthancSource
from dicom_node.imports.taking import Fate, Taken, Taking
from dicom_node.indexing import index_spool
from dicom_node.models import Instance, Quarantined, SupersededInstance
from dicom_node.quarantine import DICOM
from dicom_node.setting_values import is_ae_title
from dicom_node.storage import DicomStore
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.linking import study_linker

DEFAULT_SENDER = "IMPORT"

_TOGETHER = 100  # marks that are written together; after a crash so many are read again
_INDEX_EVERY = 2_000


def import_objects(
    context: Context, arguments: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Import what a source holds; goes on where an earlier run was cut off.

    Every object is kept durably before it counts, is indexed and linked by the rules of those that
    are sent, and says in its file that it was imported: its study is never answered.

    Args:
        context: the node.
        arguments: ``source`` (path or address), ``user``, ``password``, ``authorities``,
            ``sender``, ``by``, ``reason``.
        progress: told how far it is.

    Returns:
        ``candidates``, how many came to each fate, ``quarantined`` (of those, objects that the
        index set aside), ``studies``, ``bytes``, ``refused_files`` and what the source lists and
        lacks (``missing_files``).

    Raises:
        Permanent: the source or an argument cannot be used.
        Transient: the archive does not answer or there is no room; what was taken stays, and the
            same command goes on from there.
    """
    by, reason = arguments["by"], arguments["reason"]
    if not by.strip() or not reason.strip():
        raise Permanent("an import needs who imports and why")
    with _alone(context):
        return _import(context, arguments, progress, by, reason)


def _import(
    context: Context, arguments: dict[str, Any], progress: Progress, by: str, reason: str
) -> dict[str, Any]:
    source = _source(arguments)
    run = _Run(context, source, _sender(arguments), progress, trial=False)
    with context.database.write() as session:
        row = ObjectImport(
            kind=source.kind,
            sender=run.sender,
            started_by=by,
            reason=reason,
            started_at=context.clock(),
        )
        session.add(row)
        session.flush()
        key = row.id
    try:
        run.take_all()
    finally:
        run.index()
        with context.database.write() as session:
            row = session.get_one(ObjectImport, key)
            row.counts = {str(fate): number for fate, number in run.taken.fates.items()}
            row.finished_at = context.clock() if run.whole else None
            session.add(row)
    return run.told()


@contextmanager
def _alone(context: Context) -> Iterator[None]:
    """Hold off a second import: it would read the same again, beside the first."""
    path = context.folder.root / "import.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Permanent("an import is running already: wait for its end") from None
        yield
    finally:
        os.close(descriptor)


def list_imports(session: Session) -> dict[str, Any]:
    """Return every import, the newest first, with who, why and how it ended."""
    rows = session.exec(select(ObjectImport).order_by(col(ObjectImport.id).desc()))
    return {
        "imports": [
            {
                "import": row.id,
                "source": row.kind,
                "sender": row.sender,
                **{str(fate): row.counts.get(str(fate), 0) for fate in Fate},
                "started": row.started_at.isoformat(timespec="seconds"),
                "ended": row.finished_at.isoformat(timespec="seconds")
                if row.finished_at
                else "not: it runs, or was cut off",
                "by": row.started_by,
                "reason": row.reason,
            }
            for row in rows
        ]
    }


def try_import(context: Context, arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Tell what :func:`import_objects` would do, and change nothing; the same answer."""
    run = _Run(context, _source(arguments), _sender(arguments), progress, trial=True)
    run.take_all()
    return run.told()


def _source(arguments: dict[str, Any]) -> Source:
    place = arguments["source"]
    if not place.startswith(("http://", "https://")):
        return source_at(Path(place))
    authorities = arguments.get("authorities") or ""
    access = Access(
        place,
        arguments.get("user") or "",
        arguments.get("password") or "",
        Path(authorities) if authorities else None,
    )
    source = OrthancSource(access)
    source.check()
    return source


def _sender(arguments: dict[str, Any]) -> str:
    sender = arguments.get("sender") or DEFAULT_SENDER
    if not is_ae_title(sender):
        raise Permanent("the sender is an AE title: 1 to 16 printable characters, no backslash")
    return str(sender)


@dataclass
class _Run:
    context: Context
    source: Source
    sender: str
    progress: Progress
    trial: bool
    whole: bool = False
    _marks: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.context.settings.dicom
        store = DicomStore(self.context.folder.root, minimum_free_bytes=settings.minimum_free_bytes)
        if not self.trial:
            store.make_folders()
        self._store = store
        self._taking = Taking(store.intake, settings, self.sender, self._known, trial=self.trial)

    @property
    def taken(self) -> Taken:
        """What was done so far."""
        return self._taking.taken

    def take_all(self) -> None:
        """Take every candidate; those that were taken before are not read again."""
        with self._marking():
            for number, each in enumerate(self.source.candidates(), start=1):
                self._take(each)
                if number % _TOGETHER == 0:
                    self._write_marks()
                    self.progress(f"{number} looked at: {_in_words(self.taken)}")
                if number % _INDEX_EVERY == 0:
                    self.index()
        self.whole = True

    def _take(self, candidate: Candidate) -> None:
        try:
            mark = candidate.mark
        except OSError:
            mark = ""  # it is gone, or may not be looked at: taking it says why
        if mark and (digest := self._digest_of(mark)) and self._taking.pass_over(digest):
            return
        digest = self._taking.take(candidate)
        if digest and mark:
            self._marks.append({"mark": mark, "digest": digest})

    @contextmanager
    def _marking(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._write_marks()

    def _write_marks(self) -> None:
        marks, self._marks = self._marks, []
        if marks and not self.trial:
            with self.context.database.write() as session:
                insert_if_absent(session, ImportedObject, marks)

    def _digest_of(self, mark: str) -> str:
        with self.context.database.read() as session:
            row = session.get(ImportedObject, mark)
            return row.digest if row else ""

    def _known(self, sop_instance_uid: str) -> Collection[str]:
        with self.context.database.read() as session:
            return _digests(session, sop_instance_uid)

    def index(self) -> None:
        """File what was taken so far; the node may be doing so, too."""
        if self.trial:
            return
        context = self.context
        index_spool(
            context.database,
            self._store,
            context.settings.dicom,
            context.clock,
            study_linker(context),
            context.sandbox,
        )

    def told(self) -> dict[str, Any]:
        """Return what a person reads."""
        taken = self.taken
        return {
            "source": self.source.kind,
            "candidates": taken.fates.total(),
            **{str(fate): taken.fates[fate] for fate in Fate},
            "quarantined": self._quarantined(),
            "studies": len(taken.studies),
            "bytes": taken.size,
            "refused_files": [{"file": name, "why": why} for name, why in taken.refused],
            "missing_files": list(self.source.missing),
        }

    def _quarantined(self) -> int:
        """Count what the index set aside; a trial does not ask it, and counts none."""
        if self.trial:
            return 0
        with self.context.database.read() as session:
            return sum(
                session.exec(
                    select(func.count()).where(
                        Quarantined.kind == DICOM, col(Quarantined.digest).in_(chunk)
                    )
                ).one()
                for chunk in chunks(self.taken.digests)
            )


def _digests(session: Session, sop_instance_uid: str) -> set[str]:
    """Return the digests under which the index holds an instance, earlier versions included."""
    found: set[str] = set()
    for table in (Instance, SupersededInstance):
        query: Any = select(table.digest).where(col(table.sop_instance_uid) == sop_instance_uid)
        found.update(session.exec(query))
    return found


def _in_words(taken: Taken) -> str:
    return ", ".join(f"{number} {fate}" for fate, number in sorted(taken.fates.items())) or "none"

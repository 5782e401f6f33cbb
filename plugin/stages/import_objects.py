"""Stage: old studies come in from a folder, a medium or an Orthanc; they are never answered."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_node.errors import Transient
from dicom_node.imports.candidates import Candidate, Source
from dicom_node.imports.fates import Stopped, Taken
from dicom_node.imports.folders import source_at
from dicom_node.imports.foresight import Foresight
from dicom_node.imports.models import ImportedObject
from dicom_node.imports.orthanc import Access, OrthancSource
from dicom_node.imports.selection import Selection
from dicom_node.imports.taking import Taking
from dicom_node.indexing import index_spool
from dicom_node.setting_values import is_ae_title
from dicom_node.storage import DicomStore
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.import_desk import Going
from plugin.linking import study_linker
from plugin.stages.import_choice import Refusals, refusals_file, selection_of
from plugin.stages.import_figures import (
    digests_of,
    figures,
    in_words,
    not_found,
    quarantined,
)
from plugin.stages.import_journal import Journal, alone

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
            ``sender``, ``by``, ``reason``; which studies (``since`` and ``before`` as ISO dates,
            ``studies`` a path, ``young``); ``refused``, a path for what does not come in.
        progress: told how far it is.

    Returns:
        ``state`` ("finished", or by whom it was stopped), ``candidates``, how many came to each
        fate, ``quarantined`` (of those, objects that the index set aside), ``studies``, ``bytes``,
        ``file_meta_completed`` (files whose File Meta Information was not whole),
        ``studies_not_found`` (listed, and neither in the source nor here) and ``reasons``: how
        many were refused or are missing, and why. Names may be those of patients: they stand in
        the file of what does not come in, and nowhere else.

    Raises:
        Permanent: the source or an argument cannot be used.
        Transient: the archive does not answer or there is no room; what was taken stays, and the
            same command goes on from there.
    """
    by, reason = arguments["by"], arguments["reason"]
    if not by.strip() or not reason.strip():
        raise Permanent("an import needs who imports and why")
    with alone(context.folder.root):
        return _import(context, arguments, progress, by, reason)


def _import(
    context: Context, arguments: dict[str, Any], progress: Progress, by: str, reason: str
) -> dict[str, Any]:
    source = _source(arguments)
    with (
        context.imports.going(source.abort) as going,
        Journal(context, going) as journal,
        refusals_file(arguments) as refusals,
    ):
        wanted = selection_of(arguments, context.clock())
        sender = _sender(arguments)
        run = _Run(context, source, sender, progress, going, wanted, refusals, journal)
        journal.begin(source.kind, run.sender, by, reason)
        try:
            run.take_all()
        finally:
            if not context.imports.closed:  # else the next start does it
                run.index()
            journal.note(run.taken)
        return run.told()


def try_import(context: Context, arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Tell what :func:`import_objects` would do, and change nothing; the same answer."""
    source = _source(arguments)
    with context.imports.going(source.abort) as going, refusals_file(arguments) as refusals:
        wanted = selection_of(arguments, context.clock())
        run = _Run(context, source, _sender(arguments), progress, going, wanted, refusals)
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
    going: Going
    wanted: Selection
    refusals: Refusals
    journal: Journal | None = None
    _marks: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.context.settings.dicom
        self.trial = self.journal is None
        store = DicomStore(self.context.folder.root, minimum_free_bytes=settings.minimum_free_bytes)
        store.make_folders()
        self._store = store
        reading = self.context.database.read
        self._foresight = Foresight(store, settings, self.context.sandbox, reading)
        self._taking = Taking(
            store.intake,
            settings,
            self.sender,
            self._known,
            foresee=self._foresight.add if self.trial else None,
            stopped=lambda: self.going.why,
            selection=self.wanted,
            tell=self.refusals.tell,
        )

    @property
    def taken(self) -> Taken:
        """What was done so far."""
        return self._taking.taken

    def take_all(self) -> None:
        """Take every candidate; those that were taken before are not read again."""
        with self._marking(), closing(self._foresight), self._stopping():
            for number, each in enumerate(self.source.candidates(), start=1):
                self._take(each)
                if number % _TOGETHER == 0:
                    self._write_marks()
                    self.progress(f"{number} looked at: {in_words(self.taken)}")
                if number % _INDEX_EVERY == 0:
                    self.index()
            self._foresight.judge()

    def _take(self, candidate: Candidate) -> None:
        if self.going.why:
            raise Stopped
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

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Let a stop end the walk as its end would; a source that was aborted fails anyhow."""
        try:
            yield
        except (Stopped, Transient):
            if not self.going.why:
                raise

    def _write_marks(self) -> None:
        marks, self._marks = self._marks, []
        if self.journal is not None:
            self.journal.note(self.taken, marks)

    def _digest_of(self, mark: str) -> str:
        with self.context.database.read() as session:
            row = session.get(ImportedObject, mark)
            return row.digest if row else ""

    def _known(self, sop_instance_uid: str) -> Collection[str]:
        with self.context.database.read() as session:
            return digests_of(session, sop_instance_uid)

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
        stopped, aside = self.going.why, self._foresight.aside
        with self.context.database.read() as session:
            absent = set() if stopped else not_found(session, self.wanted)
            if not self.trial:
                aside = quarantined(session, self.taken)
        for study in sorted(absent):
            self.refusals.lack(study)
        return figures(self.taken, self.source.kind, stopped, aside, len(absent))

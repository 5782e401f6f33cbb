"""What the index would set aside of the objects of a trial, found without writing a row.

A trial asks the functions that file objects: the parser in the sandbox, and what stands against an
object (:meth:`dicom_node.register.Register.objection`). What the trial met before counts as filed.
One whose SOP Instance UID is filed with other bytes is judged by its header alone: the index
compares what both show, and such objects may go together with others that are still to come.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlmodel import Session

from dicom_node import quarantine, study_rows
from dicom_node.arrivals import Arrival, declared_identity, spool_arrivals
from dicom_node.headers import Header
from dicom_node.inspection import Inspector
from dicom_node.intake import TEMPORARY_SUFFIX
from dicom_node.known import Known, known_objects
from dicom_node.models import Study
from dicom_node.register import Register
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore

_TOGETHER = 64
_MOST_BYTES = 256 * 2**20  # of files that wait to be judged


class HandedOver(Protocol):
    """An object that came whole, as an ``intake.IncomingObject``."""

    @property
    def digest(self) -> str:
        """The name that it would have in the store."""

    @property
    def size(self) -> int:
        """Bytes of its data set."""

    def hand_over(self, target: Path) -> None:
        """Give its file a name."""


class Foresight:
    """Judges objects in the order in which they came; :meth:`close` comes last.

    Args:
        store: whose folder of temporary files is used; a crash leaves nothing that its next start
            does not remove.
        settings: which issuers to assume for which sender.
        inspector: parses the objects.
        reading: opens a session.

    Attributes:
        aside: how many objects would lie in quarantine.
    """

    def __init__(
        self,
        store: DicomStore,
        settings: DicomSettings,
        inspector: Inspector,
        reading: Callable[[], AbstractContextManager[Session]],
    ) -> None:
        self.aside = 0
        self._store = store
        self._settings = settings
        self._inspector = inspector
        self._reading = reading
        self._files: list[tuple[Path, str]] = []
        self._bytes = 0
        # Of the studies that this trial met, the little by which others are judged.
        self._patients: dict[str, tuple[str, str, bool]] = {}
        self._series: dict[str, str] = {}
        self._entered: set[bytes] = set()  # SOP Instance UIDs in short: there may be millions
        self._waiting: dict[str, set[str]] = {}

    def add(self, incoming: HandedOver) -> None:
        """Take the file of an object that is not held."""
        name = f"{secrets.token_hex(16)}{TEMPORARY_SUFFIX}"
        path = self._store.folders.temporary / name
        incoming.hand_over(path)
        self._files.append((path, incoming.digest))
        self._bytes += incoming.size
        if len(self._files) >= _TOGETHER or self._bytes >= _MOST_BYTES:
            self.judge()

    def judge(self) -> None:
        """Judge what was added, and remove the files.

        Raises:
            Transient: no parser can be had now.
            OSError: the disk cannot be read.
        """
        paths = [path for path, _ in self._files]
        arrivals = [
            Arrival(digest, each.received_at, each.header)
            for (_, digest), each in zip(
                self._files, spool_arrivals(self._inspector, paths), strict=True
            )
        ]
        with self._reading() as session:
            register = Register(session, self._store, self._settings, self._inspector)
            register.known = self._known(session, arrivals)
            for each in arrivals:
                self._file(register, each)
        self.close()

    def close(self) -> None:
        """Remove the files that were not judged."""
        for path, _ in self._files:
            path.unlink(missing_ok=True)
        self._files, self._bytes = [], 0

    def _known(self, session: Session, arrivals: list[Arrival]) -> Known:
        """Return what the index would know: what it holds, and on top what this trial met."""
        known = known_objects(session, arrivals)
        session.expunge_all()  # nothing that is noted here may ever be written
        known.series.update(self._series)
        for each in arrivals:
            uid = each.header.study_instance_uid
            known.waiting.setdefault(uid, set()).update(self._waiting.get(uid, ()))
            if uid in self._patients:
                patient_id, issuer, assumed = self._patients[uid]
                known.studies[uid] = Study(
                    study_instance_uid=uid,
                    patient_id=patient_id,
                    issuer_of_patient_id=issuer,
                    issuer_assumed=assumed,
                    first_received_at=each.received_at,
                    last_received_at=each.received_at,
                )
        return known

    def _file(self, register: Register, each: Arrival) -> None:
        header = each.header
        if not isinstance(header, Header):
            self.aside += 1
            return
        known, uid = register.known, header.study_instance_uid
        name = _short(header.sop_instance_uid)
        if header.sop_instance_uid in known.instances or name in self._entered:
            return
        objection = register.objection(each, header)
        if objection is not None:
            self.aside += 1
            if objection.cause == quarantine.IDENTITY:
                for waiting in (known.waiting, self._waiting):
                    waiting.setdefault(uid, set()).add(declared_identity(header))
            return
        self._entered.add(name)
        study = known.studies.get(uid)
        if study is None:
            study = study_rows.new_study(header, self._settings, each.received_at)
        elif not study.patient_id:
            study_rows.identify_patient(study, header, self._settings)
        known.studies[uid] = study
        self._patients[uid] = study.patient_id, study.issuer_of_patient_id, study.issuer_assumed
        for series in (known.series, self._series):
            series.setdefault(header.series_instance_uid, uid)


def _short(uid: str) -> bytes:
    return hashlib.blake2b(uid.encode("utf-8", "surrogatepass"), digest_size=16).digest()

"""C-FIND at study, series and image level (PS3.4 C.4.1, C.6), without extended negotiation.

Study Root is used where the archive has it, Patient Root where it has nothing else; then each
question needs the patient's identifier (PS3.4 C.6.1.1). No relational queries are asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydicom.dataset import Dataset

from dicom_node.errors import Permanent, Transient
from dicom_node.file_meta import is_uid
from dicom_node.retrieval.answers import (
    ImageFound,
    SeriesFound,
    StudyFound,
    Unreadable,
    exact_key,
    image_of,
    names_other,
    series_of,
    study_of,
)
from dicom_node.retrieval.archive import Archive, Stopped

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"

_PENDING = (0xFF00, 0xFF01)
_CANCELLED = 0xFE00
_TRANSIENT = (0xA700, 0x0110)
_STUDY_KEYS = (
    *("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"),
    *("PatientSex", "AccessionNumber", "StudyDate", "ModalitiesInStudy"),
    "NumberOfStudyRelatedInstances",
)
_ABOVE: dict[str, tuple[str, ...]] = {
    "STUDY": (),
    "SERIES": ("StudyInstanceUID",),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID"),
}
_F = TypeVar("_F")
_MOST_EMPTY = 100


class TooMany(Permanent):
    """The archive answers a query more often than it may."""


@dataclass
class Finder:
    """Asks one archive over one association; see :func:`finder`.

    Attributes:
        archive: whom it asks.
        patient_root: whether the archive has no Study Root.
        ends: when asking must end, by :func:`time.monotonic`, however many questions there are.
        ignored: how many answers were about something that was not asked for, or unreadable.
    """

    archive: Archive
    association: Any
    patient_root: bool
    ends: float
    ignored: int = field(default=0)

    @property
    def is_open(self) -> bool:
        """Whether the association still stands."""
        return bool(self.association.is_established)

    def begin(self) -> None:
        """Begin with another study: the time that the questions may take begins anew."""
        self.ends = time.monotonic() + self.archive.total_seconds

    def studies(
        self,
        *,
        study_instance_uid: str = "",
        accession_number: str = "",
        patient_id: str = "",
    ) -> list[StudyFound]:
        """Return the studies with exactly these values, each once, in order of their UIDs.

        Raises:
            Permanent: no value is given, one cannot be asked for as it stands, the archive refuses
                the question or answers too much.
            Transient: it did not answer to the end.
        """
        keys = {
            "StudyInstanceUID": study_instance_uid,
            "AccessionNumber": accession_number,
            "PatientID": patient_id,
        }
        asked = {name: exact_key(value) for name, value in keys.items() if value}
        if not asked:
            raise Permanent("a study is asked for by its UID, accession number or patient")
        if study_instance_uid and not is_uid(study_instance_uid):
            raise Permanent("a Study Instance UID to ask for is no UID")
        if self.patient_root and "PatientID" not in asked:
            raise Permanent("the archive has Patient Root only: a study needs its Patient ID, too")
        query = _query("STUDY", _STUDY_KEYS, asked)
        issuer = Dataset()
        issuer.LocalNamespaceEntityID = issuer.UniversalEntityID = ""
        issuer.UniversalEntityIDType = ""
        query.IssuerOfAccessionNumberSequence = [issuer]
        found: dict[str, StudyFound] = {}
        for each in self._read(query, study_of):
            said = {
                "StudyInstanceUID": each.study_instance_uid,
                "AccessionNumber": each.accession_number,
                "PatientID": each.patient_id,
            }
            if any(said[name] != value for name, value in asked.items()):
                self.ignored += 1
            else:
                found.setdefault(each.study_instance_uid, each)
        return [study for _, study in sorted(found.items())]

    def series(self, study: StudyFound) -> list[SeriesFound]:
        """Return the series of a study; raises as :meth:`studies`."""
        keys = ("SeriesInstanceUID", "Modality", "BodyPartExamined")
        query = _query("SERIES", keys, self._above(study))
        found = {each.series_instance_uid: each for each in self._read(query, series_of)}
        return [each for _, each in sorted(found.items())]

    def images(self, study: StudyFound, series: SeriesFound) -> list[ImageFound]:
        """Return the instances of a series; raises as :meth:`studies`."""
        above = {**self._above(study), "SeriesInstanceUID": series.series_instance_uid}
        query = _query("IMAGE", ("SOPInstanceUID", "SOPClassUID"), above)
        found = {each.sop_instance_uid: each for each in self._read(query, image_of)}
        return [each for _, each in sorted(found.items())]

    def content(self, study: StudyFound, most: int) -> list[ImageFound]:
        """Return the instances of a study, at most ``most`` and one more.

        Raises:
            Permanent, Transient: as :meth:`studies`; also where a hundred series have no instance.
        """
        found: list[ImageFound] = []
        empty = 0
        for series in self.series(study):
            images = self.images(study, series)
            empty += not images
            if empty > _MOST_EMPTY:
                raise Permanent("the archive names series and no instances of them")
            found += images
            if len(found) > most:
                break
        return found[: most + 1]

    def _above(self, study: StudyFound) -> dict[str, str]:
        above = {"StudyInstanceUID": study.study_instance_uid}
        if self.patient_root:
            above["PatientID"] = exact_key(study.patient_id)
        return above

    def _read(self, query: Dataset, read: Callable[[Dataset], _F]) -> Iterator[_F]:
        for answer in self._answers(query):
            try:
                keys = _ABOVE[query.QueryRetrieveLevel]
                if any(names_other(answer, key, str(query[key].value)) for key in keys):
                    raise Unreadable("another study or series")
                found = read(answer)
            except Unreadable:
                self.ignored += 1
            else:
                yield found

    def _answers(self, query: Dataset) -> Iterator[Dataset]:
        """Yield what the archive answers to one C-FIND, up to its last response."""
        kind = PATIENT_ROOT_FIND if self.patient_root else STUDY_ROOT_FIND
        if time.monotonic() > self.ends:
            raise Transient("the questions about one study took longer than they may")
        operation = self.archive.operation(self.association, kind, self.ends)
        try:
            responses = self.association.send_c_find(query, kind)
        except (RuntimeError, ValueError) as error:
            raise Transient("the association ended") from error
        status: int | None = None
        number = 0
        for answer, identifier in responses:
            operation.look()
            status = answer.get("Status")
            if status not in _PENDING:
                break
            number += 1
            if number > self.archive.most_answers:
                operation.cancel("too many answers")
            elif identifier is None:
                self.ignored += 1
            elif not operation.cancelled:
                yield identifier
        too_many = TooMany(f"the archive answers more than {self.archive.most_answers} times")
        try:
            operation.check(status)
        except Stopped:
            raise
        except Transient as error:
            if number > self.archive.most_answers:  # and did not end when cancelled
                raise too_many from error
            raise
        if number > self.archive.most_answers:
            raise too_many
        if status in _TRANSIENT or status == _CANCELLED or operation.cancelled:
            raise Transient("the archive did not complete the query")
        if status != 0x0000:
            raise Permanent(f"the archive refuses the query (status 0x{status:04X})")


@contextmanager
def finder(archive: Archive) -> Iterator[Finder]:
    """Open an association for queries.

    Raises:
        dicom_node.retrieval.archive.Away: the archive cannot be reached.
        Permanent: it has neither Study Root nor Patient Root.
    """
    with archive.association([(STUDY_ROOT_FIND, ()), (PATIENT_ROOT_FIND, ())]) as association:
        accepted = {str(each.abstract_syntax) for each in association.accepted_contexts}
        ends = time.monotonic() + archive.total_seconds
        yield Finder(archive, association, STUDY_ROOT_FIND not in accepted, ends)


def _query(level: str, keys: tuple[str, ...], values: dict[str, str]) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword in (*keys, *values):
        setattr(query, keyword, values.get(keyword, ""))
    if not all(value.isascii() for value in values.values()):
        query.SpecificCharacterSet = "ISO_IR 192"
    return query

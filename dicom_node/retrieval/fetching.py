"""C-MOVE and C-GET of studies (PS3.4 C.4.2, C.4.3), and what their answers mean."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.errors import Permanent, Transient
from dicom_node.requestor import Context
from dicom_node.retrieval.answers import exact_key, uids_of
from dicom_node.retrieval.archive import Archive
from dicom_node.retrieval.receiving import Receiving

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"

GET_ENCODINGS = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE Lossless
)
"""The transfer syntaxes in which a C-GET takes objects."""

_UNCOMPRESSED = 2  # of GET_ENCODINGS
_MOST_CONTEXTS = 128
_MOST_UIDS = 100_000
_PENDING = 0xFF00
_NOTHING_SENT = 0xA702  # Out of resources: unable to perform sub-operations
_RETRY = ((0xA701, 0xA702), (0xC000, 0xCFFF), (0xFE00, 0xFE00), (0x0110, 0x0110))
_REFUSALS = {
    0xA801: "the archive does not know our AE title as a destination",
    0xA900: "the archive cannot match the request with its service",
    0x0122: "the archive does not support the service",
    0x0124: "the archive does not authorise us",
}


@dataclass(frozen=True)
class Part:
    """Instances of one series: what is asked for where not all of a study is missing."""

    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True)
class SubOperations:
    """How a C-MOVE or C-GET ended (PS3.4 C.4.2.1.5 to C.4.2.1.10).

    Attributes:
        status: of the last response.
        remaining, completed, failed, warning: numbers of sub-operations, as last told.
        failed_uids: Failed SOP Instance UID List (0008,0058).
    """

    status: int
    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: tuple[str, ...] = ()

    @property
    def all_done(self) -> bool:
        """Whether the archive says that it sent everything."""
        return self.status == 0x0000 and not self.failed

    def and_then(self, other: SubOperations) -> SubOperations:
        """Return how this one and another together ended; a warning of either stays."""
        return SubOperations(
            self.status or other.status,
            self.remaining + other.remaining,
            self.completed + other.completed,
            self.failed + other.failed,
            self.warning + other.warning,
            self.failed_uids + other.failed_uids,
        )

    @property
    def in_words(self) -> str:
        """What the archive said, for people."""
        counts = f"{self.completed} sent, {self.failed} failed, {self.warning} with a warning"
        return f"status 0x{self.status:04X}: {counts}, {self.remaining} not begun"


def move_study(
    archive: Archive,
    study_instance_uid: str,
    patient_id: str = "",
    *,
    patient_root: bool = False,
    part: Part | None = None,
) -> SubOperations:
    """Have the archive send a study to our receivers (C-MOVE; the destination is our AE title).

    Args:
        archive: whom to ask.
        study_instance_uid: the study.
        patient_id: of its patient; needed with Patient Root.
        patient_root: whether the archive has no Study Root.
        part: what of it, at IMAGE level (PS3.4 C.4.2.2.1); None: all of it.

    Raises:
        dicom_node.retrieval.archive.Away: the archive cannot be reached.
        dicom_node.retrieval.archive.Stopped: we are ending; the archive was told (C-CANCEL).
        Transient: it did not answer to the end, or says that it could not do it now.
        Permanent: it refuses.
    """
    kind = PATIENT_ROOT_MOVE if patient_root else STUDY_ROOT_MOVE
    with archive.association([(kind, ())]) as association:
        identifier = _identifier(study_instance_uid, patient_id, patient_root, part)
        operation = archive.operation(association, kind)
        try:
            responses = association.send_c_move(identifier, archive.calling_ae_title, kind)
        except (RuntimeError, ValueError) as error:
            raise Transient("the association ended") from error
        return _follow(operation, responses)


def get_study(
    archive: Archive,
    study_instance_uid: str,
    receiving: Receiving,
    sop_classes: Collection[str],
    patient_id: str = "",
    *,
    patient_root: bool = False,
    part: Part | None = None,
) -> SubOperations:
    """Take a study over the association that asks for it (C-GET), every object kept durably.

    Args:
        archive: whom to ask.
        study_instance_uid: the study.
        receiving: keeps what comes.
        sop_classes: of the study's objects, 1 to 127.
        patient_id: of its patient; needed with Patient Root.
        patient_root: whether the archive has no Study Root.
        part: as for :func:`move_study`.

    Raises:
        dicom_node.durable.StorageFailed: the disk failed; nothing may be received any more.
        Transient, Permanent: as :func:`move_study`; also where too much came.
    """
    kind = PATIENT_ROOT_GET if patient_root else STUDY_ROOT_GET
    classes = sorted(sop_classes)
    contexts: list[Context] = [(kind, ()), *storage_contexts(classes, _MOST_CONTEXTS - 1)]
    with archive.association(
        contexts,
        roles=[(kind, False, True) for kind in classes],
        store=receiving.store,
        message_bytes=receiving.maximum_object_bytes,
    ) as association:
        accepted = {str(each.abstract_syntax) for each in association.accepted_contexts}
        if kind not in accepted:
            raise Permanent("the archive does not offer C-GET")
        operation = archive.operation(association, kind)
        receiving.on_excess = operation.cancel
        identifier = _identifier(study_instance_uid, patient_id, patient_root, part)
        try:
            responses = association.send_c_get(identifier, kind)
        except (RuntimeError, ValueError) as error:
            raise Transient("the association ended") from error
        try:
            return _follow(operation, responses)
        finally:
            receiving.check()


def storage_contexts(sop_classes: Sequence[str], most: int) -> list[Context]:
    """Return presentation contexts for storage; each encoding by itself where there is room.

    An acceptor takes one transfer syntax of a context. With all of them in one it may take one
    into which it cannot convert what it holds.
    """
    groups = (GET_ENCODINGS[:_UNCOMPRESSED], *((each,) for each in GET_ENCODINGS[_UNCOMPRESSED:]))
    if len(sop_classes) * len(groups) <= most:
        return [(kind, group) for kind in sop_classes for group in groups]
    return [(kind, GET_ENCODINGS) for kind in sop_classes[:most]]


def _identifier(
    study_instance_uid: str, patient_id: str, patient_root: bool, part: Part | None
) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = study_instance_uid
    if part is not None:
        identifier.QueryRetrieveLevel = "IMAGE"
        identifier.SeriesInstanceUID = part.series_instance_uid
        identifier.SOPInstanceUID = list(part.sop_instance_uids)
    if patient_root:
        identifier.PatientID = exact_key(patient_id)
        if not patient_id.isascii():
            identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier


def _follow(operation: Any, responses: Iterator[tuple[Dataset, Dataset | None]]) -> SubOperations:
    """Read responses to the last one and judge it."""
    status: int | None = None
    counts = dict.fromkeys(("remaining", "completed", "failed", "warning"), 0)
    failed: tuple[str, ...] = ()
    for answer, identifier in responses:
        operation.look()
        status = answer.get("Status")
        for name in counts:
            told = answer.get(f"NumberOf{name.capitalize()}Suboperations")
            counts[name] = int(told) if told is not None else counts[name]
        if status != _PENDING:
            failed = uids_of(identifier, "FailedSOPInstanceUIDList", _MOST_UIDS)
            counts["remaining"] = int(answer.get("NumberOfRemainingSuboperations") or 0)
            break
    operation.check(status)
    ended = SubOperations(status or 0, **counts, failed_uids=failed)
    if reason := _REFUSALS.get(ended.status):
        raise Permanent(f"{reason} (0x{ended.status:04X})")
    if operation.cancelled:
        raise Transient(operation.cancelled)
    if ended.status == _NOTHING_SENT and ended.failed and not ended.remaining:
        return ended  # it tried each: which ones failed is worth knowing
    if any(first <= ended.status <= last for first, last in _RETRY):
        raise Transient(f"the archive could not do it ({ended.in_words})")
    if ended.status != 0x0000 and not 0xB000 <= ended.status <= 0xBFFF:
        raise Permanent(f"the archive refuses (0x{ended.status:04X})")
    return ended

"""The query user: asks an archive whose study it holds (PS3.4 Annex C)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.errors import Transient
from dicom_node.requestor import ANSWER_BYTES, NothingAccepted, Peer, Timeouts, associate, release


@dataclass(frozen=True)
class StudyAnswer:
    """What a peer answered about a study.

    Attributes:
        supported: False where the peer refuses the query service; then nothing is known.
        studies: the identifiers of the answers, empty where it does not hold the study.
    """

    supported: bool
    studies: tuple[Dataset, ...] = ()


_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_TOTAL_SECONDS = 120.0
_PENDING = (0xFF00, 0xFF01)
_QUERIED = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "NumberOfStudyRelatedInstances",
)


def find_study_identity(
    peer: Peer,
    calling_ae_title: str,
    study_instance_uid: str,
    timeouts: Timeouts | None = None,
    tls: ssl.SSLContext | None = None,
) -> StudyAnswer:
    """Ask the peer whose study this is (C-FIND, Study Root, PS3.4 C.6.2), for two minutes at most.

    Compare the answer by :func:`dicom_node.sr.identity.identity_conflicts`.

    Raises:
        Transient: the peer cannot be reached or the query failed.
    """
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_instance_uid
    for keyword in _QUERIED:
        setattr(query, keyword, "")
    waits = timeouts or Timeouts()
    waits = replace(waits, total=waits.total or _TOTAL_SECONDS)
    try:
        association = associate(
            peer,
            calling_ae_title,
            [(_STUDY_ROOT_FIND, ())],
            waits,
            tls,
            total_bytes=ANSWER_BYTES,
        )
    except NothingAccepted:
        return StudyAnswer(supported=False)
    try:
        return StudyAnswer(True, tuple(_found(association, query)))
    except RuntimeError as error:
        raise Transient("the association ended") from error
    finally:
        release(association)


def _found(association: Any, query: Dataset) -> Iterator[Dataset]:
    """The pending answers that speak of the study that was asked for, and of no other."""
    status = None
    for answer, identifier in association.send_c_find(query, _STUDY_ROOT_FIND):
        status = answer.get("Status")
        found = "" if identifier is None else str(identifier.get("StudyInstanceUID", "")).strip()
        if status in _PENDING and found == query.StudyInstanceUID:
            yield identifier
    if status != 0x0000:
        raise Transient("the peer did not complete the query")

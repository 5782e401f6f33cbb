"""The search user of DICOMweb: asks an archive whose study it holds (PS3.18 10.6)."""

from __future__ import annotations

import ssl
from urllib.parse import urlencode

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_node.archive_settings import PacsPeer
from dicom_node.dicomweb.dicom_json import Item, read_data_sets, text_of
from dicom_node.dicomweb.media_types import DICOM_JSON
from dicom_node.dicomweb.web_call import WebTimeouts, call
from dicom_node.errors import Transient
from dicom_node.query_scu import StudyAnswer
from dicom_node.sr.identity import MUST_AGREE

_NO_CONTENT = 204
_TRY_AGAIN = frozenset((408, 425, 429))
_NOT_OFFERED = 501


def find_study_identity(
    peer: PacsPeer,
    study_instance_uid: str,
    *,
    tls: ssl.SSLContext | None = None,
    timeouts: WebTimeouts | None = None,
) -> StudyAnswer:
    """Ask the archive whose study this is (QIDO-RS, GET /studies).

    Compare the answer by :func:`dicom_node.sr.identity.identity_conflicts`.

    Raises:
        Transient: the archive cannot be reached or the search failed.
        InvalidSettings: the variable that should hold the credentials does not.
    """
    wanted = [("StudyInstanceUID", study_instance_uid)]
    wanted += [("includefield", each) for each in MUST_AGREE if each != "StudyInstanceUID"]
    answer = call(
        peer,
        "GET",
        f"/studies?{urlencode(wanted)}",
        {"Accept": DICOM_JSON},
        tls=tls,
        timeouts=timeouts,
    )
    if answer.status == _NO_CONTENT:
        return StudyAnswer(True)
    if answer.status == _NOT_OFFERED or _is_refusal(answer.status):
        return StudyAnswer(supported=False)
    try:
        if answer.status != 200:
            raise ValueError("another status")
        found = [_data_set(each) for each in read_data_sets(answer.content)]
    except ValueError:
        raise Transient(f"the archive did not complete the search: HTTP {answer.status}") from None
    return StudyAnswer(
        True, tuple(each for each in found if each.StudyInstanceUID == study_instance_uid)
    )


def _is_refusal(status: int) -> bool:
    return 400 <= status < 500 and status not in _TRY_AGAIN


def _data_set(item: Item) -> Dataset:
    """Return what is compared of an answer; values are not judged, only compared."""
    data_set = Dataset()
    for keyword in MUST_AGREE:
        tag = tag_for_keyword(keyword) or 0
        value = text_of(item, f"{tag:08X}")
        data_set.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    return data_set

"""The store user of DICOMweb: sends stored files to an archive as they are (PS3.18 10.5).

The file is streamed as the only part of a request. What the archive answers is classed as answers
to C-STORE are, so that the caller knows whether trying again can help: only a response that names
the instance as stored is a success.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path

from dicom_node.archive_settings import PacsPeer
from dicom_node.dicom_files import StoredFile, read_stored_file
from dicom_node.dicomweb.dicom_json import Item, items_of, number_of, read_data_sets, text_of
from dicom_node.dicomweb.media_types import DICOM, DICOM_JSON
from dicom_node.dicomweb.outcome import (
    FAILED_SOP_SEQUENCE,
    FAILURE_REASON,
    OTHER_FAILURES_SEQUENCE,
    REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID,
    REFERENCED_SOP_SEQUENCE,
    WARNING_REASON,
)
from dicom_node.dicomweb.web_call import WebAnswer, WebTimeouts, call
from dicom_node.errors import Permanent, Transient
from dicom_node.send_outcomes import Outcome, SendResult, outcome_of

_PIECE_BYTES = 256 * 1024
_SUCCESS = 0x0000
_JSON = (DICOM_JSON, "application/json")
_SPEAKING = (200, 202, 409)
_TRANSIENT = frozenset((408, 425, 429))
_NEVER = frozenset((501, 505))

_Judged = tuple[Outcome, int | None, str]


def store_file(
    peer: PacsPeer,
    path: Path,
    *,
    tls: ssl.SSLContext | None = None,
    timeouts: WebTimeouts | None = None,
) -> SendResult:
    """Send one file to ``peer.stow_url``; every failure is a result.

    The result's status is 0 or the Failure Reason; None where the archive gave none.

    Raises:
        InvalidSettings: the variable that should hold the credentials does not.
    """
    uid = ""
    try:
        stored = read_stored_file(path)
        uid = stored.sop_instance_uid
        answer = _post(peer, stored, tls, timeouts)
    except Transient as error:
        return SendResult(path, uid, None, Outcome.TRANSIENT, str(error))
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        return SendResult(path, uid, None, Outcome.PERMANENT, reason)
    except Permanent as error:
        if not uid:
            return SendResult(path, uid, None, Outcome.PERMANENT, str(error))
        raise
    outcome, status, reason = judge(answer, stored)
    return SendResult(path, uid, status, outcome, reason, answer.retry_after)


def judge(answer: WebAnswer, stored: StoredFile) -> _Judged:
    """Return what an answer means for the one object that was sent, its reason code and why."""
    if answer.status in _SPEAKING:
        if answer.media_type not in _JSON:
            return Outcome.NEEDS_REVIEW, None, f"HTTP {answer.status} without a DICOM JSON answer"
        try:
            return _judge_response(answer, stored)
        except ValueError as error:
            return Outcome.NEEDS_REVIEW, None, f"HTTP {answer.status}, and {error}"
    if answer.status in _TRANSIENT or (answer.status >= 500 and answer.status not in _NEVER):
        return Outcome.TRANSIENT, None, f"the archive answers HTTP {answer.status}"
    if answer.status < 300:
        return Outcome.NEEDS_REVIEW, None, f"HTTP {answer.status}, which no store answers"
    return Outcome.PERMANENT, None, f"the archive answers HTTP {answer.status}"


def _judge_response(answer: WebAnswer, stored: StoredFile) -> _Judged:
    (response, *more) = read_data_sets(answer.content) or [{}]
    if more:
        raise ValueError("the answer holds several responses")
    named = [
        [each for each in items_of(response, tag) if _names(each, stored)]
        for tag in (FAILED_SOP_SEQUENCE, REFERENCED_SOP_SEQUENCE)
    ]
    failed, kept = named
    if failed and kept:
        raise ValueError("the answer names the object as stored and as failed")
    if kept:
        return _judge_kept(answer, kept[0], stored)
    # Its one part was ours, so what failed without a name did, too.
    for item in (*failed, *items_of(response, OTHER_FAILURES_SEQUENCE)):
        return _judge_failed(number_of(item, FAILURE_REASON))
    raise ValueError("the answer does not say what became of the object")


def _judge_kept(answer: WebAnswer, item: Item, stored: StoredFile) -> _Judged:
    if answer.status == 409:
        raise ValueError("the answer names the object as stored all the same")
    if text_of(item, REFERENCED_SOP_CLASS_UID) != stored.sop_class_uid:
        raise ValueError("the answer names the object with another SOP class")
    warned = number_of(item, WARNING_REASON)
    return Outcome.DELIVERED, _SUCCESS, "stored with a warning" if warned else ""


def _judge_failed(code: int | None) -> _Judged:
    if code is None:
        return Outcome.NEEDS_REVIEW, None, "the archive did not store it and gives no reason"
    outcome, reason = outcome_of(code)
    if outcome is Outcome.DELIVERED:
        return Outcome.NEEDS_REVIEW, code, "the archive names a success as the reason of a failure"
    return outcome, code, reason


def _names(item: Item, stored: StoredFile) -> bool:
    return text_of(item, REFERENCED_SOP_INSTANCE_UID) == stored.sop_instance_uid


def _post(
    peer: PacsPeer,
    stored: StoredFile,
    tls: ssl.SSLContext | None,
    timeouts: WebTimeouts | None,
) -> WebAnswer:
    boundary = secrets.token_hex(16)
    # Without a transfer-syntax parameter, which the file states itself: Orthanc 1.10 passes over
    # parts that have one, and answers 200.
    head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode("ascii")
    tail = f"\r\n--{boundary}--\r\n".encode("ascii")
    headers = {
        "Content-Type": f'multipart/related; type="{DICOM}"; boundary={boundary}',
        "Content-Length": str(len(head) + stored.path.stat().st_size + len(tail)),
        "Accept": DICOM_JSON,
    }
    body = _body(head, stored.path, tail)
    return call(peer, "POST", "/studies", headers, body, tls=tls, timeouts=timeouts)


def _body(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
    yield tail

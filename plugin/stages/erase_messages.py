"""Which HL7 messages mention a patient: by what was taken from them, and by their own bytes.

A message of which rows were made is judged by those rows, since they know the issuer that an
identifier without one was given. One that was ignored or quarantined is judged by its bytes: an
identifier without an issuer then counts as the patient's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlmodel import Session, col, select

from dicom_node.linking.models import ImagingOrder
from dicom_node.models import Message, Report
from dicom_node.reports.models import ReportInput
from plugin.stages.erase_filed import messages_of
from plugin.stages.erase_whom import Subject
from training.folds import Identity

# Fields that hold patient identifiers (HL7 v2, 3.4.2 and 3.4.10); MRG also holds account numbers.
_FIELDS = {b"PID": (2, 3, 4, 18), b"MRG": (1, 2, 3, 4)}
# HL7 v2, 2.7.1, with the usual delimiters.
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})
_LINES = re.compile(rb"[\r\n]+")


def messages_about(session: Session, subject: Subject) -> set[int]:
    """Return the ids of the messages that mention the patient or one of the patient's studies."""
    found = _by_rows(session, subject)
    judged = _with_rows(session)
    uids = [uid.encode() for uid in subject.studies]
    query = select(Message.id, Message.content).execution_options(yield_per=200)
    for key, content in session.exec(query):
        if key is None or key in found:
            continue
        plain = _narrow(content)
        if any(uid in plain for uid in uids) or (
            key not in judged and _names_patient(plain, subject)
        ):
            found.add(key)
    return found


def _by_rows(session: Session, subject: Subject) -> set[int]:
    reports = select(Report.message_id).where(col(Report.id).in_(subject.reports))
    found = {key for key in session.exec(reports) if key is not None}
    return found | messages_of(session, subject)


def _with_rows(session: Session) -> set[int]:
    columns = (
        Report.message_id,
        ReportInput.message_id,
        ImagingOrder.message_id,
    )
    # Not those with events of patients alone: their rows name but one of the identifiers.
    return {
        key
        for column in columns
        for key in session.exec(select(column).distinct())
        if key is not None
    }


def _narrow(content: bytes) -> bytes:
    """Return UTF-16 as UTF-8, so that every message can be searched alike."""
    if b"\x00" not in content:
        return content
    codec = "utf-16-be" if content[:1] == b"\x00" or content[:2] == b"\xfe\xff" else "utf-16-le"
    return content.decode(codec, "replace").encode("utf-8", "replace")


def _names_patient(content: bytes, subject: Subject) -> bool:
    forms = {
        form: (issuer, value)
        for issuer, value in subject.identities
        if value
        for form in _forms(value)
    }
    if not any(form in content for form in forms):
        return False
    if not content.startswith(b"MSH") or len(content) < 8:
        return any(re.search(rb"(?<!\w)" + re.escape(form) + rb"(?!\w)", content) for form in forms)
    return any(_is(each, subject.identities) for each in _identifiers(content))


def _forms(value: str) -> set[bytes]:
    """Return the bytes in which an identifier may stand in a message."""
    texts = (value, value.translate(_ESCAPES))
    return {text.encode(codec, "replace") for text in texts for codec in ("utf-8", "latin-1")}


def _identifiers(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield identifier and assigning authority of every repetition in PID and MRG."""
    separator, repetition = content[3:4], content[5:6] or b"~"
    component, part = content[4:5], content[7:8]
    for line in _LINES.split(content):
        numbers = _FIELDS.get(line[:3], ())
        fields = line.split(separator)
        for number in numbers:
            if number >= len(fields):
                continue
            for each in fields[number].split(repetition):
                parts = each.split(component)
                authority = parts[3] if len(parts) > 3 else b""
                yield parts[0].strip(), authority.split(part)[0].strip() if part else authority


def _is(identifier: tuple[bytes, bytes], identities: set[Identity]) -> bool:
    value, authority = identifier
    return any(
        value in _forms(known) and authority in (b"", *_forms(issuer))
        for issuer, known in identities
        if known
    )

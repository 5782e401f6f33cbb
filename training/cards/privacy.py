"""Nothing in a card identifies a patient: words of persons and peers are held against the index.

Keys, UIDs of studies, names, numbers and dates of patients are never put into a card. What people
wrote as a reason, or a scanner as its name, may hold one all the same; where it does, it goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlmodel import Session, select

from dicom_node.models import Report, Study
from training.cards.subject import FreeText

REMOVED = "[removed: it may identify a patient]"
SHORTEST = 4
"""Characters of an identifier or part of a name; shorter ones are words of every text."""

_UID = re.compile(r"(?<![\w.])[0-2](?:\.\d+){3,}(?![\w])")
_OTHER = re.compile(r"[\s^=,;]+")


def without_uids(text: str) -> str:
    """Return a text in which every DICOM UID is the word "(UID)"."""
    return _UID.sub("(UID)", text)


def redacted(session: Session, facts: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Return facts without what may identify a patient of the node, and how many texts held it.

    Looked through is every ``FreeText``: for UIDs, and for each patient's and report's identifiers,
    accession numbers, birth dates and parts of names, as whole words, without case.
    """
    texts = sorted({each for each in _leaves(facts) if each})
    found = {each: without_uids(each) for each in texts}
    blob = "\n".join(texts).casefold()
    known = {word for word in _identifiers(session) if word in blob} if blob else set()
    for word in sorted(known, key=len, reverse=True):
        pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
        found = {each: pattern.sub(REMOVED, text) for each, text in found.items()}
    changed = {each: text for each, text in found.items() if text != each}
    whole: dict[str, Any] = _mapped(facts, lambda each: changed.get(each, str(each)))
    return whole, len(changed)


def _identifiers(session: Session) -> Iterator[str]:
    """Yield what could identify a patient, without case, row by row."""
    for table in (Study, Report):
        query = select(
            table.patient_id,
            table.accession_number,
            table.patient_name,
            table.patient_birth_date,
        )
        for patient_id, accession, name, born in session.exec(query.distinct()):
            values = [patient_id, accession, *_OTHER.split(name), *_dates(born)]
            yield from (each.casefold() for each in values if len(each) >= SHORTEST)


def _dates(born: str) -> Iterable[str]:
    """Return a birth date, YYYYMMDD, as people write it."""
    if len(born) < 8:
        return ()
    year, month, day = born[:4], born[4:6], born[6:8]
    return born[:8], f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{month}/{day}/{year}"


def _leaves(value: Any) -> Iterator[FreeText]:
    if isinstance(value, FreeText):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)


def _mapped(value: Any, change: Callable[[FreeText], str]) -> Any:
    if isinstance(value, FreeText):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(each, change) for each in value]
    return value

"""Nothing in a card identifies a patient: words of persons and peers are held against the index.

Keys, UIDs of studies, names, numbers and dates of patients are never put into a card. What people
wrote as a reason, or a scanner as its name, may hold one all the same; where it does, it goes.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any

from sqlmodel import Session, select

from dicom_node.models import Report, Study
from training.cards.subject import FreeText

REMOVED = "[removed: it may identify a patient]"
SHORTEST = 4
"""Characters of an identifier or part of a name; shorter ones are words of every text."""

# Of three parts are numbers of versions, too: only the root of UUIDs makes so short a one a UID.
_UID = re.compile(r"(?<![\w.])(?:[0-2](?:\.\d+){3,}|2\.25\.\d{6,})(?!\w)")
_APART = re.compile(r"[\W_]+")
_BETWEEN = r"[\W_]{0,2}"
_APART_IN_DATES = r"[\W_]{1,3}"  # without them it could be any number, such as a count of studies
_OTHER = re.compile(r"[\s^=,;]+")


def without_uids(text: str) -> str:
    """Return a text in which every DICOM UID is the word "(UID)"."""
    return _UID.sub("(UID)", text)


def redacted(session: Session, facts: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Return facts without what may identify a patient of the node, and how many texts held it.

    Looked through is every ``FreeText``: for UIDs, and for each patient's and report's identifiers,
    accession numbers, birth dates and parts of names, as whole words, without case, also where
    blanks or signs stand inside them.
    """
    texts = sorted({each for each in _leaves(facts) if each})
    found = {each: without_uids(each) for each in texts}
    blob = "\n".join(_condensed(each) for each in texts)
    known = {word for word in _identifiers(session) if _condensed(word) in blob} if blob else set()
    for word in sorted(known, key=len, reverse=True):
        pattern = re.compile(rf"(?<!\w){_spelled(word)}(?!\w)", re.IGNORECASE)
        found = {each: pattern.sub(REMOVED, text) for each, text in found.items()}
    changed = {each: text for each, text in found.items() if text != each}
    whole: dict[str, Any] = _mapped(facts, lambda each: changed.get(each, str(each)))
    return whole, len(changed)


def _condensed(text: str) -> str:
    """Return letters and digits alone, without case."""
    return _APART.sub("", text).casefold()


def _spelled(word: str) -> str:
    """Return a pattern of a word and of its spellings with blanks or signs inside.

    Parts of a date, which stand here with "/" in between, always have something in between.
    """
    if "/" in word:
        return _APART_IN_DATES.join(map(re.escape, word.split("/")))
    return _BETWEEN.join(map(re.escape, _condensed(word)))


def _identifiers(session: Session) -> Iterator[str]:
    """Yield what could identify a patient, without case, row by row; each birth date once."""
    born: set[str] = set()
    for table in (Study, Report):
        query = select(
            table.patient_id,
            table.accession_number,
            table.patient_name,
            table.patient_birth_date,
        )
        for patient_id, accession, name, birth_date in session.exec(query.distinct()):
            born.add(birth_date)
            values = [patient_id, accession, *_OTHER.split(name)]
            yield from (each.casefold() for each in values if len(_condensed(each)) >= SHORTEST)
    for birth_date in sorted(born):
        yield from (each.casefold() for each in _dates(birth_date))


def _dates(born: str) -> Iterable[str]:
    """Return a birth date, YYYYMMDD, as people write it."""
    if len(born) < 8:
        return ()
    try:
        date = dt.date(int(born[:4]), int(born[4:6]), int(born[6:8]))
    except ValueError:
        return (born[:8],)
    years = (f"{date.year}", f"{date.year % 100:02}")
    days = (str(date.day), f"{date.day:02}")
    months = (
        str(date.month),
        f"{date.month:02}",
        calendar.month_abbr[date.month],
        calendar.month_name[date.month],
    )
    spelled = {
        order
        for year, month, day in product(years, months, days)
        for order in (f"{day}/{month}/{year}", f"{month}/{day}/{year}", f"{year}/{month}/{day}")
    }
    return [born[:8], *sorted(spelled)]


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

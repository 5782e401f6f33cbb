"""What may remain of a value: words of a closed list, well-formed numbers, moved dates.

Nothing is recognised as identifying here; everything is removed that is not recognised as harmless.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable

from dicom_node.deidentification.attributes import words

REMOVED = "REMOVED"
"""Stands where an attribute must have a value and its own had to go."""

_WORD = re.compile(r"[a-z0-9]+")
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_AGE = re.compile(r"(\d{3})([DWMY])")
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_DATE_TIME = re.compile(r"(\d{8})((?:\d{2}){0,3}(?:\.\d{1,6})?(?:[+-]\d{4})?)")
_TIME = re.compile(r"(\d{2}(:?\d{2}(:?\d{2}(\.\d{1,6})?)?)?)")
_OLDEST = 89  # years; older people are one group (45 CFR 164.514(b)(2)(i)(C))


def clean_text(text: str) -> str:
    """Return the words of a text that stand in the closed list, in upper case and in order."""
    return " ".join(word.upper() for word in _WORD.findall(text.lower()) if word in words())


def clean_code_string(text: str) -> str:
    """Return a code string (CS) as it is where it has the form of one."""
    return text if _CODE_STRING.fullmatch(text) else REMOVED


def is_number(text: str) -> bool:
    """Tell whether a decimal or integer string is a number of at most 16 characters."""
    return len(text.strip()) <= 16 and bool(_NUMBER.fullmatch(text.strip()))


def clean_age(text: str) -> str:
    """Return an age string (AS); everybody of 90 years and more is 90; else empty."""
    match = _AGE.fullmatch(text.strip())
    if not match:
        return ""
    years = int(match[1]) if match[2] == "Y" else 0
    return "090Y" if years > _OLDEST else match[0]


def shifted_date(text: str, days: int) -> str:
    """Return a date (DA) moved into the past; empty where it is none."""
    match = _DATE.fullmatch(text.strip())
    if not match:
        return ""
    try:
        moved = dt.date(*map(int, match.groups())) - dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"


def shifted_date_time(text: str, days: int) -> str:
    """Return a date and time (DT) moved by whole days; empty where the date is not whole."""
    match = _DATE_TIME.fullmatch(text.strip())
    date = shifted_date(match[1], days) if match else ""
    return date + match[2] if match and date else ""


def clean_time(text: str) -> str:
    """Return a time of day (TM) where it has the form of one; whole days do not move it."""
    return text.strip() if _TIME.fullmatch(text.strip()) else ""


class Names:
    """Words by which the original names its patient; what holds one of them never remains.

    A second net behind the rules: it catches a name that was put where only terms belong.
    """

    def __init__(self, identifying: Iterable[str]) -> None:
        found = {word for text in identifying for word in re.findall(r"\w+", text.casefold())}
        whole = {"".join(re.findall(r"\w+", text.casefold())) for text in identifying}
        self._long = {word for word in found | whole if len(word) >= 4}
        self._short = {word for word in found if len(word) == 3}

    def are_in(self, text: str) -> bool:
        """Tell whether a text names the patient."""
        folded = text.casefold()
        parts = re.findall(r"\w+", folded)
        joined = "".join(parts)
        return any(
            word in folded or word in joined for word in self._long
        ) or not self._short.isdisjoint(parts)

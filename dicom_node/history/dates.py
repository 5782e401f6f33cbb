"""Dates and times of old tables, by forms that were written down; nothing is guessed.

A form is text with the words YYYY, MM, DD, hh, mm and ss, for example ``DD.MM.YYYY hh:mm``. The
words ``hh``, ``mm`` and ``ss`` take one or two digits, and so do MM and DD next to a separator.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache

_WORDS = ("YYYY", "MM", "DD", "hh", "mm", "ss")
_ANY_WORD = re.compile("|".join(_WORDS))
_GROUPS = {"YYYY": "year", "MM": "month", "DD": "day", "hh": "hour", "mm": "minute", "ss": "second"}

COMMON_FORMS = (
    "YYYYMMDDhhmmss",
    "YYYYMMDDhhmm",
    "YYYYMMDD",
    "YYYY-MM-DD hh:mm:ss",
    "YYYY-MM-DDThh:mm:ss",
    "YYYY-MM-DD hh:mm",
    "YYYY-MM-DD",
    "YYYY/MM/DD hh:mm:ss",
    "YYYY/MM/DD",
    "DD.MM.YYYY hh:mm:ss",
    "DD.MM.YYYY hh:mm",
    "DD.MM.YYYY",
    "DD/MM/YYYY hh:mm:ss",
    "DD/MM/YYYY hh:mm",
    "DD/MM/YYYY",
    "MM/DD/YYYY hh:mm:ss",
    "MM/DD/YYYY hh:mm",
    "MM/DD/YYYY",
    "DD-MM-YYYY",
    "MM-DD-YYYY",
)
"""Forms that a proposal tries, those without doubt first."""


def check_form(form: str) -> None:
    """Check a form.

    Raises:
        ValueError: it lacks year, month or day, names one twice, or times without what is above.
    """
    words = _ANY_WORD.findall(form)
    if len(words) != len(set(words)):
        raise ValueError(f"{form!r} names a part twice")
    if not {"YYYY", "MM", "DD"} <= set(words):
        raise ValueError(f"{form!r} needs YYYY, MM and DD")
    times = [word for word in _WORDS[3:] if word in words]
    if times != list(_WORDS[3 : 3 + len(times)]):
        raise ValueError(f"{form!r} has minutes without hours, or seconds without minutes")


def read_time(text: str, forms: tuple[str, ...]) -> str | None:
    """Return a date or time as HL7 writes it (``YYYYMMDD[hhmm[ss]]``); None where no form fits.

    A text that fits two forms with different outcomes fits none. A time of 00:00:00 stays.
    """
    found = {read for form in forms if (read := _read(text, form)) is not None}
    return found.pop() if len(found) == 1 else None


def fits(text: str, form: str) -> bool:
    """Tell whether a text is a date of this form."""
    return _read(text, form) is not None


def _read(text: str, form: str) -> str | None:
    match = _pattern(form).fullmatch(text)
    if match is None:
        return None
    parts = {name: int(value) for name, value in match.groupdict().items()}
    try:
        moment = dt.datetime(**parts)  # type: ignore[arg-type]  # the values are integers
    except ValueError:
        return None
    length = 8 + 2 * (len(parts) - 3)
    # The year has four digits by the pattern; strftime would not pad those before 1000.
    written = f"{moment.year:04d}{moment:%m%d%H%M%S}"
    return written[: max(length, 12)] if length > 8 else written[:8]


@lru_cache(maxsize=64)
def _pattern(form: str) -> re.Pattern[str]:
    words = list(_ANY_WORD.finditer(form))
    pieces = []
    position = 0
    for number, match in enumerate(words):
        pieces.append(re.escape(form[position : match.start()]))
        touching = (match.start() == position and number > 0) or (
            number + 1 < len(words) and words[number + 1].start() == match.end()
        )
        word = match.group()
        digits = "[0-9]{4}" if word == "YYYY" else "[0-9]{2}" if touching else "[0-9]{1,2}"
        pieces.append(f"(?P<{_GROUPS[word]}>{digits})")
        position = match.end()
    pieces.append(re.escape(form[position:]))
    return re.compile("".join(pieces))

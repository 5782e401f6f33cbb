"""Times of HL7 v2 (TS, DTM: ``YYYY[MM[DD[HH[MM[SS[.ffff]]]]]][+ZZZZ]``) brought into one order.

Messages are put in order by the times that their senders wrote, so two questions matter: which
zone a time without one is in (the feed profile may know), and how times compare as text.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from functools import lru_cache

_TIME = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,9}))?)?)?)?)?)?([+-]\d{4})?",
    re.ASCII,
)
_LONGEST = 40  # characters; the longest that the standard allows has 24


def with_zone(text: str, time_zone: str) -> str:
    """Append the offset of a zone to a time of day that has none.

    Dates without a time of day, times with an offset and what is no time stay as they are. A time
    that a change of clocks makes ambiguous is taken for the earlier of the two.

    Args:
        text: a time as sent.
        time_zone: IANA name; empty: nothing is appended.
    """
    if not time_zone or len(text) > _LONGEST:
        return text
    match = _TIME.fullmatch(text)
    if match is None or match[4] is None or match[8]:
        return text
    return text + _offset(text[:12], time_zone)


@lru_cache(maxsize=8192)
def comparable(text: str, time_zone: str = "") -> str:
    """Return a text whose order is the order of time, or an empty one where there is no time.

    All results have the same length: UTC, to the microsecond, a time that is cut short counting
    from its beginning. Without an offset and without ``time_zone`` the time is taken for UTC: the
    order is then total, though between such a time and others it may be off by the offset.
    """
    match = _TIME.fullmatch(with_zone(text, time_zone)) if len(text) <= _LONGEST else None
    moment = _moment(match) if match else None
    if match is None or moment is None:
        return ""
    if zone := match[8]:
        minutes = int(zone[1:3]) * 60 + int(zone[3:])
        try:
            moment -= dt.timedelta(minutes=-minutes if zone[0] == "-" else minutes)
        except OverflowError:
            return ""
    return f"{moment:%Y%m%d%H%M%S%f}".rjust(20, "0")


def _moment(match: re.Match[str]) -> dt.datetime | None:
    year, month, day, hour, minute, second = (
        int(match[number] or least) for number, least in enumerate((1, 1, 1, 0, 0, 0), start=1)
    )
    fraction = int((match[7] or "").ljust(6, "0")[:6])
    leap = dt.timedelta(seconds=1) if second == 60 else dt.timedelta()
    try:
        moment = dt.datetime(year, month, day, hour, minute, min(second, 59), fraction)
        return moment + leap if second <= 60 else None
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def _offset(minute: str, time_zone: str) -> str:
    """Return the offset of a zone in a minute of its own time; empty where there is none."""
    match = _TIME.fullmatch(minute)
    moment = _moment(match) if match else None
    if moment is None:
        return ""
    try:
        offset = moment.replace(tzinfo=zoneinfo.ZoneInfo(time_zone)).utcoffset()
    except OverflowError:
        return ""
    minutes = round((offset or dt.timedelta()).total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"

"""Splits that ask whether a model holds elsewhere: after a date, or at a site it never saw.

They come on top of folds by patient and never move a patient to another fold: a study that lies on
the wrong side for its patient's fold is left out, and says why. So nobody stands on two sides.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from training.errors import Permanent

UNKNOWN = "unknown"
SEVERAL = "several"
"""What a study's site is called where its images name none, or more than one."""

_DATE = re.compile(r"[0-9]{8}")

Side = Literal["train", "test"]


@dataclass(frozen=True)
class Split:
    """Which studies test and which do not.

    Args:
        kind: "temporal", tested from a date on; "site", tested at one site.
        value: the date, YYYYMMDD; or the site, as Institution Name (0008,0080) has it, whatever
            its case and blanks.

    Raises:
        Permanent: the value is no date, or names no site.
    """

    kind: Literal["temporal", "site"]
    value: str

    def __post_init__(self) -> None:
        if self.kind == "temporal" and not _is_date(self.value):
            raise Permanent("a temporal split needs a date, YYYYMMDD")
        if self.kind == "site" and plain_name(self.value) in ("", UNKNOWN, SEVERAL):
            raise Permanent("a split by site needs the name of a site")

    def side(self, date: str, site: str) -> Side | None:
        """Return on which side a study lies by itself; None where nobody can say."""
        if self.kind == "temporal":
            return _side(date >= self.value) if _is_date(date) else None
        if site in ("", UNKNOWN, SEVERAL):
            return None
        return _side(plain_name(site) == plain_name(self.value))

    def refusal(self, fold: str | None, date: str, site: str) -> str:
        """Return why a study cannot be in its patient's fold; empty where it can.

        Args:
            fold: "train", "validation" or "test".
            date: Study Date (0008,0020).
            site: from ``attributes.sites_of``.
        """
        side = self.side(date, site)
        if side is None:
            return "study date unknown" if self.kind == "temporal" else f"site: {site}"
        if (side == "test") == (fold == "test"):
            return ""
        if self.kind == "temporal":
            return (
                "before the date from which is tested, of a test patient"
                if fold == "test"
                else "after the date up to which is trained"
            )
        return (
            "at a site that trains, of a test patient"
            if fold == "test"
            else "at the site that is left out of training"
        )


@dataclass(frozen=True)
class StudyFacts:
    """What a split asks of a study; ``patient`` is whatever tells patients apart."""

    study: str
    patient: str
    date: str = ""
    site: str = UNKNOWN


@dataclass(frozen=True)
class Placed:
    """The side of a study; None with the reason where it is on neither."""

    side: Side | None
    reason: str = ""


def placed(studies: Iterable[StudyFacts], split: Split) -> dict[str, Placed]:
    """Return the side of every study where each has a reference label, and no fold decides.

    A patient with a study on the test side is a test patient: the patient's other studies are left
    out. So the test set holds everybody whom the model will meet there, and it knows none of them.
    """
    studies = list(studies)
    tested = {each.patient for each in studies if split.side(each.date, each.site) == "test"}
    found = {}
    for each in studies:
        fold = "test" if each.patient in tested else "train"
        reason = split.refusal(fold, each.date, each.site) if each.patient else "patient unknown"
        found[each.study] = Placed(None if reason else _side(fold == "test"), reason)
    return found


def leave_one_site_out(studies: Iterable[StudyFacts]) -> Mapping[str, dict[str, Placed]]:
    """Return for each site the split that tests there and trains at all the others."""
    studies = list(studies)
    names = sorted({each.site for each in studies} - {"", UNKNOWN, SEVERAL})
    sites = {plain_name(name): name for name in reversed(names)}
    return {name: placed(studies, Split("site", name)) for _, name in sorted(sites.items())}


def plain_name(site: str) -> str:
    """Return the name of an institution by which two are compared: without case and blanks."""
    return "".join(site.split()).casefold()


def _is_date(text: str) -> bool:
    """Tell whether a text is a day of the calendar, YYYYMMDD."""
    if not _DATE.fullmatch(text):
        return False
    try:
        dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _side(tests: bool) -> Side:
    return "test" if tests else "train"

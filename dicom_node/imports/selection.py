"""Which studies an import is of: by study date, by a list, and none that may still be on its way.

A study that begins with an imported image is never answered (:mod:`dicom_node.solicited`). One of
these days may be on its way from the modality or its router at this moment: imported a second
before its first routed image came, it would never be answered, though somebody waits for it. So
young studies are left out until somebody says that they are wanted all the same.
"""

from __future__ import annotations

import codecs
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from dicom_node.errors import Permanent
from dicom_node.study_finder import STUDY_INSTANCE_UID

YOUNG_DAYS = 7
"""So long an image of a study may come by its own route after the day of the study."""

STUDY_DATE, ACCESSION_NUMBER = 0x00080020, 0x00080050

WANTED = (STUDY_DATE, ACCESSION_NUMBER, STUDY_INSTANCE_UID)
"""Tags that a selection goes by."""

_MOST_STUDIES = 1_000_000
_LONGEST_LINE = 64
# The dots are of the standard before 1993 (PS3.5 6.2, DA).
_DATE = re.compile(r"([0-9]{4})(\.?)([0-9]{2})\2([0-9]{2})")


class Verdict(Enum):
    """Whether an object is of a study that is wanted."""

    WANTED = auto()
    OTHER_STUDY = auto()
    YOUNG = auto()
    UNKNOWN = auto()  # it does not say what was asked by


@dataclass
class Selection:
    """The studies that are wanted; by default all.

    Attributes:
        since: first study date.
        before: the study date behind the last.
        young_since: from this study date on studies are young; None: none is.
        studies: Study Instance UIDs and accession numbers; None: all.
        met: those of ``studies`` of which an object came by.
    """

    since: dt.date | None = None
    before: dt.date | None = None
    young_since: dt.date | None = None
    studies: frozenset[str] | None = None
    met: set[str] = field(default_factory=set)

    def judge(self, values: Mapping[int, str]) -> tuple[Verdict, str]:
        """Return whether an object is wanted and, where it cannot be told, why.

        Args:
            values: of the elements :data:`WANTED` that it has.
        """
        if self.studies is not None:
            found = (values.get(tag, "").strip() for tag in (STUDY_INSTANCE_UID, ACCESSION_NUMBER))
            names = set(found) - {""}
            if not names:
                return Verdict.UNKNOWN, "it names no study, and some studies were asked for"
            if not names & self.studies:
                return Verdict.OTHER_STUDY, ""
            self.met |= names & self.studies
        day = _day(values.get(STUDY_DATE, ""))
        if day is None:
            if self.since or self.before:
                return Verdict.UNKNOWN, "it has no study date, and studies were asked for by date"
            return Verdict.WANTED, ""
        if (self.since and day < self.since) or (self.before and day >= self.before):
            return Verdict.OTHER_STUDY, ""
        if self.young_since and day >= self.young_since:
            return Verdict.YOUNG, ""
        return Verdict.WANTED, ""

    @property
    def unmet(self) -> frozenset[str]:
        """Those of ``studies`` of which nothing came by."""
        return (self.studies or frozenset()) - self.met


def read_studies(path: Path) -> frozenset[str]:
    """Read a list of Study Instance UIDs and accession numbers, one a line.

    Blank lines and those that begin with # are none. Numbers are ASCII: what others are called
    depends on the character set of each object.

    Raises:
        Permanent: it is no such list, or empty.
        OSError: it cannot be read.
    """
    found: set[str] = set()
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 3), b""), start=1):
            text = line.removeprefix(codecs.BOM_UTF8).strip().decode("ascii", "replace")
            if text.startswith("#"):
                continue
            if len(text) > _LONGEST_LINE or not text.isprintable() or "\ufffd" in text:
                raise Permanent(
                    f"line {number} of the list of studies is no UID and no ASCII number"
                )
            found.add(text)
            if len(found) > _MOST_STUDIES:
                raise Permanent(f"a list names at most {_MOST_STUDIES} studies")
    found.discard("")
    if not found:
        raise Permanent("the list of studies names none")
    return frozenset(found)


def _day(text: str) -> dt.date | None:
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        return dt.date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None

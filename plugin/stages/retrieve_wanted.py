"""What an archive holds of a study that is to be fetched, and what of it is missing here."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from dicom_node.retrieval.answers import ImageFound, StudyFound
from dicom_node.retrieval.fetching import Part
from dicom_node.retrieval.models import Retrieval

_PART_UIDS = 500  # of one request: a list of UIDs has at most 64 KiB
_MOST_PARTS = 20


@dataclass(frozen=True)
class Wanted:
    """A study that an archive holds and that is to be fetched, and what it consists of.

    ``images`` is None where the archive does not answer at image level.
    """

    study: StudyFound
    images: tuple[ImageFound, ...] | None
    patient_root: bool

    @property
    def uids(self) -> frozenset[str] | None:
        """The SOP Instance UIDs, where they are known."""
        return None if self.images is None else frozenset(i.sop_instance_uid for i in self.images)

    @property
    def number(self) -> int | None:
        """How many instances there are, where that is known."""
        return self.study.instances if self.images is None else len(self.images)

    def is_whole(self, here: set[str], failed: int = 0) -> bool:
        """Tell whether all of it is among the instances that are here.

        A number alone says nothing once the archive failed to send some: others may be here.
        """
        if self.uids is not None:
            return self.uids <= here
        return not failed and bool(self.number) and len(here) >= (self.number or 0)

    def parts(self, here: set[str]) -> list[Part]:
        """Return what is missing, series by series; empty: the whole study is asked for.

        That is where nothing of it is here, or where the archive does not tell the series.
        """
        if self.uids is None or self.uids.isdisjoint(here):
            return []
        missing: dict[str, list[str]] = {}
        for image in self.images or ():
            if image.sop_instance_uid not in here:
                missing.setdefault(image.series_instance_uid, []).append(image.sop_instance_uid)
        parts = [
            Part(series, tuple(uids[start : start + _PART_UIDS]))
            for series, uids in sorted(missing.items())
            for start in range(0, len(uids), _PART_UIDS)
        ]
        return [] if "" in missing or len(parts) > _MOST_PARTS else parts


def lack_of(uids: Collection[str] | None, here: set[str]) -> str:
    """Return what tells one lack from another; empty where nothing of the study is here."""
    if not uids:
        return f"{len(here)} are here" if here else ""
    missing = sorted(set(uids) - here)
    if len(missing) == len(set(uids)):
        return ""
    return hashlib.sha256("\n".join(missing).encode()).hexdigest()


def has_come(row: Retrieval, here: set[str]) -> bool:
    """Tell whether all that a row waits for is here.

    Without UIDs the archive's numbers decide, and only where it says that it sent everything.
    """
    if row.wanted_uids:
        return here.issuperset(row.wanted_uids)
    if row.detail or row.failed:
        return False
    number = row.expected or row.completed
    return bool(number) and len(here) >= number

"""Which members of a cohort may leave the node: the question that every export asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from training.cohort import withdrawn
from training.membership import Ground, standing_of
from training.models import Cohort, CohortMember
from training.standing import Fault


@dataclass(frozen=True)
class Exportable:
    """What may leave, and what stays.

    Attributes:
        members: those that stand as they were frozen.
        held_back: how many do not, by fault; names nobody.
        withdrawn: the tombstones of the manifest (``training.cohort.withdrawn``).
    """

    members: tuple[CohortMember, ...]
    held_back: dict[str, int]
    withdrawn: list[dict[str, Any]]


def members_for_export(session: Session, ground: Ground, cohort: Cohort) -> Exportable:
    """Return the members that may be exported now, by Study Instance UID.

    A member with any fault stays: one whose patient has opted out, whose link or report was
    withdrawn, whose study is frozen or has other images. A patient who has another identity since
    and stands in one fold is no reason.
    """
    members, held = [], dict[str, int]()
    for each in standing_of(session, ground, cohort):
        if each.fault in (None, Fault.MOVED):
            members.append(each.member)
        else:
            held[str(each.fault)] = held.get(str(each.fault), 0) + 1
    return Exportable(tuple(members), held, withdrawn(session, cohort))

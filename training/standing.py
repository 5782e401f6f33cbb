"""Whether what a cohort was frozen with still holds: one fault for each member that does not.

A cohort keeps its digest. What came after it (a correction, a withdrawal, a merge, a duplicate) is
a pure function of what the tables say now; ``training.membership`` asks them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.linking.decision import CONFIRMED
from dicom_node.reports.status import EFFECTS, FINAL_STATUSES, Effect
from dicom_node.retrieval.comparing import Difference
from training.models import CohortMember


class Fault(StrEnum):
    """Why a member does not stand any more, the gravest first."""

    OPTED_OUT = "its patient has opted out of research"
    TWO_FOLDS = "its patient stands in another fold too"
    REJECTED = "its images were rejected as unsafe or as another's"
    WITHDRAWN = "its report was withdrawn or cancelled"
    LINK = "its link is not confirmed any more"
    FROZEN = "an object of the study is in quarantine"
    NOT_FINAL = "its report is provisional again"
    CORRECTED = "its report has a later version"
    SEVERAL = "it has several final reports"
    IMAGES = "its images are others"
    PACS_IDENTITY = "its identity differs in the PACS"
    PACS_ABSENT = "the PACS does not hold its study any more"
    PACS_IMAGES = "the PACS does not hold all of its images any more"
    MOVED = "its patient has another identity"


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a fault of a member means for trainings.

    Args:
        stops: a training does not start on such a member.
        spoils: weights that learned from such a member are thrown away when training ends.
        taints: a model that learned from such a member is said to have done so.
    """

    stops: bool
    spoils: bool
    taints: bool


CONSEQUENCES: Mapping[Fault, Consequence] = {
    Fault.OPTED_OUT: Consequence(stops=True, spoils=True, taints=True),
    Fault.TWO_FOLDS: Consequence(stops=True, spoils=True, taints=True),
    Fault.REJECTED: Consequence(stops=True, spoils=True, taints=True),
    Fault.WITHDRAWN: Consequence(stops=True, spoils=True, taints=True),
    Fault.LINK: Consequence(stops=True, spoils=True, taints=True),
    # Left out of a training until a person has decided; see plugin.stages.train.
    Fault.FROZEN: Consequence(stops=False, spoils=False, taints=True),
    Fault.NOT_FINAL: Consequence(stops=True, spoils=False, taints=True),
    Fault.CORRECTED: Consequence(stops=True, spoils=False, taints=True),
    Fault.SEVERAL: Consequence(stops=True, spoils=False, taints=True),
    Fault.IMAGES: Consequence(stops=True, spoils=False, taints=True),
    # What is here is as it was frozen: a person decides what the archive's word means.
    Fault.PACS_IDENTITY: Consequence(stops=False, spoils=False, taints=True),
    Fault.PACS_ABSENT: Consequence(stops=False, spoils=False, taints=True),
    Fault.PACS_IMAGES: Consequence(stops=False, spoils=False, taints=True),
    Fault.MOVED: Consequence(stops=False, spoils=False, taints=False),
}


_IN_PACS = {
    Difference.IDENTITY: Fault.PACS_IDENTITY,
    Difference.ABSENT: Fault.PACS_ABSENT,
    Difference.IMAGES: Fault.PACS_IMAGES,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known now about a member and was different, or the same, when it was frozen."""

    needs_report: bool
    link_state: str = CONFIRMED
    is_current: bool = True
    result_status: str = "F"
    current_status: str = ""  # of the version that is current now; empty: there is none
    current_link: str = ""  # the state of that version's link to the study
    final_reports: int = 1  # confirmed and final, of the study
    frozen: bool = False
    rejected: bool = False  # dicom_node.documents.rejections.held_studies
    same_images: bool = True
    same_key: bool = True
    opted_out: bool = False
    in_pacs: Difference = Difference.NONE  # how an archive differs
    folds: int = 1  # in which the patient stands in this cohort


def fault_of(facts: Facts) -> Fault | None:
    """Return the gravest fault of a member, or None where it stands."""
    report = _report_fault(facts) if facts.needs_report else None
    found = (
        Fault.OPTED_OUT if facts.opted_out else None,
        Fault.TWO_FOLDS if facts.folds > 1 else None,
        Fault.REJECTED if facts.rejected else None,
        report if report in (Fault.WITHDRAWN, Fault.LINK) else None,
        Fault.FROZEN if facts.frozen else None,
        report,
        None if facts.same_images else Fault.IMAGES,
        _IN_PACS.get(facts.in_pacs),
        None if facts.same_key else Fault.MOVED,
    )
    return next((each for each in found if each is not None), None)


def _report_fault(facts: Facts) -> Fault | None:
    if facts.is_current and facts.link_state == CONFIRMED:
        if facts.result_status not in FINAL_STATUSES:
            return Fault.NOT_FINAL
        return Fault.SEVERAL if facts.final_reports > 1 else None
    if facts.is_current:
        return Fault.LINK
    if EFFECTS.get(facts.current_status) in (Effect.WITHDRAW, Effect.RETRACT):
        return Fault.WITHDRAWN
    if facts.current_link != CONFIRMED:
        return Fault.LINK
    return Fault.CORRECTED if facts.current_status in FINAL_STATUSES else Fault.NOT_FINAL


@dataclass(frozen=True, slots=True)
class Standing:
    """A member of a cohort and its fault."""

    member: CohortMember
    fault: Fault | None


def stopping(standings: Iterable[Standing]) -> dict[Fault, int]:
    """Return how many members each fault keeps a training from starting on, the gravest first."""
    return _count(standings, [fault for fault in Fault if CONSEQUENCES[fault].stops])


def spoiling(standings: Iterable[Standing]) -> dict[Fault, int]:
    """Return how many members spoil weights that have learned from them, the gravest first."""
    return _count(standings, [fault for fault in Fault if CONSEQUENCES[fault].spoils])


def counted(standings: Iterable[Standing]) -> dict[Fault, int]:
    """Return how many members have each fault, the gravest first."""
    return _count(standings, list(Fault))


def in_words(counts: Mapping[Fault, int], of: int) -> str:
    """Return a sentence: how many members do not stand and why; empty where all do."""
    if not counts:
        return ""
    parts = ", ".join(f"{number}: {fault}" for fault, number in counts.items())
    return f"{sum(counts.values())} of {of} members do not stand any more ({parts})"


def _count(standings: Iterable[Standing], faults: Collection[Fault]) -> dict[Fault, int]:
    found = [each.fault for each in standings if each.fault is not None]
    return {fault: number for fault in faults if (number := found.count(fault))}

"""What status codes mean: OBR-25 (HL7 table 0123) and OBX-11 (HL7 table 0085), as data.

A code of OBR-25 speaks about the whole report, one of OBX-11 about one OBX. Both tables give an
action, and where the action brings text, the status that the text has then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Effect(Enum):
    """What becomes of a report version with a status."""

    PROVISIONAL = "kept and shown; never enters a cohort"
    FINAL = "usable"
    PROMOTE = "makes the text that was sent before final"
    RETRACT = "the result will not come, or was cancelled"
    WITHDRAW = "what was sent before is wrong, for example of another patient"
    NO_RESULT = "carries no result"


EFFECTS = {
    "P": Effect.PROVISIONAL,
    "R": Effect.PROVISIONAL,
    "S": Effect.PROVISIONAL,
    "A": Effect.PROVISIONAL,
    "M": Effect.PROVISIONAL,
    "F": Effect.FINAL,
    "C": Effect.FINAL,
    "U": Effect.PROMOTE,
    "X": Effect.RETRACT,
    "W": Effect.WITHDRAW,
    "I": Effect.NO_RESULT,
    "N": Effect.NO_RESULT,
    "O": Effect.NO_RESULT,
    "Y": Effect.NO_RESULT,
    "Z": Effect.NO_RESULT,
}
"""Table 0123, with U, W and N of table 0085, which some systems put into OBR-25."""

FINAL_STATUSES = frozenset(code for code, effect in EFFECTS.items() if effect is Effect.FINAL)
"""Statuses of a report that may enter a cohort."""

WITHOUT_TEXT = frozenset({"X", "W", "U"})
"""Statuses under which a version is stored without text (U: until its text arrives)."""


class Action(Enum):
    """What a status code does to what was sent before."""

    STATE = "this is the text, with this status"
    APPEND = "this text is added to what was sent before"
    PROMOTE = "what was sent before is final, and is not sent again"
    DELETE = "this OBX does not hold any more"
    RETRACT = "the report will not come, or does not hold any more"
    WITHDRAW = "what was sent before was wrong, for example of another patient"
    NOTHING = "no result content"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code does, and the status (table 0123) of the text that comes with it."""

    action: Action
    status: str = ""


NOT_VERIFIED = "R"
"""The status of text whose own status is missing, unknown or in doubt."""

INCOMPLETE = "A"
"""The status of an addendum whose report has not come."""

RESULT_STATUSES = {
    "P": Meaning(Action.STATE, "P"),  # preliminary
    "R": Meaning(Action.STATE, "R"),  # stored, not verified
    "S": Meaning(Action.STATE, "S"),  # partial
    "A": Meaning(Action.STATE, "A"),  # some, but not all, results available
    "M": Meaning(Action.STATE, "M"),  # corrected, not final
    "F": Meaning(Action.STATE, "F"),  # final; changed by a correction only
    "C": Meaning(Action.STATE, "C"),  # correction
    "X": Meaning(Action.RETRACT),  # no results; order cancelled
    "I": Meaning(Action.NOTHING),  # procedure incomplete
    "N": Meaning(Action.NOTHING),  # procedure incomplete, not answered
    "O": Meaning(Action.NOTHING),  # order received
    "Y": Meaning(Action.NOTHING),  # no order on record
    "Z": Meaning(Action.NOTHING),  # no record of this patient
    # Codes of table 0085 that some systems put into OBR-25.
    "U": Meaning(Action.PROMOTE, "F"),
    "W": Meaning(Action.WITHDRAW),
    "D": Meaning(Action.RETRACT),
    "B": Meaning(Action.APPEND, "F"),
    "V": Meaning(Action.STATE, "F"),
}
"""Table 0123: what OBR-25 says about a report."""

OBSERVATION_STATUSES = {
    "P": Meaning(Action.STATE, "P"),  # preliminary
    "R": Meaning(Action.STATE, "R"),  # entered, not verified
    "S": Meaning(Action.STATE, "S"),  # partial
    "F": Meaning(Action.STATE, "F"),  # final
    "C": Meaning(Action.STATE, "C"),  # correction, replaces a final
    "A": Meaning(Action.STATE, "C"),  # amended for demographics
    "V": Meaning(Action.STATE, "F"),  # verified
    "B": Meaning(Action.APPEND, "F"),  # appended report
    "U": Meaning(Action.PROMOTE, "F"),  # final without being sent again
    "D": Meaning(Action.DELETE),  # delete the OBX
    "X": Meaning(Action.DELETE),  # cannot be obtained
    "W": Meaning(Action.WITHDRAW),  # was wrong, for example of another patient
    "I": Meaning(Action.NOTHING),  # specimen in laboratory
    "N": Meaning(Action.NOTHING),  # not asked
    "O": Meaning(Action.NOTHING),  # order detail only
    "": Meaning(Action.STATE),  # as OBR-25 says
}
"""Table 0085: what OBX-11 says about one OBX."""

_UNKNOWN = Meaning(Action.STATE, NOT_VERIFIED)

_LEAST_FINAL_FIRST = ("P", "R", "S", "A", "M", "C", "F")


def result_meaning(code: str) -> Meaning:
    """Return what OBR-25 says; an unknown code leaves the text unverified."""
    return RESULT_STATUSES.get(code, _UNKNOWN) if code else Meaning(Action.STATE)


def observation_meaning(code: str) -> Meaning:
    """Return what OBX-11 says; an unknown code leaves the text unverified."""
    return OBSERVATION_STATUSES.get(code, _UNKNOWN)


def least_final(statuses: Iterable[str]) -> str:
    """Return the status of what has several: it is as final as the least final of them.

    Without any status the text counts as not verified.
    """
    given = frozenset(statuses)
    return next((code for code in _LEAST_FINAL_FIRST if code in given), NOT_VERIFIED)

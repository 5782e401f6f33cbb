"""What a result status means for a report: OBR-25 (HL7 table 0123) and OBX-11 (table 0085)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from dicom_node.hl7.content import ObservationLine
from dicom_node.hl7.text import ContentFault


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

_SPELLED_OUT = {
    "FINAL": "F",
    "PRELIM": "P",
    "PRELIMINARY": "P",
    "WET READ": "P",
    "CORRECTED": "C",
    "D": "X",
}

# OBX-11 to the status it gives a whole report; an empty value drops the line.
_OBSERVATION = {
    "F": "F",
    "V": "F",
    "C": "C",
    "A": "C",
    "B": "C",
    "P": "P",
    "R": "R",
    "S": "S",
    "U": "U",
    "W": "W",
    "X": "",
    "D": "",
    "I": "",
    "N": "",
    "O": "",
    "": "",
}

# When lines differ, the report is as final as the least final of them.
_LEAST_FINAL_FIRST = ("P", "R", "S", "C", "F", "U")


def result_status(obr_25: str, lines: Sequence[ObservationLine]) -> str:
    """Return the status of a report.

    W in any OBX-11 withdraws; U in all of them promotes; else OBR-25 counts, and where it is empty
    the least final OBX-11.

    Raises:
        ContentFault: the status is missing or in neither table.
    """
    said = [_normal(line.status) for line in lines]
    codes = {_OBSERVATION[each] for each in said if each in _OBSERVATION} - {""}
    if "W" in codes:
        return "W"
    if codes == {"U"}:
        return "U"
    if obr_25:
        code = _normal(obr_25)
        if code not in EFFECTS:
            raise ContentFault("OBR", 25, 103, "the result status is not in table 0123")
        return code
    for code in _LEAST_FINAL_FIRST:
        if code in codes:
            return code
    if any(said):
        if set(said) <= {"X", "D", ""}:
            return "X"
        raise ContentFault("OBX", 11, 103, "the observation status is not in table 0085")
    raise ContentFault("OBR", 25, 101, "neither OBR-25 nor OBX-11 gives the result status")


def report_text(lines: Sequence[ObservationLine]) -> str:
    """Join the lines in order, without those that were deleted or could not be obtained."""
    kept = (line.text for line in lines if _normal(line.status) not in ("D", "X", "W"))
    return "\n".join(kept).strip("\n")


def _normal(status: str) -> str:
    plain = re.sub(r"\s+", " ", status).strip().upper()
    return _SPELLED_OUT.get(plain, plain)

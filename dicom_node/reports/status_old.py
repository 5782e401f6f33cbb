"""The status and the text of a report of one message, as ``reports.receiving`` stores it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dicom_node.hl7.content import ObservationLine
from dicom_node.hl7.text import ContentFault
from dicom_node.reports.status import EFFECTS

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

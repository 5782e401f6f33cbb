"""Every code of tables 0123 and 0085, alone and mixed, against what each of them must do."""

from itertools import product

import pytest

from dicom_node.reports.status import (
    EFFECTS,
    FINAL_STATUSES,
    OBSERVATION_STATUSES,
    RESULT_STATUSES,
    WITHOUT_TEXT,
    Effect,
    least_final,
)
from dicom_node.reports.versions import trace
from tests.report_builders import TEXT, current, inputs, part, sent

TABLE_0123 = ["A", "C", "F", "I", "M", "N", "O", "P", "R", "S", "X", "Y", "Z"]
TABLE_0085 = ["A", "B", "C", "D", "F", "I", "N", "O", "P", "R", "S", "U", "V", "W", "X"]
NO_RESULT = ["I", "N", "O", "Y", "Z"]
BEFORE = "FINDINGS: as it was."

# OBR-25: what becomes of a final report when a message with text comes under the code.
WITH_TEXT = {
    "P": ("P", TEXT), "R": ("R", TEXT), "S": ("S", TEXT), "A": ("A", TEXT), "M": ("M", TEXT),
    "F": ("F", TEXT), "C": ("C", TEXT), "V": ("F", TEXT), "U": ("F", TEXT),
    "X": ("X", ""), "D": ("X", ""), "W": ("W", ""),
    "I": ("F", BEFORE), "N": ("F", BEFORE), "O": ("F", BEFORE), "Y": ("F", BEFORE),
    "Z": ("F", BEFORE),
    "B": ("F", f"{BEFORE}\n\n{TEXT}"),
    "Q": ("R", TEXT), "": ("R", TEXT),
}  # fmt: skip

# OBX-11 in a message without text, after a provisional report.
WITHOUT = {
    "U": ("F", BEFORE), "D": ("X", ""), "X": ("X", ""), "W": ("W", ""),
    "A": ("P", BEFORE), "V": ("P", BEFORE), "B": ("P", BEFORE), "C": ("P", BEFORE),
    "F": ("P", BEFORE), "I": ("P", BEFORE), "N": ("P", BEFORE), "O": ("P", BEFORE),
    "P": ("P", BEFORE), "R": ("P", BEFORE), "S": ("P", BEFORE),
}  # fmt: skip


def test_the_tables_are_complete():
    assert set(TABLE_0123) <= set(RESULT_STATUSES)
    assert set(TABLE_0085) | {""} == set(OBSERVATION_STATUSES)
    assert set(TABLE_0123) <= set(EFFECTS)
    assert set(WITH_TEXT) - {"Q", ""} == set(RESULT_STATUSES)
    assert {"F", "C"} == FINAL_STATUSES
    assert {"X", "W", "U"} == WITHOUT_TEXT
    stated = {meaning.status for meaning in OBSERVATION_STATUSES.values()} - {""}
    assert stated <= set(EFFECTS)


@pytest.mark.parametrize(("code", "expected"), WITH_TEXT.items())
def test_each_code_of_obr_25_with_text_after_a_final_report(code, expected):
    holds = current(sent(BEFORE), sent(TEXT, code, day=2))
    assert (holds.status, holds.text) == expected
    assert holds.effect is EFFECTS[holds.status]


@pytest.mark.parametrize(("code", "expected"), WITHOUT.items())
def test_each_code_of_obx_11_without_text_after_a_provisional_report(code, expected):
    holds = current(sent(BEFORE, "P"), sent([part("", code)], "", day=2))
    assert (holds.status, holds.text) == expected


@pytest.mark.parametrize("code", [code for code in TABLE_0085 if code not in "DINOWX"])
def test_each_code_of_obx_11_that_brings_text_alone(code):
    holds = current(sent([part(TEXT, code)], ""))
    expected = {"A": "C", "B": "A", "U": "F", "V": "F"}.get(code, code)
    assert (holds.status, holds.text) == (expected, TEXT)


@pytest.mark.parametrize("code", NO_RESULT)
def test_what_carries_no_result_is_ignored_with_a_reason(code):
    chain = trace(inputs(sent(TEXT, code)))
    assert chain.versions == ()
    assert chain.ignored == {1: "the result status says that there is no result"}


@pytest.mark.parametrize("whole", [*RESULT_STATUSES, ""])
def test_every_mixture_of_codes(whole):
    for first, second in product(TABLE_0085, repeat=2):
        _check_mixture(whole, first, second)


def _check_mixture(whole, first, second):
    """Of two OBX: what is withdrawn is gone, what is provisional is not final, D and X drop."""
    parts = [part("one", first, sub_id="1"), part("two", second, sub_id="2")]
    chain = trace(inputs(sent(parts, whole)))
    if "W" in (whole, first, second):
        assert [(each.status, each.text) for each in chain.versions] == [("W", "")]
        return
    if whole in ("X", "D"):
        assert [(each.status, each.text) for each in chain.versions] == [("X", "")]
        return
    shown = (
        {text for text, code in (("one", first), ("two", second)) if code not in "DXINO"}
        if whole not in NO_RESULT
        else set()
    )
    if not chain.versions:
        assert not shown
        assert chain.ignored[1]
        return
    (holds,) = chain.versions
    assert set(holds.text.split()) == shown
    kept = {code for code in (first, second) if code not in "DXINO"}
    codes = {whole, *kept}
    if not shown:
        assert holds.effect is Effect.RETRACT or (whole == "U" and holds.status == "U")
    elif codes & {"P", "R", "S", "M"} or whole == "A":
        assert holds.effect is Effect.PROVISIONAL
    elif whole == "B" or kept == {"B"}:
        assert holds.status in ("A", "C", "F")  # an addendum alone, unless U came with text
    else:
        assert holds.effect is Effect.FINAL


def test_the_least_final_part_counts():
    assert least_final(["F", "C"]) == "C"
    assert least_final(["F", "P", "R"]) == "P"
    assert least_final([]) == "R"

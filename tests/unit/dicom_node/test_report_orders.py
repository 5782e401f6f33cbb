"""Order groups of one message that are one report."""

from dataclasses import replace

import pytest

from dicom_node.hl7.parsed import ParsedPatient
from dicom_node.reports.orders import join_orders
from dicom_node.reports.status import Effect
from tests.report_builders import current, sent

ONE, TWO = sent("FINDINGS: a."), sent("IMPRESSION: b.", accessions=["A2"])


def test_orders_with_one_number_are_one_report_for_all_their_accession_numbers():
    (joined,) = join_orders([ONE, TWO])
    version = current(joined)
    assert version.text == "FINDINGS: a.\nIMPRESSION: b."
    assert [each.value for each in version.report.accessions] == ["A1", "A2"]


def test_a_joined_report_is_as_final_as_its_least_final_order():
    (joined,) = join_orders([ONE, replace(TWO, result_status="P")])
    assert current(joined).effect is Effect.PROVISIONAL


@pytest.mark.parametrize("other", [
    replace(TWO, number="F2"),
    replace(TWO, parent_number="F9"),
    replace(TWO, patient=ParsedPatient()),
    *(replace(TWO, result_status=code) for code in "WXUDBINOYZ"),
    replace(TWO, parts=()),
])  # fmt: skip
def test_what_is_no_text_of_the_same_report_stays_apart(other):
    assert join_orders([ONE, other]) == (ONE, other)


def test_reports_without_a_number_stay_apart():
    nameless = replace(ONE, number="")
    assert join_orders([nameless, nameless]) == (nameless, nameless)

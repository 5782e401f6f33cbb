"""Chains of report versions: what holds after each kind of message."""

from dataclasses import replace

import pytest

from dicom_node.hl7.parsed import DocumentAction, ParsedPatient, Role
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identifiers import Identifier
from dicom_node.reports.sections import Kind
from dicom_node.reports.status import Effect
from dicom_node.reports.versions import chain_identity, fold, trace
from tests.report_builders import JANE, TEXT, current, inputs, part, sent

ADD, ADDENDUM, CANCEL = DocumentAction.ADD, DocumentAction.ADDENDUM, DocumentAction.CANCEL
EDIT, REPLACE = DocumentAction.EDIT, DocumentAction.REPLACE
MORE = "Small nodule on review."
ADT = Role.ADDENDUM


def holds(*reports):
    version = current(*reports)
    return version.status, version.text


# --- taking back ---


@pytest.mark.parametrize("refers", [
    sent(status="U", day=3),
    sent([part("", "U")], "F", day=3),
    sent([part("", "V")], "", day=3),
    sent([part("", "A")], "", day=3),
    sent([part(MORE, "B")], "F", day=3),
    sent([part(MORE, role=ADT)], day=3),
    sent(MORE, day=3, number="F2", parent="F1"),
    sent(MORE, day=3, number="F2", parent="F1", action=ADDENDUM),
    sent([part("", "D")], "C", day=3),
    sent(status="C", day=3),
    sent(status="F", day=3),
])  # fmt: skip
@pytest.mark.parametrize("taken_back", ["W", "X", "D"])
def test_what_was_taken_back_is_not_revived_by_what_only_refers_to_it(taken_back, refers):
    version = current(sent(TEXT), sent(status=taken_back, day=2), refers)
    assert version.text == ""
    assert version.effect in (Effect.WITHDRAW, Effect.RETRACT)


@pytest.mark.parametrize("taken_back", ["W", "X"])
def test_new_text_after_a_withdrawal_holds_without_the_old_addenda(taken_back):
    reports = (
        sent(TEXT),
        sent([part(MORE, "B")], day=2),
        sent("Also.", day=2, number="F2", parent="F1", action=ADDENDUM),
        sent(status=taken_back, day=3),
        sent("FINDINGS: of the right patient.", day=4),
    )
    assert holds(*reports) == ("F", "FINDINGS: of the right patient.")


def test_a_late_older_text_does_not_undo_a_withdrawal():
    assert holds(sent(status="W", day=2), sent(TEXT, day=1)) == ("W", "")


def test_at_one_and_the_same_time_what_takes_back_comes_last():
    for reports in ([sent(status="W"), sent(TEXT)], [sent(TEXT), sent(status="W")]):
        assert holds(*reports) == ("W", "")


def test_w_outweighs_a_cancellation_and_stays():
    assert holds(sent(TEXT), sent(status="W", day=2), sent(status="X", day=3)) == ("W", "")


def test_w_in_one_obx_withdraws_all():
    assert holds(sent([part("a"), part("b", "W")])) == ("W", "")


def test_w_of_an_addendum_sent_with_the_report_leaves_the_report():
    first = sent([part(TEXT), part(MORE, role=ADT, identifier="ADT")])
    wrong = sent([part("", "W", ADT, identifier="ADT")], "C", day=2)
    assert holds(first, wrong) == ("F", TEXT)
    unknown = sent([part("", "W", ADT, identifier="other")], "C", day=2)
    assert holds(first, unknown) == ("W", "")


def test_withdrawn_text_sent_again_without_a_time_of_its_own_stays_withdrawn():
    again = sent(TEXT, changed="", message_time="20260305")
    before = [sent(TEXT), sent(status="W", day=2)]
    assert holds(*before, again) == ("W", "")
    assert holds(*before, replace(again, status_changed_at="20260305")) == ("F", TEXT)
    other = ParsedPatient((Identifier("P2", "HOSP"),))
    assert holds(*before, replace(again, patient=other)) == ("F", TEXT)


def test_text_that_was_taken_back_by_a_later_message_with_an_older_date_is_not_final():
    first, second = sent(TEXT, day=1), sent("FINDINGS: new.", day=3)
    wrong = sent(status="W", day=2, message_time="20260304")
    assert current(first, second, wrong).effect is Effect.PROVISIONAL
    assert "taken back" in current(first, second, wrong).reason
    replayed = (first, sent(status="W", day=2), second, wrong)
    assert holds(*replayed) == ("F", "FINDINGS: new.")


# --- deleting ---


def two(day=1, status="F"):
    return sent(
        [part("FINDINGS: a.", identifier="1"), part("IMPRESSION: b.", identifier="2")],
        status,
        day=day,
    )


def test_d_drops_a_section():
    assert holds(two(), sent([part("", "D", identifier="2")], "C", day=2)) == ("F", "FINDINGS: a.")


def test_d_of_every_obx_takes_the_report_back():
    both = sent([part("", "D", identifier="1"), part("", "D", identifier="2")], "C", day=2)
    assert holds(two(), both) == ("X", "")
    assert holds(both, two()) == ("X", "")
    one_by_one = [sent([part("", "D", identifier=str(n))], "C", day=1 + n) for n in (1, 2)]
    assert holds(two(), *one_by_one) == ("X", "")


def test_d_of_every_obx_takes_the_addenda_with_it():
    more = sent("More.", day=2, number="F2", parent="F1", action=ADDENDUM)
    gone = sent([part("", "D", identifier="1"), part("", "D", identifier="2")], "C", day=3)
    assert holds(two(), more, gone) == ("X", "")


def test_d_that_repeats_a_line_drops_that_line():
    lines = sent([part("one"), part("two"), part("three")])
    assert holds(lines, sent([part("two", "D")], "C", day=2)) == ("F", "one\nthree")


def test_d_of_a_name_that_lines_share_drops_them_all():
    assert holds(sent([part("one"), part("two")]), sent([part("", "D")], "C", day=2)) == ("X", "")


def test_d_of_something_unknown_leaves_text_that_is_not_final():
    version = current(two(), sent([part("", "D", identifier="9")], "C", day=2))
    assert version.effect is Effect.PROVISIONAL
    assert "cannot be told" in version.reason
    restated = current(two(), sent([part("", "D", identifier="9")], "C", day=2), two(3))
    assert restated.effect is Effect.FINAL


def test_d_drops_an_impression_apart_from_text_of_the_same_code():
    report = sent([part("a", identifier=""), part("b", identifier="", role=Role.IMPRESSION)])
    gone = sent([part("", "D", Role.IMPRESSION, identifier="")], "C", day=2)
    assert holds(report, gone) == ("F", "a")


def test_deletions_count_even_where_there_is_no_result():
    assert holds(two(), sent([part("", "D", identifier="2")], "I", day=2)) == ("F", "FINDINGS: a.")


# --- promoting ---


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_u_promotes_provisional_text_whichever_comes_first(order):
    reports = [sent(TEXT, "P"), sent(status="U", day=2)]
    version = current(*(reports[each] for each in order))
    assert (version.status, version.effect, version.text) == ("F", Effect.FINAL, TEXT)


def test_u_waits_for_its_text():
    version = current(sent(status="U"))
    assert (version.status, version.effect, version.text) == ("U", Effect.PROMOTE, "")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_u_of_the_same_time_follows_its_text(order):
    reports = [sent(TEXT, "P"), sent(status="U")]
    assert holds(*(reports[each] for each in order)) == ("F", TEXT)


def test_u_does_not_promote_text_that_is_newer():
    assert holds(sent("old", "P"), sent(status="U", day=2), sent("new", "P", day=3)) == ("P", "new")


def test_u_of_some_parts_leaves_the_others_provisional():
    report = two(status="P")
    first = sent([part("", "U", identifier="1")], "", day=2)
    second = sent([part("", "U", identifier="2")], "", day=3)
    assert current(report, first).effect is Effect.PROVISIONAL
    assert current(report, first, second).effect is Effect.FINAL


def test_u_beside_new_text_keeps_what_is_not_sent_again():
    mixed = sent(
        [part("", "U", identifier="1"), part("IMPRESSION: c.", "F", identifier="2")], "F", day=2
    )
    assert holds(two(status="P"), mixed) == ("F", "FINDINGS: a.\nIMPRESSION: c.")


@pytest.mark.parametrize("other", [
    {"patient": replace(JANE, birth_date="19710101")},
    {"patient": replace(JANE, sex="M")},
    {"accessions": ["A2"]},
])  # fmt: skip
def test_u_that_contradicts_its_text_promotes_nothing(other):
    chain = trace(inputs(sent(TEXT, "P"), sent(status="U", day=2, **other)))
    assert chain.versions[-1].effect is Effect.PROVISIONAL
    assert "than the text that it belongs to" in chain.ignored[2]


def test_u_for_another_identifier_names_both_so_that_linking_refuses_two_people():
    other = replace(JANE, identifiers=(Identifier("P2", "HOSP"),))
    version = current(sent(TEXT, "P"), sent(status="U", day=2, patient=other))
    assert {each.value for each in version.report.patient.identifiers} == {"P1", "P2"}


def test_a_final_status_without_text_makes_nothing_final():
    assert holds(sent(TEXT, "P"), sent(status="F", day=2)) == ("P", TEXT)


@pytest.mark.parametrize("status", ["C", "P", "R"])
def test_a_text_that_was_announced_and_has_not_come_leaves_the_old_one_not_final(status):
    version = current(sent(TEXT), sent(status=status, day=2))
    assert version.effect is Effect.PROVISIONAL
    assert version.text == TEXT
    assert current(sent(TEXT), sent(status=status, day=2), sent("new", day=3)).status == "F"


# --- addenda ---

FORMS = {
    "B": sent([part(MORE, "B")], day=2),
    "B in OBR-25": sent(MORE, "B", day=2),
    "coded": sent([part(MORE, "F", ADT, identifier="55107-7")], day=2),
    "restated with a coded addendum": sent(
        [part(TEXT), part(MORE, "F", ADT, identifier="121078")], day=2
    ),
    "child order": sent([part(MORE, role=ADT)], day=2, number="F2", parent="F1"),
    "MDM^T06": sent([part(MORE, role=ADT)], day=2, number="D2", parent="F1", action=ADDENDUM),
    "restated C": sent(f"{TEXT}\n\n{MORE}", "C", day=2),
    "restated F": sent(f"{TEXT}\n\n{MORE}", "F", day=2),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("turned", [False, True])
def test_an_addendum_in_every_form_whichever_comes_first(form, turned):
    reports = [sent(TEXT), FORMS[form]]
    version = current(*(reversed(reports) if turned else reports))
    assert version.text == f"{TEXT}\n\n{MORE}"
    assert version.effect is Effect.FINAL
    if "restated " not in form:
        assert version.sections[-1].kind is Kind.ADDENDUM
        assert version.text[version.sections[-1].body :] == MORE


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("restated")])
def test_an_addendum_whose_text_is_older_or_newer_belongs_to_it(form):
    late = replace(FORMS[form], status_changed_at="20260301", message_time="20260301")
    assert holds(late, sent(TEXT, day=3)) == ("F", f"{TEXT}\n\n{MORE}")
    alone = current(FORMS[form])
    assert (alone.status, alone.effect) == ("A", Effect.PROVISIONAL)


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("restated")])
def test_two_addenda_stand_in_order_and_a_repeated_one_once(form):
    second = {
        "child order": sent([part("Two.", role=ADT)], day=3, number="F3", parent="F1"),
        "MDM^T06": sent([part("Two.", role=ADT)], day=3, number="D3", parent="F1", action=ADDENDUM),
        "B in OBR-25": sent("Two.", "B", day=3),
        "B": sent([part("Two.", "B")], day=3),
        "coded": sent([part("Two.", "F", ADT, identifier="55107-7")], day=3),
    }[form]
    again = replace(FORMS[form], message_time="20260309", status_changed_at="20260309")
    assert current(sent(TEXT), FORMS[form], second, again).text == f"{TEXT}\n\n{MORE}\nTwo."


@pytest.mark.parametrize("fix", [
    sent([part("Fixed.", "C", ADT, identifier="55107-7")], "C", day=3),
    sent([part(TEXT), part("Fixed.", "F", ADT, identifier="55107-7")], day=3),
])  # fmt: skip
def test_a_correction_of_a_coded_addendum(fix):
    version = current(sent(TEXT), FORMS["coded"], fix)
    assert version.text == f"{TEXT}\n\nFixed."
    assert version.effect is Effect.FINAL


def test_obx_4_names_an_addendum_for_good():
    def add(text, sub_id, day):
        return sent([part(text, "F", ADT, identifier="ADT", sub_id=sub_id)], day=day)

    reports = (sent(TEXT), add("One.", "1", 2), add("Two.", "2", 3), add("One fixed.", "1", 4))
    assert current(*reports).text == f"{TEXT}\n\nOne fixed.\nTwo."


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
def test_a_correction_of_an_addendum_that_is_a_document(order):
    reports = [
        sent(TEXT, number="D1", action=ADD),
        sent(MORE, number="D2", parent="D1", action=ADDENDUM, day=2),
        sent("Fixed.", "C", number="D2", action=EDIT, day=3),
    ]
    assert current(*(reports[each] for each in order)).text == f"{TEXT}\n\nFixed."


def test_a_correction_of_the_report_keeps_the_addenda_that_it_does_not_say():
    child = FORMS["child order"]
    assert current(sent(TEXT), child, sent("FINDINGS: b.", "C", day=3)).text.endswith(MORE)
    said = sent(f"FINDINGS: b.\nADDENDUM: {MORE}", "C", day=3)
    assert current(sent(TEXT), child, said).text == f"FINDINGS: b.\nADDENDUM: {MORE}"


def test_a_denial_in_the_text_does_not_hide_an_addendum():
    report = sent("FINDINGS: no fracture of the wrist")
    added = sent([part("fracture of the wrist", "B")], day=2)
    assert current(report, added).text.endswith("\n\nfracture of the wrist")


def test_a_provisional_addendum_makes_the_report_provisional_until_it_is_final():
    waiting = replace(FORMS["child order"], result_status="P")
    assert current(sent(TEXT), waiting).effect is Effect.PROVISIONAL
    final = sent(status="U", day=3, number="F2", parent="F1")
    assert current(sent(TEXT), waiting, final).effect is Effect.FINAL


@pytest.mark.parametrize("other", [
    {"patient": replace(JANE, birth_date="19710101")},
    {"accessions": ["A9"]},
])  # fmt: skip
def test_an_addendum_that_contradicts_its_report_is_left_out_and_nothing_is_final(other):
    stranger = sent(MORE, day=2, number="F2", parent="F1", **other)
    version = current(sent(TEXT), stranger)
    assert version.text == TEXT
    assert version.effect is Effect.PROVISIONAL
    assert "belongs to" in version.reason


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("restated")])
def test_an_addendum_for_another_identifier_names_both_so_that_linking_refuses_two_people(form):
    other = replace(FORMS[form], patient=replace(JANE, identifiers=(Identifier("P2", "HOSP"),)))
    version = current(sent(TEXT), other)
    assert {each.value for each in version.report.patient.identifiers} == {"P1", "P2"}


def test_a_child_order_that_repeats_its_own_number_as_accession_number_is_no_contradiction():
    child = sent(MORE, day=2, number="F2", parent="F1", accessions=["F2"])
    assert current(sent(TEXT), child).effect is Effect.FINAL
    assert [each.value for each in current(sent(TEXT), child).report.accessions] == ["A1"]


def test_two_orders_under_a_parent_that_is_no_report_are_not_one_text():
    one = sent("FINDINGS: one.", number="F2", parent="O1", accessions=["A2"])
    two = sent("FINDINGS: two.", number="F3", parent="O1", accessions=["A3"], day=2)
    version = current(one, two)
    assert version.text == "FINDINGS: one."
    assert version.effect is Effect.PROVISIONAL


def test_far_too_many_addenda_are_left_out_and_nothing_is_final():
    many = [
        sent(f"Line {number}.", "B", day=2, message_time=f"2026030212{number:02}")
        for number in range(60)
    ]
    version = current(sent(TEXT), *many)
    assert version.effect is Effect.PROVISIONAL
    assert version.text.count("Line") == 50
    assert "too many" in version.reason


# --- documents ---


def test_a_replacement_under_another_number():
    first, new = (
        sent(TEXT, number="D1", action=ADD),
        sent("FINDINGS: new.", "C", number="D2", parent="D1", action=REPLACE, day=2),
    )
    for reports in ([first, new], [new, first]):
        assert holds(*reports) == ("C", "FINDINGS: new.")
    late = sent("FINDINGS: edited.", "C", number="D1", action=EDIT, day=3)
    assert holds(first, new, late) == ("C", "FINDINGS: new.")
    edit = sent("FINDINGS: newer.", "C", number="D2", parent="D1", action=EDIT, day=3)
    assert holds(first, new, edit) == ("C", "FINDINGS: newer.")


def test_a_cancelled_replacement_does_not_bring_its_parent_back():
    first, new = (
        sent(TEXT, number="D1", action=ADD),
        sent("FINDINGS: new.", "C", number="D2", parent="D1", action=REPLACE, day=2),
    )
    cancel = sent(status="X", number="D2", parent="D1", action=CANCEL, day=3)
    old = sent(status="X", number="D1", action=CANCEL, day=3)
    assert holds(first, new, cancel) == ("X", "")
    assert holds(first, new, old) == ("C", "FINDINGS: new.")


def test_a_cancelled_addendum_takes_only_itself():
    reports = (
        sent(TEXT, number="D1", action=ADD),
        sent(MORE, number="D2", parent="D1", action=ADDENDUM, day=2),
        sent("Two.", number="D3", parent="D1", action=ADDENDUM, day=3),
        sent(status="X", number="D2", action=CANCEL, day=4),
    )
    assert holds(*reports) == ("F", f"{TEXT}\n\nTwo.")
    assert holds(*reversed(reports)) == ("F", f"{TEXT}\n\nTwo.")


def test_a_cancelled_addendum_that_the_text_repeats_leaves_text_that_is_not_final():
    reports = (
        sent(TEXT, number="D1", action=ADD),
        sent(MORE, number="D2", parent="D1", action=ADDENDUM, day=2),
        sent(f"{TEXT}\n{MORE}", "C", number="D1", action=EDIT, day=3),
        sent(status="X", number="D2", action=CANCEL, day=4),
    )
    assert current(*reports[:3]).effect is Effect.FINAL
    assert current(*reports).effect is Effect.PROVISIONAL


def test_a_replaced_addendum():
    reports = (
        sent(TEXT, number="D1", action=ADD),
        sent(MORE, number="D2", parent="D1", action=ADDENDUM, day=2),
        sent("Fixed.", "C", number="D3", parent="D2", action=REPLACE, day=3),
    )
    assert current(*reports).text == f"{TEXT}\n\nFixed."
    assert current(*reversed(reports)).text == f"{TEXT}\n\nFixed."
    cancelled = sent(status="X", number="D3", action=CANCEL, day=4)
    assert current(*reports, cancelled).text == TEXT


def test_a_cancellation_that_repeats_when_its_text_was_signed_still_cancels():
    edit = sent("FINDINGS: b.", "C", number="D1", action=EDIT, day=5)
    cancel = sent(status="X", number="D1", action=CANCEL, day=1, message_time="20260306")
    assert holds(sent(TEXT, number="D1", action=ADD), edit, cancel) == ("X", "")


def test_a_cancelled_report_takes_its_addenda_with_it():
    reports = (
        sent(TEXT, number="D1", action=ADD),
        sent(MORE, number="D2", parent="D1", action=ADDENDUM, day=2),
        sent(status="X", number="D1", action=CANCEL, day=3),
    )
    assert holds(*reports) == ("X", "")


# --- order, names and identity ---


def test_a_late_older_version_never_wins():
    versions = fold(inputs(sent("new", "C", day=3), sent("old", day=1)))
    assert [each.text for each in versions] == ["old", "new"]


def test_what_says_nothing_new_makes_no_version():
    again = replace(sent(TEXT), message_time="20260309", status_changed_at="20260309")
    chain = trace(inputs(sent(TEXT), again))
    assert [each.input_key for each in chain.versions] == [1]
    assert chain.ignored == {2: "the message says nothing new"}


def test_without_times_arrival_counts():
    timeless = {"changed": "", "message_time": ""}
    assert current(sent("a", **timeless), sent("b", **timeless)).text == "b"


def test_a_corrected_accession_number_does_not_keep_the_wrong_one():
    version = current(
        sent(TEXT, study_instance_uids=("1.2",)), sent("b", "C", day=2, accessions=["A2"])
    )
    assert [each.value for each in version.report.accessions] == ["A2"]
    assert version.report.study_instance_uids == ()


def test_what_a_correction_leaves_out_is_taken_from_before():
    version = current(
        sent(TEXT, study_instance_uids=("1.2",)), sent("b", "C", day=2, accessions=[])
    )
    assert [each.value for each in version.report.accessions] == ["A1"]
    assert version.report.study_instance_uids == ("1.2",)


def test_text_is_never_of_a_patient_that_it_does_not_name():
    other = ParsedPatient((Identifier("P2", "HOSP"),), "ROE^RICHARD", "19500505", "M")
    version = current(sent(TEXT), sent("b", "C", day=2, patient=other))
    assert version.report.patient == other
    assert current(sent(TEXT), sent("b", "C", day=2, patient=ParsedPatient())).report.patient == (
        ParsedPatient()
    )


def test_a_version_has_the_times_of_the_message_that_made_it():
    report = current(sent(TEXT, "P"), sent(status="U", day=2)).report
    assert (report.result_status, report.status_changed_at) == ("F", "20260302120000")


KNOWN = {"S|D2": "S|D1", "S|D3": "S|D2", "S|a": "S|b", "S|b": "S|a"}


@pytest.mark.parametrize(
    ("number", "parent", "expected"),
    [
        ("N", "", "S|N"),
        ("N", "D1", "S|D1"),
        ("D3", "", "S|D1"),
        ("N", "D3", "S|D1"),
        ("", "D1", "S|D1"),
        ("N", "a", "S|b"),
    ],
)
def test_the_identity_of_a_chain_is_its_root(number, parent, expected):
    assert chain_identity("S", sent(number=number, parent=parent), KNOWN.get) == expected


def test_a_report_without_a_number_belongs_to_no_chain():
    with pytest.raises(ContentFault):
        chain_identity("S", sent(number=""), KNOWN.get)


def test_nothing_was_sent():
    assert fold([]) == ()

"""What holds of every chain of report versions, whatever was sent and however it arrived."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.hl7.parsed import DocumentAction, ParsedPatient, ParsedReport, ReportPart, Role
from dicom_node.linking.identifiers import Identifier
from dicom_node.reports.blocks import join_sections, says_already
from dicom_node.reports.status import EFFECTS, OBSERVATION_STATUSES, RESULT_STATUSES, Effect
from dicom_node.reports.versions import Input, fold, trace
from tests.report_builders import inputs, part, sent

TEXTS = ["", "FINDINGS: a.", "b", "IMPRESSION: c.\nd", "no e", "e", "  ", "HISTORY: x\n\ny"]
CODES = [*OBSERVATION_STATUSES, "Q"]
NUMBERS = ["F1", "F2", "F3"]

parts = st.builds(
    ReportPart,
    st.sampled_from(TEXTS),
    st.sampled_from(CODES),
    st.sampled_from(list(Role)),
    st.sampled_from(["", "GDT"]),
    st.sampled_from(["", "1"]),
)
patients = st.builds(
    ParsedPatient,
    st.sampled_from([(Identifier("P1", "H"),), (Identifier("P2", "H"),), ()]),
    birth_date=st.sampled_from(["", "19700101", "19710101"]),
    sex=st.sampled_from(["", "M", "F"]),
)
times = st.sampled_from(["", "20260301", "20260302", "20260303", "no time"])
reports = st.builds(
    ParsedReport,
    patient=patients,
    number=st.sampled_from(NUMBERS),
    parent_number=st.sampled_from(["", "", "F1", "F2"]),
    action=st.sampled_from(list(DocumentAction)),
    accessions=st.sampled_from([(), (Identifier("A1", "S"),), (Identifier("A2", "S"),)]),
    study_instance_uids=st.sampled_from([(), ("1.2",)]),
    status_changed_at=times,
    message_time=times,
    result_status=st.sampled_from([*RESULT_STATUSES, "", "Q"]),
    parts=st.lists(parts, max_size=3).map(tuple),
)
chains = st.lists(reports, max_size=7)


def without_keys(made):
    return [replace(each, input_key=0) for each in made]


@settings(max_examples=40, deadline=None)
@given(chains, st.randoms(use_true_random=False))
def test_arrival_and_duplicates_change_nothing(chain, random):
    sequence = inputs(*chain)
    expected = trace(sequence)
    shuffled = [*sequence, *(random.choice(sequence) for _ in sequence)]
    random.shuffle(shuffled)
    assert trace(shuffled) == expected


@settings(max_examples=40, deadline=None)
@given(chains, st.randoms(use_true_random=False))
def test_what_arrives_otherwise_makes_the_same_versions_where_times_differ(chain, random):
    timed = [
        replace(each, status_changed_at=f"2026030{day}", message_time=f"2026030{day}")
        for day, each in enumerate(chain, start=1)
    ]
    expected = without_keys(fold(inputs(*timed)))
    random.shuffle(timed)
    assert without_keys(fold(inputs(*timed))) == expected


@settings(max_examples=60, deadline=None)
@given(chains)
def test_every_version_is_consistent(chain):
    sequence = inputs(*chain)
    made = trace(sequence)
    keys = [each.input_key for each in made.versions]
    assert sorted([*keys, *made.ignored]) == [each.key for each in sequence]
    assert all(made.ignored.values())
    for version in made.versions:
        assert version.effect is EFFECTS[version.status]
        assert version.report.result_status == version.status
        closed = version.effect in (Effect.WITHDRAW, Effect.RETRACT, Effect.PROMOTE)
        assert bool(version.text.strip()) is not closed
        assert version.effect is not Effect.NO_RESULT
        _check_sections(version.text, version.sections)
        _check_lines(version.text, chain)


def _check_sections(text, sections):
    """They cover the text without gap or overlap."""
    at = 0
    for section in sections:
        assert section.start == at < section.end
        assert section.start <= section.body <= section.end
        at = section.end
    assert at == len(text)


def _check_lines(text, chain):
    """No word is invented: every line was sent."""
    lines = {line for report in chain for each in report.parts for line in each.text.splitlines()}
    assert {line for line in text.splitlines() if line.strip()} <= lines


@settings(max_examples=60, deadline=None)
@given(chains, patients)
def test_nothing_is_left_of_what_was_withdrawn_last(chain, patient):
    """After W of the report itself, later references bring nothing back."""
    withdrawal = sent((), "W", day=0, number="F1", patient=patient, message_time="20260304")
    refers = [
        sent((), "U", day=5, number="F1"),
        sent([part("b", "B")], day=6, number="F1"),
        sent([part("e", role=Role.ADDENDUM)], day=7, number="F9", parent="F1"),
        sent([part("", "V")], day=8, number="F1"),
    ]
    own = [replace(each, parent_number="") for each in chain if each.number == "F1"]
    for more in ([], refers):
        last = fold(inputs(*own, withdrawal, *more))[-1]
        assert (last.effect, last.text) == (Effect.WITHDRAW, "")


@settings(max_examples=40, deadline=None)
@given(chains)
def test_text_of_a_version_is_of_patients_that_it_names(chain):
    """Whoever is named beside a text is named by the version, so that linking sees it."""
    marked = [
        replace(report, parts=tuple(replace(each, text=f"of {n}") for each in report.parts))
        for n, report in enumerate(chain)
    ]
    for version in fold(inputs(*marked)):
        named = set(version.report.patient.identifiers)
        for line in filter(None, version.text.splitlines()):
            sender = marked[int(line.removeprefix("of "))]
            assert set(sender.patient.identifiers) <= named


FLOW = {
    "P": sent("p", "P", day=1),
    "F": sent("f", "F", day=2),
    "B": sent([part("b", "B")], "F", day=3),
    "C": sent("c", "C", day=4),
    "W": sent((), "W", day=5),
    "N": sent("n", "F", day=6),
    "U": sent((), "U", day=7),
}


def _expected(names):
    """The rules for these messages, written down once more and simply."""
    status, base, added = "", "", []
    for name in sorted(names, key=list(FLOW).index):
        if name in "PFCN":
            base = name.lower()
            status = {"P": "P", "F": "F", "C": "C", "N": "F"}[name]
        elif name == "W":
            status, base, added = "W", "", []
        elif name == "B":
            added, status = ["b"], status or "A"
        elif name == "U" and status == "P":
            status = "F"
        elif name == "U" and not status:
            status = "U"
    return status, "\n\n".join(filter(None, [base, *added]))


@given(st.sets(st.sampled_from(sorted(FLOW)), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_every_order_of_a_usual_course_agrees_with_the_rules(names):
    for order in permutations(sorted(names)):
        last = fold(inputs(*(FLOW[name] for name in order)))[-1]
        assert (last.status, last.text) == _expected(names)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(TEXTS), max_size=4), st.lists(st.sampled_from(TEXTS), max_size=3))
def test_a_text_says_what_it_is_made_of(before, after):
    middle = "one line\nand another"
    assert says_already("\n".join([*before, middle, *after]), middle)
    assert not says_already("\n".join(["xone line", "and another"]), middle)


def test_sections_of_nothing():
    assert join_sections(()) == ()
    assert fold([Input(1, "", sent("  "))]) == ()

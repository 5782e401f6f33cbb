"""ADT: updates, merges, changes, moves and un-merges."""

import pytest

from dicom_node.hl7.parsed import PatientAction
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identifiers import Identifier
from tests.hl7_messages import message, read

NEW = "PID|||NEW^^^H||DOE^JANE||19700101|F"


@pytest.mark.parametrize("event", ["A04", "A08", "A31"])
def test_updates(event: str) -> None:
    (found,) = read(message(f"ADT^{event}", "EVN||20260228", NEW)).patient_events
    assert found.action is PatientAction.UPDATE
    assert found.patient.identifiers == (Identifier("NEW", "H"),)
    assert (found.event_time, found.message_time) == ("20260228", "20260301120000")
    assert (found.prior.value, found.survivor.value) == ("", "")


@pytest.mark.parametrize(
    ("event", "action"),
    [
        ("A34", PatientAction.MERGE),
        ("A40^ADT_A39", PatientAction.MERGE),
        ("A47", PatientAction.CHANGE),
        ("A43", PatientAction.MOVE),
    ],
)
def test_merges_changes_and_moves(event: str, action: PatientAction) -> None:
    (found,) = read(message(f"ADT^{event}", NEW, "MRG|OLD^^^H")).patient_events
    assert found.action is action
    assert (found.prior, found.survivor) == (Identifier("OLD", "H"), Identifier("NEW", "H"))
    assert found.event_time == "20260301120000"


def test_several_patients_each_with_their_own_prior_ones() -> None:
    events = read(
        message(
            "ADT^A40",
            "PID|||N1^^^A~N2^^^B",
            "MRG|O1^^^B~O2^^^A~O3^^^C",
            "PID|||M1^^^A",
            "MRG|L1^^^A",
        )
    ).patient_events
    assert [(each.prior.value, each.survivor.value) for each in events] == [
        ("O1", "N2"),
        ("O2", "N1"),
        ("O3", "N1"),
        ("L1", "M1"),
    ]


def test_an_identifier_that_both_hold_is_no_merge() -> None:
    events = read(message("ADT^A40", "PID|||N^^^A~S^^^SSN", "MRG|O^^^A~S^^^SSN")).patient_events
    assert [(each.prior.value, each.survivor.value) for each in events] == [("O", "N")]


def test_an_unmerge_names_two_patients() -> None:
    (found,) = read(message("ADT^A37", NEW, "PV1|1", "PID|||OLD^^^H")).patient_events
    assert found.action is PatientAction.UNLINK
    assert (found.prior.value, found.survivor.value) == ("OLD", "NEW")


def test_types_of_identifiers_that_count() -> None:
    pid = "PID|||1^^^H^MR~2^^^H^AN"
    (found,) = read(
        message("ADT^A40", pid, "MRG|3^^^H~4^^^H^AN"), patient_id_types=("MR",)
    ).patient_events
    assert (found.prior.value, found.survivor.value) == ("3", "1")


def test_assumed_issuers() -> None:
    (found,) = read(
        message("ADT^A40", "PID|||NEW", "MRG|OLD"), issuer_of_patient_id="H"
    ).patient_events
    assert found.prior == Identifier("OLD", "H", issuer_assumed=True)


def test_test_patients() -> None:
    found = read(message("ADT^A08", NEW), test_patients=("^NEW",))
    assert (found.patient_events, found.ignored) == ((), "a test patient of the feed")


@pytest.mark.parametrize(
    ("event", "segments", "expected"),
    [
        ("A08", (), ("PID", 0, 100)),
        ("A08", ("PID|1",), ("PID", 3, 101)),
        ("A40", (NEW,), ("MRG", 1, 101)),
        ("A40", ("MRG|OLD^^^H", NEW), ("MRG", 1, 101)),
        ("A40", (NEW, "MRG|"), ("MRG", 1, 101)),
        ("A40", ("PID|1", "MRG|OLD^^^H"), ("MRG", 1, 101)),
        ("A40", (NEW, "MRG|NEW^^^H"), ("MRG", 1, 205)),
        ("A40", (NEW, "MRG|OLD"), ("MRG", 1, 204)),
        ("A40", ("PID|||NEW", "MRG|OLD^^^H"), ("MRG", 1, 204)),
        ("A37", (NEW,), ("PID", 3, 101)),
        ("A37", (NEW, NEW), ("PID", 3, 205)),
    ],
)
def test_what_is_refused(
    event: str, segments: tuple[str, ...], expected: tuple[str, int, int]
) -> None:
    with pytest.raises(ContentFault) as caught:
        read(message(f"ADT^{event}", *segments))
    assert (caught.value.segment, caught.value.field, caught.value.code) == expected

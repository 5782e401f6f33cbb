"""What is proposed from a sample, and what is asked instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.feeds.learning import learn
from dicom_node.feeds.proposal import Proposal
from dicom_node.feeds.registry import read_profile
from dicom_node.feeds.sample import read_sample, split_message
from dicom_node.feeds.writing import write_proposal
from dicom_node.hl7.text import ContentFault

Change = Callable[[int], str]


def same(value: str) -> Change:
    return lambda _: value


def message(
    n: int,
    *,
    sender: str = "RIS|NORTH",
    charset: str = "",
    pid3: Change = lambda n: f"P{n // 2}^^^NORTH^MR",
    name: Change = lambda _: "DOE^JANE",
    sex: Change = lambda _: "F",
    placer: Change = lambda n: f"ORD{n}",
    filler: Change = lambda n: f"FIL{n}",
    accession: Change = lambda n: f"ACC{n:05}",
    modality: Change = lambda _: "CT",
    status: Change = lambda _: "F",
    line_status: Change = lambda _: "F",
    text: Change = lambda _: "Nothing is wrong.",
    more: Change = lambda _: "",
) -> str:
    return (
        f"MSH|^~\\&|{sender}|||2026030112{n % 60:02}00||ORU^R01|M{n}|P|2.5.1||||||{charset}\r"
        f"PID|1||{pid3(n)}||{name(n)}||19500101|{sex(n)}\r"
        f"OBR|1|{placer(n)}|{filler(n)}|CT^CT HEAD|||202603011100|||||||||||{accession(n)}||||"
        f"202603011159{n % 60:02}||{modality(n)}|{status(n)}\r"
        f"OBX|1|TX|1||{text(n)}||||||{line_status(n)}\r{more(n)}"
    )


def proposed(count: int = 40, codec: str = "utf-8", **changes: object) -> Proposal:
    contents = [message(n, **changes).encode(codec) for n in range(count)]  # type: ignore[arg-type]
    return learn("RIS|NORTH", [split_message(each) for each in contents])


def asked(proposal: Proposal, key: str) -> str:
    return " ".join(proposal.questions.get(key, []))


def test_a_feed_that_follows_the_standard_needs_little() -> None:
    found = proposed()
    profile = found.profile
    assert profile.accession_number_fields == ("IPC-1", "OBR-18")
    assert profile.report_number_fields == ("OBR-3", "ORC-3", "OBR-18", "OBR-2")
    assert profile.result_statuses == {}
    assert profile.patient_id_types == ("MR",)
    assert "no zone" in asked(found, "time_zone")
    assert "name no issuer" in asked(found, "issuer_of_accession_number")


def test_a_constant_is_no_accession_number_and_chains_no_reports() -> None:
    found = proposed(accession=same("CHEST1"))
    assert "OBR-18" not in found.profile.accession_number_fields
    assert "OBR-18" not in found.profile.report_number_fields
    assert found.profile.accession_number_fields == ("IPC-1", "OBR-3")
    assert any("several patients" in each for each in found.reasons["accession_number_fields"])


def test_a_number_that_report_texts_name_is_preferred_to_one_that_they_do_not() -> None:
    found = proposed(accession=same(""), text=lambda n: f"Order ORD{n}. Nothing is wrong.")
    assert found.profile.accession_number_fields == ("IPC-1", "OBR-18", "OBR-2")
    assert "OBR-3" in asked(found, "accession_number_fields")


def test_numbers_that_patients_share_are_asked_about() -> None:
    found = proposed(
        accession=lambda n: f"A{n % 5}", filler=lambda n: f"B{n % 5}", placer=same("C1")
    )
    assert "which field" in asked(found, "accession_number_fields")
    assert "no field names each report" in asked(found, "report_number_fields")


def test_moments_are_no_numbers() -> None:
    found = proposed(accession=lambda n: f"20260301{n // 60:02}{n % 60:02}00")
    assert "OBR-18" not in found.profile.accession_number_fields


def test_an_issuer_that_is_stated_is_told() -> None:
    found = proposed(accession=lambda n: f"A{n}^NORTHRIS")
    assert "NORTHRIS 40" in " ".join(found.reasons["issuer_of_accession_number"])
    assert not asked(found, "issuer_of_accession_number")


def test_known_words_are_mapped_and_unknown_ones_asked_about() -> None:
    words = ("Final", "wet read", "Blessed", "Completed", "C")
    found = proposed(
        status=lambda n: words[n % len(words)], line_status=lambda n: words[n % len(words)]
    )
    assert found.profile.result_statuses == {"Final": "F", "wet read": "P"}
    assert found.profile.observation_statuses == {"Final": "F", "wet read": "P"}
    assert "Blessed 8" in asked(found, "result_statuses")
    assert "Completed" in asked(found, "result_statuses")


def test_the_status_may_stand_in_orc_5() -> None:
    found = proposed(status=same(""), more=same("ORC|RE||||Prelim\r"), filler=lambda n: f"FIL{n}")
    assert found.profile.result_status_fields == ("ORC-5",)
    assert found.profile.result_statuses == {"Prelim": "P"}


def test_only_words_for_modalities_are_mapped() -> None:
    found = proposed(modality=lambda n: ("MRI", "IMG", "DR", "MR")[n % 4])
    assert found.profile.modalities == {"MRI": "MR"}
    assert "DR" in asked(found, "modalities")


def test_identifiers_that_patients_may_share_do_not_count() -> None:
    found = proposed(pid3=lambda n: f"P{n}^^^NORTH^MR~V{n}^^^NORTH^VN~X{n}^^^NORTH^QQ")
    assert found.profile.patient_id_types == ("MR",)
    assert "QQ" in asked(found, "patient_id_types")


def test_identifiers_without_type_all_count() -> None:
    assert proposed(pid3=lambda n: f"P{n}^^^NORTH").profile.patient_id_types == ()


def test_identifiers_without_issuer_are_asked_about() -> None:
    assert "40 of 40" in asked(proposed(pid3=lambda n: f"P{n}"), "issuer_of_patient_id")


def test_an_identifier_in_an_old_field_is_found() -> None:
    contents = [
        message(n).replace(f"PID|1||P{n // 2}^^^NORTH^MR|", f"PID|1|P{n // 2}||").encode()
        for n in range(40)
    ]
    found = learn("RIS|NORTH", [split_message(each) for each in contents])
    assert found.profile.patient_id_fields == ("PID-2",)
    assert "PID-2" in asked(found, "patient_id_fields")


@pytest.mark.parametrize(
    ("codec", "text", "expected"),
    [
        ("utf-8", "ü", "utf-8"),
        ("latin-1", "ü", "iso8859_1"),
        ("cp1252", "“quoted” ü", "cp1252"),
        ("ascii", "plain", ""),
    ],
)
def test_the_character_set_of_a_silent_sender(codec: str, text: str, expected: str) -> None:
    found = proposed(codec=codec, text=same(text))
    assert found.profile.charset == expected
    assert not found.profile.charset_overrides
    assert bool(asked(found, "charset")) == (expected in ("iso8859_1", "cp1252"))


def test_a_character_set_that_is_declared_wrong() -> None:
    found = proposed(charset="ASCII", text=same("ü"))
    assert (found.profile.charset, found.profile.charset_overrides) == ("utf-8", True)


def test_a_character_set_that_is_declared_right_is_left_alone() -> None:
    found = proposed(charset="8859/1", codec="latin-1", text=same("ü"))
    assert (found.profile.charset, found.profile.charset_overrides) == ("", False)


def test_a_mixture_of_character_sets_is_asked_about() -> None:
    contents = [
        message(n, text=same("ü")).encode("utf-8" if n % 3 else "latin-1") for n in range(30)
    ]
    found = learn("RIS|NORTH", [split_message(each) for each in contents])
    assert found.profile.charset == "utf-8"
    assert "10 are not" in asked(found, "charset")


def test_test_patients_are_found_by_their_names() -> None:
    found = proposed(name=lambda n: "ZZTEST^RADIOLOGY" if n < 2 else "TESTINO^MARIO")
    assert len(found.profile.test_patients) == 1
    assert "2 messages" in found.reasons["test_patients"][0]


def test_a_private_study_uid_is_found_and_asked_about() -> None:
    found = proposed(more=lambda n: f"ZXY|{n}|1.2.840.99.{n + 1}^ISO\r")
    assert found.profile.study_uid_fields == ("IPC-3", "ZDS-1.1", "ZXY-2.1")
    assert "ZXY-2.1" in asked(found, "study_uid_fields")


def test_little_evidence_is_said_to_be_little() -> None:
    found = proposed(3)
    assert any("only 3 messages" in each for each in found.notes)
    assert found.profile.accession_number_fields == ("IPC-1", "OBR-18", "OBR-3")


def test_no_value_of_one_patient_is_told() -> None:
    found = proposed(
        sex=lambda n: f"SECRET{n}",
        status=lambda n: f"CONFIDENTIAL{n}",
        pid3=lambda n: f"MRN{n}^^^ISSUER{n}^TYPE{n}",
        name=lambda n: f"NAME{n}^GIVEN",
    )
    said = write_proposal(found)
    for value in ("SECRET", "CONFIDENTIAL", "MRN1", "ISSUER", "TYPE1", "NAME1", "ACC0", "FIL1"):
        assert value not in said


def test_what_a_sender_writes_cannot_leave_its_comment() -> None:
    said = write_proposal(
        proposed(
            status=same('x" \x1b[31m\u2028issuer_of_patient_id = "EVIL"'), line_status=same("")
        )
    )
    assert read_profile(said).issuer_of_patient_id == ""
    assert "\x1b" not in said


def test_a_folder_with_everything_in_it(tmp_path: Path) -> None:
    (tmp_path / "one.hl7").write_text(message(1), newline="")
    (tmp_path / "two.hl7").write_text(message(2, sender="LAB|SOUTH"), newline="")
    (tmp_path / "empty.hl7").touch()
    (tmp_path / "readme.md").write_text("no message")
    (tmp_path / "link.hl7").symlink_to("/etc/hostname")
    sample = read_sample(tmp_path)
    assert {key: len(found) for key, found in sample.senders.items()} == {
        "RIS|NORTH": 1,
        "LAB|SOUTH": 1,
    }
    assert sorted(sample.unreadable) == ["empty.hl7", "readme.md"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.sampled_from('MSHPIDOBRXZ|^~\\&\r\n1AüF.-\x00\u2028"'), min_size=0, max_size=60),
        min_size=1,
        max_size=8,
    )
)
def test_nothing_in_a_sample_breaks_learning(bodies: list[str]) -> None:
    sampled = []
    for body in bodies:
        try:
            sampled.append(split_message(f"MSH|^~\\&|A|B|||1||ORU^R01|{body}".encode()))
        except ContentFault:
            continue
    if sampled:
        said = write_proposal(learn("A|B", sampled))
        assert read_profile(said).sender == "A|B"

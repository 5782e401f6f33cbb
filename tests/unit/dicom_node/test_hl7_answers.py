from __future__ import annotations

import datetime as dt

import pytest

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.envelope import read_envelope
from dicom_node.hl7.text import ContentFault
from dicom_node.mllp.answers import NOBODY, Outcome, acknowledgements

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=dt.UTC)
PROFILE = FeedProfile(sender="RIS|HOSPITAL")
FAULT = ContentFault("OBR", 18, 101, "no accession number | is given")


def _message(accept: str = "", application: str = "", **values: str) -> bytes:
    fields = ["MSH", values.get("marks", "^~\\&"), "RIS", "HOSPITAL", "RADLOOP", "LAB", "2026", ""]
    fields += ["ORU^R01^ORU_R01", values.get("control_id", "M1"), "P"]
    fields += [values.get("version", "2.5.1"), "", "", accept, application, "", "8859/1"]
    return "|".join(fields).encode("latin-1") + b"\rPID|1\r"


def _answers(
    message: bytes,
    outcome: Outcome = Outcome.STORED,
    profile: FeedProfile = PROFILE,
    fault: ContentFault | None = None,
) -> list[bytes]:
    envelope = read_envelope(message)
    return list(acknowledgements(envelope, profile, outcome, NOW, digest="ab" * 32, fault=fault))


def _codes(answers: list[bytes]) -> list[str]:
    return [each.split(b"\rMSA|")[1].split(b"|")[0].strip().decode() for each in answers]


def test_an_acknowledgement_in_original_mode() -> None:
    (answer,) = _answers(_message())
    assert answer == (
        b"MSH|^~\\&|RADLOOP|LAB|RIS|HOSPITAL|20260301120000+0000||ACK^R01^ACK"
        b"|RLAAabababababababab|P|2.5.1||||||8859/1\rMSA|AA|M1\r"
    )


@pytest.mark.parametrize(
    ("accept", "application", "stored", "faulty", "unstored"),
    [
        ("", "", ["AA"], ["AA"], ["AE"]),
        ("AL", "NE", ["CA"], ["CA"], ["CE"]),
        ("AL", "AL", ["CA", "AA"], ["CA", "AA"], ["CE"]),
        ("AL", "", ["CA"], ["CA"], ["CE"]),
        ("NE", "AL", ["AA"], ["AA"], []),
        ("", "AL", ["AA"], ["AA"], ["AE"]),
        ("NE", "NE", [], [], []),
        ("ER", "NE", [], [], ["CE"]),
        ("SU", "NE", ["CA"], ["CA"], []),
        ("ER", "ER", [], [], ["CE"]),
        ("al", "su", ["CA", "AA"], ["CA", "AA"], ["CE"]),
        ("??", "", ["CA"], ["CA"], ["CE"]),
    ],
)
def test_the_mode_follows_msh_15_and_16(
    accept: str, application: str, stored: list[str], faulty: list[str], unstored: list[str]
) -> None:
    message = _message(accept, application)
    assert _codes(_answers(message)) == stored
    assert _codes(_answers(message, Outcome.FAULTY, fault=FAULT)) == faulty
    assert _codes(_answers(message, Outcome.NOT_STORED)) == unstored
    refused = [{"AE": "AR", "CE": "CR"}[code] for code in unstored]
    assert _codes(_answers(message, Outcome.REFUSED)) == refused


@pytest.mark.parametrize("code", ["AA", "AE", "AR"])
def test_the_profile_decides_how_a_content_fault_is_answered(code: str) -> None:
    profile = PROFILE.model_copy(update={"on_content_fault": code})
    assert _codes(_answers(_message(), Outcome.FAULTY, profile, FAULT)) == [code]
    # The bytes are safe all the same.
    answers = _answers(_message("AL", "AL"), Outcome.FAULTY, profile, FAULT)
    assert _codes(answers) == ["CA", code]
    assert b"ERR" not in answers[0]
    assert b"ERR" in answers[1]


def test_the_profile_can_force_a_mode() -> None:
    original = PROFILE.model_copy(update={"acknowledgement": "original"})
    assert _codes(_answers(_message("AL", "AL"), profile=original)) == ["AA"]
    enhanced = PROFILE.model_copy(update={"acknowledgement": "enhanced"})
    assert _codes(_answers(_message(), profile=enhanced)) == ["CA"]


def test_err_names_segment_field_code_and_a_sentence() -> None:
    (answer,) = _answers(_message(), Outcome.FAULTY, fault=FAULT)
    err = answer.split(b"\r")[2].split(b"|")
    assert err[2] == b"OBR^1^18"
    assert err[3] == b"101^Required field missing^HL70357"
    assert err[4] == b"W"
    assert err[8] == b"no accession number \\F\\ is given"
    (refused,) = _answers(_message(), Outcome.REFUSED, fault=FAULT)
    assert b"|E|" in refused.split(b"\r")[2]


def test_older_versions_get_location_and_code_in_err_1_and_the_sentence_in_msa_3() -> None:
    (answer,) = _answers(_message(version="2.3.1"), Outcome.FAULTY, fault=FAULT)
    _, msa, err, _ = answer.split(b"\r")
    assert msa == b"MSA|AA|M1|no accession number \\F\\ is given"
    assert err.split(b"|")[1] == b"OBR^1^18^101&Required field missing&HL70357"


def test_the_control_id_comes_back_byte_for_byte() -> None:
    for control_id in ("M-1 x", "Ä\xff", "a^b&c~d", " padded "):
        (answer,) = _answers(_message(control_id=control_id))
        assert answer.split(b"\r")[1].split(b"|")[2] == control_id.encode("latin-1")


def test_other_delimiters_are_answered_with_the_same() -> None:
    message = _message(control_id="A!B").replace(b"|", b"#").replace(b"^", b"@")
    envelope = read_envelope(message.replace(b"A!B", b"A|B^C"))
    (answer,) = acknowledgements(envelope, PROFILE, Outcome.FAULTY, NOW, fault=FAULT)
    assert answer.startswith(b"MSH#@~\\&#RADLOOP#LAB#RIS#HOSPITAL#")
    assert b"ACK@R01@ACK" in answer
    assert answer.split(b"\r")[1] == b"MSA#AA#A|B^C"
    assert b"OBR@1@18" in answer


@pytest.mark.parametrize("marks", ["", "^", "^^^^", "abcd", "^~\\&#", "\x1c\x0b\r\n"])
def test_any_delimiters_give_one_answer_in_one_piece(marks: str) -> None:
    (answer,) = _answers(_message(marks=marks), Outcome.FAULTY, fault=FAULT)
    assert answer.count(b"MSA") == 1
    assert not {0x0B, 0x1C, 0x0A, 0x00} & set(answer)


def test_bytes_without_msh_are_answered_too() -> None:
    (answer,) = acknowledgements(NOBODY, PROFILE, Outcome.REFUSED, NOW, fault=FAULT)
    assert answer.startswith(b"MSH|^~\\&|||||20260301120000+0000||ACK^^ACK|")
    assert b"\rMSA|AR|\r" in answer


def test_an_echo_breaks_neither_frame_nor_segment() -> None:
    (answer,) = _answers(_message(control_id="A\x1cB\x0bC\x00D" + "x" * 500))
    msa = answer.split(b"\r")[1].split(b"|")
    assert msa[2] == b"ABCD" + b"x" * 249


def test_the_same_message_gets_the_same_bytes_again() -> None:
    assert _answers(_message()) == _answers(_message())

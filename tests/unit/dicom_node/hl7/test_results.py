"""ORU^R01: forms of the standard, forms of feeds, and what is refused."""

import base64
from collections.abc import Sequence

import pytest

from dicom_node.hl7.parsed import EmbeddedDocument, ParsedReport, Role
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identifiers import Identifier
from tests.hl7_messages import PID, ed, message, obr, obx, read, segment


def reports(*segments: str, version: str = "2.5.1", **values: object) -> Sequence[ParsedReport]:
    return read(message("ORU^R01", PID, *segments, version=version), **values).reports


def report(*segments: str, **values: object) -> ParsedReport:
    (found,) = reports(*segments, **values)
    return found


def fault(*segments: str, **values: object) -> ContentFault:
    with pytest.raises(ContentFault) as caught:
        reports(*segments, **values)
    return caught.value


def at(error: ContentFault) -> tuple[str, int, int]:
    return error.segment, error.field, error.code


def test_a_report_in_full() -> None:
    found = report(
        "ORC|RE|O1^RIS|F1^RIS",
        obr(placer="", filler="F1^RIS", accession="A1^SITE", interpreter="7&Doe&Jane"),
        obx("First~second \\T\\ third"),
        obx("18748&x", kind="ST"),
        issuer_of_order_numbers="ORDERS",
        time_zone="Europe/Berlin",
    )
    assert found.patient.identifiers == (Identifier("P1", "HOSP"),)
    assert (found.patient.name, found.patient.birth_date, found.patient.sex) == (
        "DOE^JANE",
        "19700101",
        "F",
    )
    assert found.number == "F1"
    assert found.placer == Identifier("O1", "RIS")
    assert found.filler == Identifier("F1", "RIS")
    assert found.accessions == (Identifier("A1", "SITE"),)
    assert found.procedure == "MR lumbar spine"
    assert (found.modality, found.result_status, found.interpreter) == ("MR", "F", "7")
    assert found.observation_date == "20260228101500+0100"
    assert found.status_changed_at == "20260301115900+0100"
    assert found.message_time == "20260301120000+0100"
    assert [each.text for each in found.parts] == ["First\nsecond & third", "18748&x"]
    assert {each.status for each in found.parts} == {"F"}


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8"])
def test_every_version_is_read_alike(version: str) -> None:
    (found,) = reports(obr(), obx("text"), version=version)
    assert found.parts[0].text == "text"


def test_types_of_observations() -> None:
    found = report(
        obr(),
        obx("plain", kind="ST"),
        obx("form\\.br\\atted", kind="FT"),
        obx("C65^Neoplasm^I10~X^^^^^^^^original~Y", kind="CWE"),
        obx("12.5", kind="NM"),
        obx("7795082807^UK^ZB", kind="RP"),
        obx("no type", kind=""),
        obx("", kind="TX"),
    )
    texts = [each.text for each in found.parts]
    assert texts == ["plain", "form\natted", "Neoplasm\noriginal\nY", "no type", ""]


def test_rad_28_names_uids_and_text_in_words() -> None:
    found = report(
        obr(),
        obx("1.2.3", kind="HD", identifier="^Study Instance UID"),
        obx("1.2.3.4", kind="HD", identifier="^Series Instance UID"),
        obx("1.2.3.4.5", kind="HD", identifier="^SR Instance UID"),
        obx("Line", kind="HD", identifier="^SR Text"),
    )
    assert found.study_instance_uids == ("1.2.3",)
    assert [each.text for each in found.parts] == ["Line"]


def test_study_uids_of_several_places() -> None:
    found = report(
        obr(),
        obx("1.2.3", kind="ST", identifier="113014^DICOM Study^DCM", status="O"),
        obx("1.2.4~1.2.5", kind="ST", identifier="113014^DICOM Study^DCM", status="O"),
        obx("text"),
        "ZDS|1.2.6^100^Application^DICOM",
    )
    assert found.study_instance_uids == ("1.2.3", "1.2.4", "1.2.5", "1.2.6")
    assert at(fault(obr(), "ZDS|no uid")) == ("ZDS", 1, 102)
    assert at(fault(obr(), obx("x", kind="ST", identifier="113014"))) == ("OBX", 5, 102)


def test_roles() -> None:
    found = report(
        obr(),
        obx("a", identifier="18748-4&GDT^Report^LN"),
        obx("b", identifier="18748-4&IMP^Report^LN"),
        obx("c", identifier="&ADT"),
        obx("d", identifier="55107-7^Addendum^LN"),
        obx("e", identifier="X^local^L^19005-8^Impression^LN"),
        obx("f", identifier="121078^Addendum^DCM"),
    )
    assert [each.role for each in found.parts] == [
        Role.TEXT,
        Role.IMPRESSION,
        Role.ADDENDUM,
        Role.ADDENDUM,
        Role.IMPRESSION,
        Role.ADDENDUM,
    ]


def test_a_child_order_is_an_addendum_to_its_parent() -> None:
    first, second, third = reports(
        obr(),
        obx("original"),
        obr(2, filler="F2", parent="O1&RIS^F1&RIS"),
        obx("more", sub_id="1"),
        obr(3, filler="F3", parent_result="18748-4&GDT^1"),
        obx("yet more"),
    )
    assert (first.parent_number, second.parent_number, third.parent_number) == ("", "F1", "F1")
    assert {each.role for each in (*second.parts, *third.parts)} == {Role.ADDENDUM}


def test_orders_without_text_join_the_report_beside_them() -> None:
    (found,) = reports(
        obr(accession="A1", status=""),
        obr(2, filler="F2", accession="A2"),
        obx("for all"),
        obr(3, filler="F3", accession="A3"),
        obx("1.2.9", kind="ST", identifier="113014", status="O"),
    )
    assert [each.value for each in found.accessions] == ["A2", "A1", "A3"]
    assert found.study_instance_uids == ("1.2.9",)


def test_orders_without_text_but_with_a_status_of_their_own_stay_apart() -> None:
    found = reports(obr(), obx("text"), obr(2, filler="F2", accession="A2", status="X"))
    assert [(each.number, each.result_status) for each in found] == [("F1", "F"), ("F2", "X")]
    assert [len(each.accessions) for each in found] == [1, 1]


def test_a_zds_at_the_end_is_for_all_orders_of_its_accession_number() -> None:
    found = reports(
        obr(), obx("a"), obr(2, filler="F2"), obx("b"), obr(3, accession="A9"), obx("c"), "ZDS|1.2"
    )
    assert [each.study_instance_uids for each in found] == [(), (), ("1.2",)]
    found = reports(obr(), obx("a"), obr(2, filler="F2"), obx("b"), "ZDS|1.2")
    assert [each.study_instance_uids for each in found] == [("1.2",), ("1.2",)]


def test_statuses_by_the_words_of_the_profile() -> None:
    found = report(
        obr(status="Wet Read"),
        obx("text", status="prelim"),
        obx("text", status="f"),
        result_statuses={"wet read": "P"},
        observation_statuses={"Prelim": "P"},
    )
    assert found.result_status == "P"
    assert [each.status for each in found.parts] == ["P", "F"]
    assert at(fault(obr(status="Wet Read"))) == ("OBR", 25, 103)
    assert at(fault(obr(), obx("x", status="Done"))) == ("OBX", 11, 103)


def test_an_observation_that_is_no_text_still_takes_back_what_was_wrong() -> None:
    found = report(obr(status="C"), obx("5", kind="NM", status="W"), obx("6", kind="NM"))
    assert [(each.text, each.status) for each in found.parts] == [("", "W")]


def test_the_profile_names_the_fields() -> None:
    odd = segment("OBR", {2: "O", 3: "777", 6: "20260101", 18: "CHEST", 25: "F", 30: "CT scan"})
    found = report(
        odd,
        obx("keep"),
        obx("drop", identifier="NOISE"),
        "ZZZ|a^1.2.3&x|~no^B-00042-X",
        accession_number_fields=("ZZZ-9", "ZZZ-2.2", "OBR-3"),
        accession_number_pattern="B-0*([0-9]+)",
        study_uid_fields=("ZZZ-1.2.1",),
        observation_date_fields=("OBR-7", "OBR-6"),
        modality_fields=("OBR-30",),
        modalities={"ct SCAN": "CT"},
        issuer_of_accession_number="SITE",
        ignored_observations=("NOISE",),
    )
    assert found.accessions == (Identifier("42", "SITE", issuer_assumed=True),)
    assert found.study_instance_uids == ("1.2.3",)
    assert (found.modality, found.observation_date) == ("CT", "20260101")
    assert [each.text for each in found.parts] == ["keep"]


def test_embedded_documents_stay_bytes() -> None:
    long = base64.b64encode(b"%PDF-" + bytes(90)).decode()
    found = report(
        obr(),
        obx(ed(b"%PDF-1"), kind="ED"),
        obx("^Text^text/xml^A^<?xml version='1.0' encoding='x'?><a>\\T\\amp;^~</a>", kind="ED"),
        obx("^TEXT^^Hex^41 42\\X0D\\43", kind="ED"),
        obx(ed("naïve".encode("latin-1"), "TEXT", "PLAIN"), kind="ED"),
        obx(f"^AP^PDF^Base64^{long[:60]}\r{long[60:]}", kind="ED"),
        obx("", kind="ED"),
        charset="latin-1",
    )
    assert [each.document for each in found.parts] == [
        EmbeddedDocument("application/pdf", b"%PDF-1"),
        EmbeddedDocument("text/xml", b"<a>&amp;^~</a>"),
        EmbeddedDocument("text/plain", b"ABC"),
        EmbeddedDocument("text/plain", "naïve".encode()),
        EmbeddedDocument("application/pdf", b"%PDF-" + bytes(90)),
        None,
    ]
    for value in ("^AP^PDF^Base64^%%%", "^AP^PDF^Hex^4", "^AP^PDF", "^AP^PDF^Base64^QUJDR"):
        assert at(fault(obr(), obx(value, kind="ED"))) == ("OBX", 5, 102)


def test_patients() -> None:
    pid = "PID|1||1^^^H^MR~2^^^&1.2&ISO^PI~3^^^^SS~1^^^H^MR||Van Berg&Van^A^B^JR^DR||1970|W"
    content = message("ORU^R01", pid, obr(), obx("x"))
    (found,) = read(content, issuer_of_patient_id="OWN", sexes={"w": "F"}).reports
    assert found.patient.identifiers == (
        Identifier("1", "H"),
        Identifier("2", "1.2"),
        Identifier("3", "OWN", issuer_assumed=True),
    )
    assert found.patient.name == "Van Berg^A^B^DR^JR"
    assert (found.patient.birth_date, found.patient.sex) == ("", "F")
    (found,) = read(content, patient_id_types=("PI", "SS")).reports
    assert [each.value for each in found.patient.identifiers] == ["2", "3"]
    assert found.patient.sex == ""


def test_values_have_one_line() -> None:
    content = message("ORU^R01", "PID|||P\\.br\\1^^^H||DOE\\X0A\\X", obr(), obx("x"))
    (found,) = read(content).reports
    assert (found.patient.identifiers[0].value, found.patient.name) == ("P 1", "DOE X")


@pytest.mark.parametrize("pattern", ["^P1$", "^DOE\\^"])
def test_test_patients_are_ignored(pattern: str) -> None:
    found = read(message("ORU^R01", PID, obr(), obx("x")), test_patients=(pattern,))
    assert (found.reports, found.ignored) == ((), "a test patient of the feed")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ("MSH", 0, 100)),
        (b"hello", ("MSH", 0, 100)),
        (message("ORU^R01").replace(b"|M1|", b"||"), ("MSH", 10, 101)),
        (message(""), ("MSH", 9, 101)),
        (message("oru^r01"), ("MSH", 9, 101)),
        (message("ORU^R01", encoding_characters="^~\\\\&"), ("MSH", 2, 102)),
        (message("ORU^R01", encoding_characters="^^\\&"), ("MSH", 2, 102)),
        (message("ORU^R01"), ("OBR", 0, 100)),
        (message("ORU^R01", PID), ("OBR", 0, 100)),
        (message("ORU^R01", obr()), ("PID", 0, 100)),
        (message("ORU^R01", PID, obr(), "and text"), ("MSH", 0, 100)),
        (message("ORU^R01", "PID|||" + "1~" * 60, obr()), ("PID", 3, 102)),
        (message("ORU^R01", "PID|||" + "1" * 20_000, obr()), ("PID", 3, 102)),
        (message("ORU^R01", PID, *["OBR|1"] * 2001), ("OBR", 0, 102)),
        (message("ORU^R01", PID, *["OBX|1"] * 50_001), ("MSH", 0, 102)),
        (message("ORU^R01") + b"\r" * 500_001, ("MSH", 0, 102)),
        (message("ORU^R01", PID, obr(), obx("\\.br\\" * 500_000)), ("MSH", 0, 102)),
        (message("ORU^R01", PID, obr(), obx("a~" * 1000, kind="CE")), ("OBX", 5, 102)),
    ],
)
def test_what_is_refused(content: bytes, expected: tuple[str, int, int]) -> None:
    with pytest.raises(ContentFault) as caught:
        read(content)
    assert at(caught.value) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (message("ORU^R01", processing="T"), "sent for training or debugging (MSH-11)"),
        (message("ORU^R01", processing="D^x"), "sent for training or debugging (MSH-11)"),
        (message("SIU^S12"), "SIU^S12 is not used"),
        (message("ADT^A01"), "ADT^A01 is not used"),
        (message("ACK"), "ACK is not used"),
    ],
)
def test_what_is_ignored(content: bytes, reason: str) -> None:
    assert read(content).ignored == reason


def test_other_delimiters() -> None:
    content = message("ORU^R01", "PID|1||P#1^^^H", obr(), obx("a~b")).translate(
        bytes.maketrans(b"|^~\\&", b"!:*?;")
    )
    (found,) = read(content).reports
    assert found.patient.identifiers == (Identifier("P#1", "H"),)
    assert found.parts[0].text == "a\nb"


def test_segments_may_end_in_line_feeds() -> None:
    for end in (b"\n", b"\r\n"):
        (found,) = read(message("ORU^R01", PID, obr(), obx("x")).replace(b"\r", end)).reports
        assert found.parts[0].text == "x"

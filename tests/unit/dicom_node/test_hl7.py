from __future__ import annotations

import time
from pathlib import Path

import pytest

from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.registry import Profiles
from dicom_node.hl7.envelope import read_envelope
from dicom_node.hl7.files import read_hl7_file
from dicom_node.hl7.parsed import ParsedMessage, ParsedReport
from dicom_node.hl7.reader import read_message
from dicom_node.hl7.text import (
    CHARSETS,
    ContentFault,
    Delimiters,
    codec_name,
    decode,
    undo_escapes,
)
from dicom_node.linking.identifiers import Identifier
from dicom_node.mllp.framing import frame
from dicom_node.settings import Hl7Settings
from tests.hl7_builders import HL7, merge, oru, shared_folder

MARKS = Delimiters("|", "^", "~", "\\", "&")


def parse_message(content: bytes, settings: Hl7Settings = HL7) -> ParsedMessage:
    return read_message(content, Profiles(settings).of)


def _report(content: bytes, settings: Hl7Settings = HL7) -> ParsedReport:
    (report,) = parse_message(content, settings).reports
    return report


def test_an_oru_gives_every_field_that_is_needed() -> None:
    report = _report(
        oru(
            patient="P1^^^HOSP&1.2.3&ISO^MR~N7^^^NATION^NI~BARE",
            name="DOE^JANE^Q^JR^DR",
            study_uids=["1.2.840.1", "1.2.840.2"],
            extra=["ZDS|1.2.840.3^RIS^Application^DICOM"],
        )
    )
    assert report.patient.identifiers == (
        Identifier("P1", "HOSP"),
        Identifier("N7", "NATION"),
        Identifier("BARE"),
    )
    assert report.patient.name == "DOE^JANE^Q^DR^JR"
    assert (report.patient.birth_date, report.patient.sex) == ("19700101", "F")
    assert (report.placer.value, report.filler.value, report.number) == ("O1", "F1", "F1")
    assert report.accessions == (Identifier("A1", "SITE", issuer_assumed=True),)
    assert report.study_instance_uids == ("1.2.840.1", "1.2.840.2", "1.2.840.3")
    assert (report.procedure, report.modality) == ("MR lumbar spine", "MR")
    assert report.observation_date == "20260228101500"
    assert report.status_changed_at == "20260301115900"
    assert report.result_status == "F"
    assert [each.text for each in report.parts] == [
        "FINDINGS: L4/L5 disc narrowed.",
        "IMPRESSION: degenerative disc disease.",
    ]


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.6", "2.7", "2.9", ""])
def test_every_version_is_read(version: str) -> None:
    report = _report(oru(version=version))
    assert report.patient.identifiers == (Identifier("P1", "HOSP"),)
    assert report.filler.value == "F1"


@pytest.mark.parametrize(
    ("field", "accession", "filler", "expected"),
    [
        ("IPC-1 OBR-18 OBR-3", "A1", "F1^RIS", Identifier("A1", "SITE", issuer_assumed=True)),
        ("IPC-1 OBR-18 OBR-3", "A1^REG", "F1^RIS", Identifier("A1", "REG")),
        ("IPC-1 OBR-18 OBR-3", "", "F1^RIS", Identifier("F1", "RIS")),
        ("IPC-1 OBR-18 OBR-3", "", "F1^^1.2.3^ISO", Identifier("F1", "1.2.3")),
        ("OBR-3", "CHEST", "F1^RIS", Identifier("F1", "RIS")),
        ("OBR-18", "", "F1^RIS", Identifier("")),
    ],
)
def test_the_accession_number_is_obr_18_else_obr_3(
    field: str, accession: str, filler: str, expected: Identifier
) -> None:
    feed = FeedProfile(sender="RIS|HOSPITAL", accession_number_fields=tuple(field.split()))
    settings = HL7.model_copy(update={"feeds": (feed,)})
    found = _report(oru(accession=accession, filler=filler), settings).accessions
    assert found == ((expected,) if expected.value else ())


def test_text_is_joined_in_order_with_escapes_undone() -> None:
    report = _report(
        oru(
            lines=[r"one\.br\two \T\ three", "four~five", "\\X48C3A4\\", r"C:\temp\x", ""],
            extra=[
                "OBX|8|FT|||six||||||F",
                "OBX|9|CE|||C1^seven^L||||||F",
                "OBX|10|NM|||42||||||F",
                "OBX|11|TX|||deleted||||||D",
            ],
        )
    )
    assert "\n".join(each.text for each in report.parts if each.status != "D") == (
        "one\ntwo & three\nfour\nfive\nHä\nC:\\temp\\x\n\nsix\nseven"
    )


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        (r"\F\\S\\T\\R\\E\ ", "|^&~\\ "),
        (r"\.sp2\x", "\n\nx"),
        (r"\H\bold\N\ ", "bold "),
        (r"\X0D0A\ ", "\n "),
        (r"a\b", r"a\b"),
        (r"\E\F\E\ ", "\\F\\ "),
        (r"\Zcustom\ ", r"\Zcustom\ "),
    ],
)
def test_escape_sequences(escaped: str, plain: str) -> None:
    assert undo_escapes(escaped, MARKS, "utf-8") == plain


@pytest.mark.parametrize(("declared", "codec"), sorted(CHARSETS.items()))
def test_every_character_set_of_table_0211_round_trips(declared: str, codec: str) -> None:
    samples = {
        "iso8859_5": "Иван",
        "iso8859_6": "محمد",
        "iso8859_7": "Γιώργος",
        "iso8859_8": "דוד",
        "iso2022_jp": "山田",
        "iso2022_jp_2": "山田",
        "gb18030": "王小东",
        "euc_kr": "김희중",
        "big5": "王大明",
        "ascii": "Mueller",
        "iso8859_2": "Łukasz",
        "iso8859_4": "Jānis",
        "iso8859_3": "Ĉapek",
    }
    name = samples.get(codec, "Müller")
    report = _report(oru(charset=declared, name=f"{name}^A", lines=[name], encoding=codec))
    assert report.patient.name == f"{name}^A"
    assert report.parts[0].text == name


@pytest.mark.parametrize(
    ("content", "segment", "field"),
    [
        (b"hello", "MSH", 0),
        (b"", "MSH", 0),
        (b"MSH", "MSH", 0),
        (b"PID|1||P1", "MSH", 0),
        (oru(control_id=""), "MSH", 10),
        (oru().replace(b"ORU^R01^ORU_R01", b""), "MSH", 9),
        (oru(charset="UNICODE UTF-8", lines=["Müller"], encoding="latin-1"), "MSH", 18),
        (oru(charset="8859/1~ISO IR87"), "MSH", 18),
        (oru(charset="KLINGON"), "MSH", 18),
        (oru(charset="8859/1", lines=["“quoted”"], encoding="cp1252"), "MSH", 18),
        (oru(lines=["lost \ufffd"]), "MSH", 18),
        (oru(lines=["a\x00b"]), "MSH", 18),
        (oru(lines=[r"\XFF\ "]), "MSH", 18),
        (oru().replace(b"MSH|^~\\&", b"MSH|^^^^"), "MSH", 2),
        (oru().replace(b"\rPID", b"\rno segment\rPID"), "MSH", 0),
        (oru().replace(b"\rPID|", b"\rNTE|"), "PID", 0),
        (oru(patient="~".join(f"{each}^^^A" for each in range(1000))), "PID", 3),
        (oru(name="^".join("x" * 9000)), "PID", 5),
        (oru().split(b"\rORC")[0] + b"\r", "OBR", 0),
        (oru(study_uids=["../../x"]), "OBX", 5),
        (merge("P1^^^HOSP", "P1^^^HOSP"), "MRG", 1),
        (merge("P1", "P2"), "MRG", 1),
        (merge("", "P2^^^HOSP"), "MRG", 1),
    ],
)
def test_a_fault_names_its_place_and_no_value(content: bytes, segment: str, field: int) -> None:
    with pytest.raises(ContentFault) as caught:
        parse_message(content, HL7)
    assert (caught.value.segment, caught.value.field) == (segment, field)
    assert "ller" not in caught.value.sentence
    assert "KLINGON" not in caught.value.sentence


@pytest.mark.parametrize("processing", ["T", "D", "T^A"])
def test_test_messages_give_no_report(processing: str) -> None:
    parsed = parse_message(oru(processing=processing), HL7)
    assert parsed.ignored
    assert not parsed.reports


def test_other_types_are_ignored_with_a_reason() -> None:
    parsed = parse_message(oru().replace(b"ORU^R01^ORU_R01", b"SIU^S12"), HL7)
    assert parsed.ignored == "SIU^S12 is not used"


def test_a_merge_pairs_identifiers_by_issuer() -> None:
    parsed = parse_message(merge("1^^^A~2^^^B", "8^^^B~9^^^A"), HL7)
    pairs = [(each.prior.value, each.survivor.value) for each in parsed.patient_events]
    assert pairs == [("1", "9"), ("2", "8")]


def test_a_merge_of_several_patients_pairs_each_with_the_pid_before_it() -> None:
    second = b"\r".join(merge("2^^^A", "8^^^A").split(b"\r")[1:])
    parsed = parse_message(merge("1^^^A", "9^^^A") + second, HL7)
    pairs = [(each.prior.value, each.survivor.value) for each in parsed.patient_events]
    assert pairs == [("1", "9"), ("2", "8")]


def test_codec_names_are_found_in_other_spellings() -> None:
    assert codec_name("utf-8", "ascii") == "utf_8"
    assert codec_name("ISO-8859-1", "ascii") == "iso8859_1"
    assert codec_name("ASCII~8859/1", "ascii") == "iso8859_1"
    assert codec_name("", "latin-1") == "iso8859-1"
    with pytest.raises(ContentFault):
        decode(b"\xe4", "ascii")


def test_the_envelope_is_read_whatever_comes() -> None:
    for content in (b"", b"MSH", b"MSH|", b"MSHA", b"\xff\xfe", b"MSH|^~\\&\rPID"):
        envelope = read_envelope(content)
        assert envelope.control_id == ""
        assert len(envelope.fields) == 21


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (oru(), 1),
        (oru() + oru(), 2),
        (oru().replace(b"\r", b"\n"), 1),
        (b"\xef\xbb\xbf" + oru().replace(b"\r", b"\r\n") * 3, 3),
        (frame(oru()) + frame(oru()), 2),
        (b"log line\n<SB>\n" + oru().replace(b"\r", b"<R>\n") + b"<EB>\n", 1),
        (b"FHS|^~\\&\rBHS|^~\\&\r" + oru() + oru() + b"BTS|2\rFTS|1\r", 2),
        (b"", 0),
        (b"\r\n \n", 0),
        (b"not HL7 at all", 1),
    ],
)
def test_files_of_every_form_are_split(tmp_path: Path, content: bytes, count: int) -> None:
    path = tmp_path / "file.hl7"
    path.write_bytes(content)
    found = list(read_hl7_file(path))
    assert len(found) == count
    if b"MSH" in content:
        assert found == [oru()] * count


def test_real_files_are_parsed_or_refused_with_a_reason() -> None:
    said: list[str] = []
    for path in sorted(shared_folder("hl7").rglob("*.hl7")):
        for message in read_hl7_file(path):
            try:
                parsed = parse_message(message, HL7)
            except ContentFault as fault:
                said.append(fault.sentence)
            else:
                said.append(parsed.ignored or f"{len(parsed.reports or parsed.patient_events)}")
    assert len(said) >= 20
    assert all(said)


def test_a_long_message_takes_time_in_proportion() -> None:
    content = oru(lines=["x" * 70] * 20_000)
    began = time.process_time()
    assert len(_report(content).parts) == 20_000
    assert time.process_time() - began < 2

"""Twelve character sets, each from three senders, byte by byte (attack H3)."""

import pytest

from dicom_node.hl7.parsed import ParsedReport
from dicom_node.hl7.text import ContentFault
from tests.hl7_messages import message, obr, obx, read

# MSH-18 as one sender writes it, Python's codec, and text of that set.
SETS = [
    ("", "ascii", "Disc ok, 50% (L4/L5)."),
    ("8859/1", "iso8859_1", "Ödème à l'étage çà"),
    ("8859/2", "iso8859_2", "Zwyrodnienie krążka łąść"),
    ("8859/5", "iso8859_5", "Грыжа диска"),
    ("8859/7", "iso8859_7", "Κήλη δίσκου"),
    ("8859/9", "iso8859_9", "Disk fıtığı şöyle"),
    ("8859/15", "iso8859_15", "Œdème €5 žš"),
    ("UNICODE UTF-8", "utf_8", "椎間板 — Ödem, 디스크 ✓"),
    ("ISO IR87", "iso2022_jp", "椎間板ヘルニアの疑い"),
    ("GB 18030-2000", "gb18030", "椎间盘突出。𠀀"),
    ("KS X 1001", "euc_kr", "추간판 탈출증"),
    ("BIG-5", "big5", "椎間盤突出許功蓋"),
]
SENDERS = ("declared", "by profile", "overridden")


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize(("declared", "codec", "text"), SETS)
def test_text_and_names_are_those_that_were_sent(
    declared: str, codec: str, text: str, sender: str
) -> None:
    """Each set is declared in MSH-18, left to the profile, or declared wrongly and overridden."""
    charset = {"declared": declared, "by profile": "", "overridden": "8859/8"}[sender]
    name = text.split()[0]
    content = message(
        "ORU^R01",
        f"PID|1||P1^^^HOSP||{name}^X||19700101|F",
        obr(),
        obx(text),
        encoding=codec,
        charset=charset,
    )
    own = "ascii" if sender == "declared" else codec
    found = read(content, charset=own, charset_overrides=sender == "overridden")
    (report,) = found.reports
    assert report.parts[0].text.encode(codec) in content
    assert report.parts[0].text == text
    assert report.patient.name == f"{name}^X"


@pytest.mark.parametrize(("declared", "codec", "text"), SETS[1:])
def test_text_of_one_set_is_never_taken_for_ascii(declared: str, codec: str, text: str) -> None:
    content = message("ORU^R01", "PID|1||P1^^^H", obr(), obx(text), encoding=codec)
    if codec == "iso2022_jp":  # its escape sequences are control characters of ASCII
        assert b"\x1b" in content
    with pytest.raises(ContentFault) as caught:
        read(content, charset="ascii")
    assert (caught.value.segment, caught.value.field, caught.value.code) == ("MSH", 18, 102)
    assert not set(text) & set(caught.value.sentence) - set(map(chr, range(128)))


@pytest.mark.parametrize(
    ("declared", "broken"),
    [
        ("UNICODE UTF-8", b"\xff\xfe"),
        ("UNICODE UTF-8", b"\xed\xa0\x80"),
        ("UNICODE UTF-8", b"\xc0\xaf"),
        ("8859/1", b"\x85"),
        ("8859/7", b"\xae"),
        ("ISO IR87", b"\x1b$B\x7f\x7f"),
        ("BIG-5", b"\xa1 "),
        ("GB 18030-2000", b"\x81 "),
        ("KS X 1001", b"\xff"),
        ("UNICODE UTF-8", "\ufffd".encode()),
        ("8859/99", b""),
        ("8859/1~8859/5", b""),
    ],
)
def test_what_is_not_of_the_set_is_a_fault(declared: str, broken: bytes) -> None:
    content = message("ORU^R01", "PID|1||P1^^^H", obr(), obx("TEXT"), charset=declared)
    with pytest.raises(ContentFault) as caught:
        read(content.replace(b"TEXT", b"TEXT" + broken))
    assert (caught.value.segment, caught.value.field) == ("MSH", 18)


def only_report(content: bytes, **values: object) -> ParsedReport:
    (report,) = read(content, **values).reports
    return report


def test_hexadecimal_escapes_are_bytes_of_the_set() -> None:
    segments = ("PID|1||P1^^^H||M\\XFC\\ller", obr(), obx("\\XC4\\hnlich\\X0D0A\\zwei"))
    content = message("ORU^R01", *segments, charset="8859/1", encoding="latin-1")
    report = only_report(content)
    assert report.patient.name == "Müller"
    assert report.parts[0].text == "Ähnlich\nzwei"

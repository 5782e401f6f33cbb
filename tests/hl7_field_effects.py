"""Which fields of a message make a difference to the reader: found by changing each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.envelope import read_envelope
from dicom_node.hl7.parsed import ParsedMessage
from dicom_node.hl7.reader import read_message
from dicom_node.hl7.text import ContentFault

PROFILE = FeedProfile(sender="RIS|HOSPITAL", charset="utf_8")
_NOBODY = read_envelope(b"")
_MOST_FIELDS = 60
_CHANGES = ("", "ZZZ", "1.2.3.4", "20200101", "X", "CA")

_MSH = "MSH|^~\\&|RIS|HOSPITAL|RADLOOP|LAB|20260301120000||{0}|M1|P|2.5.1||||||UNICODE UTF-8"
_PID = "PID|1||P1^^^HOSP^MR||Doe^Jane||19700101|F"
_OBR = (
    "OBR|1|O1^RIS|F1^RIS|MR^MR spine^L|||20260228101500||||||||^^^LSPINE|||A1^SITE||||"
    "20260301115900||MR|F||||||||77^Reader"
)

SAMPLES: dict[str, tuple[str, ...]] = {
    "ORU^R01": (
        _MSH.format("ORU^R01^ORU_R01"),
        _PID,
        "ORC|RE|O1|F1",
        _OBR,
        "OBX|1|ST|113014^DICOM Study^DCM|1|1.2.3||||||O",
        "OBX|2|TX|&GDT|1|First.||||||F",
        "ORC|RE|O2|F2",
        "OBR|2|O2|F2|MR^MR spine^L|||20260228101500|||||||||||A1^SITE||||20260301115900||MR|F"
        "|&GDT|||O1^F1",
        "OBX|1|TX|&ADT|1|More.||||||F",
        "ZDS|1.2.3^RADLOOP^Application^DICOM",
    ),
    "ORM^O01": (
        _MSH.format("ORM^O01"),
        _PID,
        "ORC|NW|O1|F1||SC||||20260201",
        _OBR,
        "ZDS|1.2.3^RADLOOP^Application^DICOM",
    ),
    "OMI^O23": (
        _MSH.format("OMI^O23^OMI_O23"),
        _PID,
        "ORC|NW|O1|F1||SC||||20260201",
        _OBR,
        "IPC|A1^SITE|RP1|1.2.3|SPS1|MR",
    ),
    "MDM^T06": (
        _MSH.format("MDM^T06^MDM_T02"),
        "EVN||20260301",
        _PID,
        "ORC|RE|O1|F1",
        _OBR,
        "TXA|1|RAD|TX|20260228||20260301|||9^Author|||D2|D1|O1|F1||AU||AV"
        "|||9^A^^^^^^^^^^^^^20260302",
        "OBX|1|TX|&GDT|1|Text.||||||F",
    ),
    "ADT^A08": (_MSH.format("ADT^A08^ADT_A01"), "EVN||20260301", _PID),
    "ADT^A40": (
        _MSH.format("ADT^A40^ADT_A39"),
        "EVN||20260301",
        _PID,
        "MRG|P0^^^HOSP^MR||||||Doe^Jane",
    ),
}
"""A message of each kind that has a value in every field that could count."""


def read_fields(kind: str) -> set[str]:
    """Return the fields behind MSH that change what is read of a sample, such as ``OBR-18``.

    A field that only counts where another is silent is found with that other one left out.
    """
    segments = SAMPLES[kind]
    found = _effective(segments, range(1, _MOST_FIELDS), set())
    for silent in sorted(found):
        name, number = silent.split("-")
        quiet = tuple(
            _without(each, int(number)) if each[:3] == name else each for each in segments
        )
        if not isinstance(_read(quiet), str):
            found |= _effective(quiet, None, found)
    return found


def _effective(segments: tuple[str, ...], numbers: range | None, known: set[str]) -> set[str]:
    """Return fields that make a difference; without ``numbers``, of those that hold a value."""
    plain, found = _read(segments), set()
    assert not isinstance(plain, str), plain
    for place, segment in enumerate(segments[1:], start=1):
        held = [n for n, text in enumerate(segment.split("|")) if n and text]
        for number in numbers or held:
            if f"{segment[:3]}-{number}" in known:
                continue
            changes = _changed(segment, number)
            if any(
                _read((*segments[:place], each, *segments[place + 1 :])) != plain
                for each in changes
            ):
                found.add(f"{segment[:3]}-{number}")
    return found


def _without(segment: str, number: int) -> str:
    fields = segment.split("|")
    return "|".join("" if n == number else text for n, text in enumerate(fields))


def _changed(segment: str, number: int) -> Iterator[str]:
    fields = segment.split("|")
    fields += [""] * (number + 1 - len(fields))
    for value in _CHANGES:
        if value != fields[number]:
            yield "|".join((*fields[:number], value, *fields[number + 1 :]))


def _read(segments: tuple[str, ...]) -> ParsedMessage | str:
    content = "\r".join((*segments, "")).encode()
    try:
        return replace(read_message(content, lambda _: PROFILE), envelope=_NOBODY)
    except ContentFault as fault:
        return fault.sentence

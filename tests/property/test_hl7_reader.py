"""The reader against hl7apy, and against what was built: the same components, the same values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pytest
from hl7apy import SUPPORTED_LIBRARIES
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_field
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from dicom_node.hl7.building import ReportContent, build_oru
from dicom_node.hl7.envelope import read_envelope
from dicom_node.hl7.files import read_hl7_file
from dicom_node.hl7.segments import Reading
from dicom_node.hl7.text import ContentFault
from dicom_node.hl7.times import comparable, with_zone
from dicom_node.linking.identifiers import Identifier
from tests.hl7_builders import shared_folder
from tests.hl7_messages import message, read, reading_with

COMPOSITE = {
    "PID": (3, 5, 11),
    "MRG": (1, 7),
    "ORC": (2, 3),
    "OBR": (2, 3, 4, 16, 29, 32),
    "OBX": (3,),
    "IPC": (1, 2, 6),
    "TXA": (5, 9, 12, 13, 15),
    "PV1": (3, 7, 19),
}
"""The composite fields that the reader takes apart, and some more of the same types."""

_ENCODING = {
    "GROUP": "\r",
    "SEGMENT": "\r",
    "FIELD": "|",
    "COMPONENT": "^",
    "SUBCOMPONENT": "&",
    "REPETITION": "~",
    "ESCAPE": "\\",
}
# hl7apy takes milliseconds for a field, so that shrinking a failure would take minutes.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
_VERSIONS = ("2.3.1", "2.4", "2.5.1", "2.7")


def hl7apy_components(raw: str, name: str, version: str) -> list[list[str]] | None:
    """Take a repetition apart with hl7apy; None where its tables do not know the field."""
    if version not in SUPPORTED_LIBRARIES:
        version = "2.5.1"
    try:
        field = parse_field(raw, name, version, _ENCODING, VALIDATION_LEVEL.TOLERANT)
    except Exception:
        return None
    found: dict[int, list[str]] = {}
    for component in field.children:
        subs: dict[int, str] = {}
        for sub in component.children:
            value = getattr(sub.value, "value", sub.value)
            if isinstance(value, dt.date | dt.time):
                value = sub.value.to_er7()  # as it was written: it takes "111001" for a month
            # Old versions give a check digit a number's type, which loses its zeros.
            text = f"number {value}" if isinstance(value, Decimal) else str(value or "").strip()
            subs[_number(sub, "&" in raw)] = text
        found[_number(component, "^" in raw)] = _filled(subs, "")
    # Parts that its tables do not know have lost their places.
    return None if 0 in found or any(not each for each in found.values()) else _filled(found, [])


def _number(element: Any, has_others: bool) -> int:
    digits = (element.name or "").rpartition("_")[2]
    return int(digits) if digits.isdigit() else 0 if has_others else 1


def _filled(parts: dict[int, Any], blank: Any) -> list[Any]:
    if 0 in parts:
        return []
    return [parts.get(number, blank) for number in range(1, max(parts, default=0) + 1)]


def trimmed(components: list[list[str]]) -> list[list[str]]:
    """Leave out empty parts at the ends, which neither side must tell."""
    found = []
    for subs in components:
        while subs and not subs[-1]:
            subs = subs[:-1]
        found.append(subs)
    while found and not found[-1]:
        found.pop()
    return found


def assert_same(ours: list[list[str]], theirs: list[list[str]]) -> None:
    assert [len(each) for each in trimmed(ours)] == [len(each) for each in trimmed(theirs)]
    for mine, other in zip(trimmed(ours), trimmed(theirs), strict=True):
        for value, expected in zip(mine, other, strict=True):
            if expected.startswith("number "):
                assert Decimal(value) == Decimal(expected.removeprefix("number "))
            else:
                assert value == expected


@lru_cache(maxsize=1)
def a_reading() -> Reading:
    content = message("ORU^R01")
    return Reading(content, read_envelope(content), reading_with())


_VALUE = st.text(st.sampled_from("abcXYZ019 .-_äß測"), max_size=6)
_COMPONENT = st.one_of(
    _VALUE, _VALUE, _VALUE, st.lists(_VALUE, min_size=2, max_size=3).map("&".join)
)
_FIELD = st.lists(_COMPONENT, min_size=1, max_size=9).map("^".join)
_NAMES = [f"{name}_{number}" for name, numbers in COMPOSITE.items() for number in numbers]


@settings(max_examples=80, deadline=None, phases=_PHASES)
@given(_FIELD, st.sampled_from(_NAMES), st.sampled_from(_VERSIONS))
@example("1a1^Y-ß&9 X^111001", "OBR_32", "2.5.1")
def test_composite_fields_come_apart_as_in_hl7apy(raw: str, name: str, version: str) -> None:
    theirs = hl7apy_components(raw, name, version)
    if theirs is not None:
        assert_same(a_reading().components(raw), theirs)


def test_every_composite_field_of_the_shared_messages_comes_apart_as_in_hl7apy() -> None:
    seen: set[tuple[str, str, str]] = set()
    unknown = 0
    for path in sorted(shared_folder("hl7").rglob("*")):
        for content in read_hl7_file(path) if path.is_file() else ():
            envelope = read_envelope(content)
            try:
                reading = Reading(content, envelope, reading_with())
            except ContentFault:
                continue
            for segment in reading.segments:
                for number in COMPOSITE.get(segment.name, ()):
                    for raw in reading.repetitions(segment, number):
                        # Values differ, forms repeat; each form of a field is compared twice.
                        form = "".join(each if each in "^&" else "x" for each in raw)
                        key = (f"{segment.name}_{number}", envelope.text(12), form)
                        if key in seen or "\\" in raw:
                            continue
                        seen.add(key)
                        theirs = hl7apy_components(raw, key[0], key[1])
                        if theirs is None:
                            unknown += 1
                            continue
                        assert_same(reading.components(raw), theirs)
    assert len(seen) - unknown > 200


_LINE = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufffd\x85"),
    max_size=20,
)
_WORD = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=8).filter(
    lambda text: "\ufffd" not in text and text != '""'
)
_IDENTIFIERS = st.builds(Identifier, _WORD, _WORD | st.just(""))


@settings(max_examples=20, deadline=None, phases=_PHASES)
@given(
    st.lists(_IDENTIFIERS, min_size=1, max_size=3, unique=True),
    st.lists(_LINE, min_size=1, max_size=4).map("\n".join).filter(lambda text: text != '""'),
    st.lists(_IDENTIFIERS, max_size=3, unique=True),
    st.tuples(_WORD, _WORD).map(lambda both: "^".join(each.replace("^", "") for each in both)),
)
def test_what_is_built_is_read(
    identifiers: list[Identifier], text: str, accessions: list[Identifier], name: str
) -> None:
    content = build_oru(
        ReportContent(
            identifiers,
            "R1",
            text,
            name=name,
            accessions=accessions,
            study_instance_uids=("1.2.3",),
            sex="F",
            birth_date="19700101",
        ),
        sender="IMPORT|LOCAL",
        control_id="C1",
        message_time="20260101",
    )
    (report,) = read(content, accession_number_fields=("OBR-18",)).reports
    assert report.parts[0].text == text
    assert report.patient.identifiers == tuple(identifiers)
    assert report.patient.name == name.rstrip("^")
    assert report.accessions == tuple(accessions)
    assert (report.study_instance_uids, report.result_status) == (("1.2.3",), "F")


_MOMENTS = st.datetimes(min_value=dt.datetime(1900, 1, 2))


@settings(max_examples=60, deadline=None)
@given(_MOMENTS, _MOMENTS, st.integers(-840, 840), st.integers(-720, 840))
def test_the_order_of_comparable_text_is_the_order_of_time(
    one: Any, other: Any, here: int, there: int
) -> None:
    def written(moment: Any, minutes: int) -> str:
        zone = dt.timezone(dt.timedelta(minutes=minutes))
        return moment.replace(tzinfo=dt.UTC).astimezone(zone).strftime("%Y%m%d%H%M%S.%f%z")

    try:
        texts = written(one, here), written(other, there)
    except OverflowError:
        return
    first, second = (comparable(each) for each in texts)
    assert (first < second) == (one < other)
    assert (first == second) == (one == other)


@pytest.mark.parametrize("zone", ["", "Europe/Berlin", "America/St_Johns"])
@settings(max_examples=40, deadline=None)
@given(st.text(st.sampled_from("0123456789+-. "), max_size=26))
def test_whatever_is_sent_as_a_time_has_a_place_or_none(zone: str, text: str) -> None:
    assert len(comparable(text, zone)) in (0, 20)
    assert with_zone(text, zone).startswith(text)

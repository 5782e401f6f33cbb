"""OBX segments: text with its status and role, embedded documents, Study Instance UIDs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from dicom_node.hl7.encapsulated import read_document
from dicom_node.hl7.fields import checked_uid
from dicom_node.hl7.parsed import EmbeddedDocument, ReportPart, Role
from dicom_node.hl7.segments import Reading, Segment
from dicom_node.hl7.text import ContentFault

RESULT_STATUSES = frozenset("ACFIMOPRSXYZ") | frozenset("BDNUVW")
"""Table 0123: OBR-25; and codes of table 0085 that some systems put there."""

OBSERVATION_STATUSES = frozenset("ABCDFINOPRSUVWX")
"""Table 0085: OBX-11, with the codes of later versions."""

# Identifiers of Study, Series and SR Instance UIDs (DCM; RAD-28 has only the words).
_STUDY_UIDS = frozenset(("113014", "110180"))
_UIDS = _STUDY_UIDS | {"112002"}
_UID_WORDS = re.compile(r"(study|series|sr) instance uid", re.I)

_SUFFIX_ROLES = {"IMP": Role.IMPRESSION, "ADT": Role.ADDENDUM}
_CODE_ROLES = {
    "19005-8": Role.IMPRESSION,
    "55107-7": Role.ADDENDUM,
    "121078": Role.ADDENDUM,
}
_MAXIMUM_CODES = 1000  # repetitions of one coded value
_WRONG = "W"  # table 0085: posted as wrong, for instance for the wrong patient


def mapped_status(
    value: str, words: Mapping[str, str], codes: frozenset[str], segment: str, field: int
) -> str:
    """Return the code for a status as sent, by the profile's words, else as it stands.

    Raises:
        ContentFault: it is neither a word of the profile nor a code of the table.
    """
    if not value:
        return ""
    code = words.get(value.casefold(), value).upper()
    if code not in codes:
        raise ContentFault(
            segment, field, 103, "the status is no code of its table, and the profile maps it not"
        )
    return code


class ObservationIds:
    """What the OBX-3 of a message stand for; lines of a report share one, so each is read once."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._known: dict[str, ObservationId] = {}

    def __getitem__(self, field: str) -> ObservationId:
        found = self._known.get(field)
        if found is None:
            found = self._known[field] = _observation_id(self._reading, field)
        return found


class ObservationId(NamedTuple):
    """OBX-3: its code, the role that it names if any, and whether a UID is in OBX-5."""

    code: str
    role: Role | None
    is_study_uid: bool
    is_uid: bool
    is_sr_text: bool


def _observation_id(reading: Reading, field: str) -> ObservationId:
    marks = reading.delimiters
    components = field.split(marks.repetition, 1)[0].split(marks.component)
    code, _, suffix = components[0].partition(marks.subcomponent)
    code = reading.value(code)
    other = reading.value(components[3]) if len(components) > 3 else ""
    role = _SUFFIX_ROLES.get(suffix.strip().upper())
    words = field.casefold()
    return ObservationId(
        code,
        role or _CODE_ROLES.get(code) or _CODE_ROLES.get(other),
        code in _STUDY_UIDS or "study instance uid" in words,
        code in _UIDS or _UID_WORDS.search(words) is not None,
        "sr text" in words,
    )


def read_parts(
    reading: Reading, segments: Iterable[Segment], ids: ObservationIds, role: Role
) -> Iterator[ReportPart]:
    """Yield the text of each OBX in order.

    An OBX of another type is a part without text where its status takes the report back.

    Args:
        reading: the message.
        segments: OBX of one report.
        ids: of the message.
        role: of an OBX that does not say what it is for.

    Raises:
        ContentFault: a status or a document is not as it must be.
    """
    rules = reading.rules
    codes: dict[str, str] = {}
    for obx in segments:
        fields = obx.padded(12)
        kind, name, sub_id, value = fields[2:6]
        named = ids[name]
        if named.code in rules.ignored_observations:
            continue
        read = _READERS.get(kind) or _READERS.get(kind.strip().upper())
        if read is None and named.is_sr_text and not named.is_uid:
            read = _text  # RAD-28 sends lines of text as HD, too
        if read is None or named.is_uid:
            if reading.first(fields[11]).upper() == _WRONG:
                yield ReportPart("", _WRONG, role, named.code)
            continue
        status = codes.get(fields[11])
        if status is None:
            status = codes[fields[11]] = mapped_status(
                reading.first(fields[11]),
                rules.observation_statuses,
                OBSERVATION_STATUSES,
                "OBX",
                11,
            )
        text, document = read(reading, value)
        yield ReportPart(
            text, status, named.role or role, named.code, reading.first(sub_id), document
        )


def read_study_uids(
    reading: Reading, segments: Iterable[Segment], ids: ObservationIds
) -> Iterator[str]:
    """Yield the UIDs of OBX with DCM 113014 or 110180, or with the words of RAD-28.

    Raises:
        ContentFault: such a value is no UID.
    """
    for obx in segments:
        if ids[obx[3]].is_study_uid:
            for raw in reading.repetitions(obx, 5):
                if value := reading.first(raw):
                    yield checked_uid(value, "OBX", 5)


ValueReader = Callable[[Reading, str], tuple[str, EmbeddedDocument | None]]


def _text(reading: Reading, field: str) -> tuple[str, None]:
    """TX, FT, ST: repetitions are lines."""
    return reading.plain(field.replace(reading.delimiters.repetition, "\n")), None


def _coded(reading: Reading, field: str) -> tuple[str, None]:
    """CE, CWE: the text (component 2), else the original text (9), else the code."""
    marks = reading.delimiters
    if field.count(marks.repetition) >= _MAXIMUM_CODES:
        raise ContentFault("OBX", 5, 102, "the field is far too long")
    lines = []
    for raw in field.split(marks.repetition):
        components = raw.split(marks.component)
        choices = (components[number] for number in (1, 8, 0) if number < len(components))
        lines.append(reading.plain(next((each for each in choices if each), "")))
    return "\n".join(lines), None


def _document(reading: Reading, field: str) -> tuple[str, EmbeddedDocument | None]:
    return "", read_document(reading, field)


# Table 0125. An OBX-2 that is left out leaves only text to be expected.
_READERS: dict[str, ValueReader] = {
    "": _text,
    "TX": _text,
    "FT": _text,
    "ST": _text,
    "CE": _coded,
    "CWE": _coded,
    "CNE": _coded,
    "ED": _document,
}

"""OBX segments: text with its status and role, embedded documents, Study Instance UIDs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from dicom_node.hl7.encapsulated import read_document
from dicom_node.hl7.fields import checked_uid
from dicom_node.hl7.parsed import ReportPart, Role
from dicom_node.hl7.segments import Reading, Segment
from dicom_node.hl7.text import ContentFault

RESULT_STATUSES = frozenset("ACFIOPRSXYZ")
"""Table 0123: OBR-25."""

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


def read_parts(reading: Reading, segments: Iterable[Segment], role: Role) -> Iterator[ReportPart]:
    """Yield the text of each OBX in order.

    An OBX of another type is a part without text where its status takes the report back.

    Args:
        reading: the message.
        segments: of one report; others than OBX are passed over.
        role: of an OBX that does not say what it is for.

    Raises:
        ContentFault: a status or a document is not as it must be.
    """
    ignored = reading.rules.ignored_observations
    for obx in segments:
        if obx.name != "OBX":
            continue
        identifier, suffix, named = _identifier(reading, obx[3])
        if identifier in ignored:
            continue
        kind = obx[2].strip().upper()
        read = None if _is_uid(identifier, obx[3]) else _READERS.get(kind)
        if read is None and not (kind == "HD" and "sr text" in obx[3].casefold()):
            if reading.first(obx[11]).upper() == _WRONG:
                yield ReportPart("", _WRONG, role, identifier)
            continue
        status = mapped_status(
            reading.first(obx[11]),
            reading.rules.observation_statuses,
            OBSERVATION_STATUSES,
            "OBX",
            11,
        )
        yield from (read or _text)(
            reading,
            obx,
            ReportPart(
                "",
                status,
                _SUFFIX_ROLES.get(suffix) or _CODE_ROLES.get(named, role),
                identifier,
                reading.first(obx[4]),
            ),
        )


def read_study_uids(reading: Reading, segments: Iterable[Segment]) -> Iterator[str]:
    """Yield the UIDs of OBX with DCM 113014 or 110180, or with the words of RAD-28.

    Raises:
        ContentFault: such a value is no UID.
    """
    for obx in segments:
        if obx.name == "OBX" and _names_study(reading, obx[3]):
            for raw in reading.repetitions(obx, 5):
                if value := reading.first(raw):
                    yield checked_uid(value, "OBX", 5)


def _names_study(reading: Reading, field: str) -> bool:
    if "113014" in field or "110180" in field:
        return reading.first(field) in _STUDY_UIDS
    return "study instance uid" in field.casefold()


def _is_uid(identifier: str, field: str) -> bool:
    return identifier in _UIDS or bool(_UID_WORDS.search(field))


def _identifier(reading: Reading, field: str) -> tuple[str, str, str]:
    """Return OBX-3.1, its suffix, and the code that names the role: OBX-3.1 or OBX-3.4."""
    marks = reading.delimiters
    components = field.split(marks.repetition, 1)[0].split(marks.component)
    code, _, suffix = components[0].partition(marks.subcomponent)
    code = reading.plain(code).strip()
    other = reading.plain(components[3]).strip() if len(components) > 3 else ""
    return code, suffix.strip().upper(), code if code in _CODE_ROLES else other


PartReader = Callable[[Reading, Segment, ReportPart], Iterator[ReportPart]]


def _text(reading: Reading, obx: Segment, blank: ReportPart) -> Iterator[ReportPart]:
    """TX, FT, ST: repetitions are lines."""
    value = obx[5].replace(reading.delimiters.repetition, "\n")
    yield _with(blank, reading.plain(value))


def _coded(reading: Reading, obx: Segment, blank: ReportPart) -> Iterator[ReportPart]:
    """CE, CWE: the text (component 2), else the original text (9), else the code."""
    marks = reading.delimiters
    lines = []
    for raw in obx[5].split(marks.repetition):
        components = raw.split(marks.component)
        choices = (components[number] for number in (1, 8, 0) if number < len(components))
        lines.append(reading.plain(next((each for each in choices if each), "")))
    yield _with(blank, "\n".join(lines))


def _document(reading: Reading, obx: Segment, blank: ReportPart) -> Iterator[ReportPart]:
    document = read_document(reading, obx[5])
    yield ReportPart(blank.text, blank.status, blank.role, blank.identifier, blank.sub_id, document)


def _with(blank: ReportPart, text: str) -> ReportPart:
    return ReportPart(text, blank.status, blank.role, blank.identifier, blank.sub_id)


# Table 0125. An OBX-2 that is left out leaves only text to be expected.
_READERS: dict[str, PartReader] = {
    "": _text,
    "TX": _text,
    "FT": _text,
    "ST": _text,
    "CE": _coded,
    "CWE": _coded,
    "CNE": _coded,
    "ED": _document,
}

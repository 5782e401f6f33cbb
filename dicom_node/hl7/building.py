"""Build HL7 v2.5.1 messages with hl7apy, strictly: what is read back is what was given.

Old reports that come as tables or files enter the node as ORU^R01 built here, so that they pass
through the same reader, the same rules and the same tables as those that a hospital sends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Field, Message, Segment
from hl7apy.exceptions import HL7apyException

from dicom_node.errors import Permanent
from dicom_node.linking.identifiers import NOBODY, Identifier

VERSION = "2.5.1"
CHARSET = "UNICODE UTF-8"
"""MSH-18 of every message built here."""

_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"})
_LINE_END = re.compile("\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]")
# As in text.py: what no report text holds, and what stands for a character somebody lost.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
_MARKS = re.compile(r"[|^~\\&]")
_LINE_CONTROLS = re.compile("[\r\n]")


class NotBuildable(Permanent):
    """A value cannot stand in a message; the reason names the field and not the value."""


@dataclass(frozen=True, slots=True)
class ReportContent:
    """What a report says, as ``build_oru`` puts it into fields.

    Times are HL7 times (TS), names are in the order of DICOM PN, the status is a code of table
    0123. An issuer that is only assumed is not written: the profile of the feed supplies it. That
    profile should take accession numbers from OBR-18 alone: OBR-3 holds the report's own number.
    """

    identifiers: Sequence[Identifier]  # PID-3
    number: str  # OBR-3
    text: str  # OBX-5, one repetition a line
    status: str = "F"  # OBR-25 and OBX-11
    name: str = ""  # PID-5
    birth_date: str = ""  # PID-7, YYYYMMDD
    sex: str = ""  # PID-8
    accessions: Sequence[Identifier] = ()  # OBR-18; one OBR for each
    study_instance_uids: Sequence[str] = ()  # OBX, DCM 113014
    placer: Identifier = NOBODY  # OBR-2
    procedure: str = ""  # OBR-4.2
    procedure_code: str = ""  # OBR-4.1
    modality: str = ""  # OBR-24
    observed_at: str = ""  # OBR-7
    changed_at: str = ""  # OBR-22
    interpreter: str = ""  # OBR-32


def build_oru(report: ReportContent, *, sender: str, control_id: str, message_time: str) -> bytes:
    """Build an ORU^R01 (IHE RAD-128) in UTF-8, segments ending in CR, without frame.

    Args:
        report: what it says.
        sender: MSH-3 and MSH-4, joined with ``|``.
        control_id: MSH-10, at most 199 characters.
        message_time: MSH-7.

    Raises:
        NotBuildable: a value holds control characters, or hl7apy refuses it.
    """
    application, _, facility = sender.partition("|")
    if _MARKS.search(application + facility):
        raise NotBuildable("MSH-3 or MSH-4 would hold a delimiter, which some systems do not undo")
    try:
        message = Message("ORU_R01", version=VERSION, validation_level=VALIDATION_LEVEL.TOLERANT)
        for number, value in (
            (3, application),
            (4, facility),
            (10, control_id),
            (18, CHARSET),
        ):
            _put(message.msh, number, [_escaped(value, "MSH", number)])
        message.msh.msh_7 = _escaped(message_time, "MSH", 7)
        message.msh.msh_9 = "ORU^R01^ORU_R01"
        message.msh.msh_11 = "P"
        segments = [message.msh, _pid(report), *_orders(report)]
        return "".join(f"{each.to_er7()}\r" for each in segments).encode("utf-8")
    except HL7apyException as error:
        raise NotBuildable("a value does not fit its field") from error


def _pid(report: ReportContent) -> Segment:
    pid = Segment("PID", version=VERSION)
    identifiers = [_identifier(each, "PID", 3, "^^^") for each in report.identifiers]
    family, given, middle, prefix, suffix = (report.name.split("^") + [""] * 5)[:5]
    names = [family, given, middle, suffix, prefix]  # PN puts the prefix before the suffix
    _put(pid, 3, identifiers)
    _put(pid, 5, ["^".join(_escaped(each, "PID", 5) for each in names).rstrip("^")])
    _put(pid, 7, [_escaped(report.birth_date, "PID", 7)])
    _put(pid, 8, [_escaped(report.sex, "PID", 8)])
    return pid


def _orders(report: ReportContent) -> Iterable[Segment]:
    """Yield the order with the text, and an order without text for each further accession."""
    first, *others = [*report.accessions] or [NOBODY]
    yield _obr(report, 1, first)
    number = 0
    for number, uid in enumerate(report.study_instance_uids, start=1):
        yield _obx(number, "ST", "113014^DICOM Study^DCM", [_escaped(uid, "OBX", 5)], "O")
    lines = [_escaped(each, "OBX", 5) for each in _LINE_END.split(report.text)]
    yield _obx(number + 1, "TX", "18748-4^Diagnostic imaging report^LN", lines, report.status)
    for at, accession in enumerate(others, start=2):
        yield _obr(report, at, accession)


def _obr(report: ReportContent, number: int, accession: Identifier) -> Segment:
    obr = Segment("OBR", version=VERSION)
    code = _escaped(report.procedure_code, "OBR", 4)
    _put(obr, 1, [str(number)])
    _put(obr, 2, [_identifier(report.placer, "OBR", 2, "^")])
    _put(obr, 3, [_escaped(report.number, "OBR", 3)])
    _put(obr, 4, [f"{code}^{_escaped(report.procedure, 'OBR', 4)}".rstrip("^")])
    _put(obr, 7, [_escaped(report.observed_at, "OBR", 7)])
    _put(obr, 18, [_identifier(accession, "OBR", 18, "^")])
    _put(obr, 22, [_escaped(report.changed_at, "OBR", 22)])
    _put(obr, 24, [_escaped(report.modality, "OBR", 24)])
    _put(obr, 25, [_escaped(report.status, "OBR", 25)])
    _put(obr, 32, [_escaped(report.interpreter, "OBR", 32)])
    return obr


def _obx(number: int, kind: str, identifier: str, values: Sequence[str], status: str) -> Segment:
    obx = Segment("OBX", version=VERSION)
    _put(obx, 1, [str(number)])
    _put(obx, 2, [kind])
    _put(obx, 3, [identifier])
    _put(obx, 5, values)
    _put(obx, 11, [_escaped(status, "OBX", 11)])
    return obx


def _put(segment: Segment, number: int, values: Sequence[str]) -> None:
    """Set a field's repetitions, whose marks are escaped."""
    name = f"{segment.name}_{number}"
    if len(values) == 1 and not values[0]:
        return
    for value in values:
        field = Field(name, version=VERSION)
        field.value = value
        segment.add(field)


def _identifier(identifier: Identifier, segment: str, number: int, gap: str) -> str:
    """Return a CX or EI; HD in CX.4 and the namespace in EI.2 both stand behind ``gap``."""
    value = _escaped(identifier.value, segment, number)
    if not value or not identifier.issuer or identifier.issuer_assumed:
        return value
    return f"{value}{gap}{_escaped(identifier.issuer, segment, number)}"


def _escaped(value: str, segment: str, number: int) -> str:
    if _UNPRINTABLE.search(value) or _LINE_CONTROLS.search(value):
        raise NotBuildable(f"{segment}-{number} would hold control characters")
    return value.translate(_ESCAPES)

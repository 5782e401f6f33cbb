"""The tables of the HL7 part of the conformance statement, made from what the code does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7 import batches, documents, embedded, orders, patients, reader, segments
from dicom_node.hl7.envelope import ERROR_TEXTS
from dicom_node.hl7.text import CHARSETS
from dicom_node.markdown import table
from dicom_node.mllp.answers import Outcome
from dicom_node.mllp.framing import Fault
from dicom_node.reports import status
from dicom_node.settings import Hl7Settings

_PATIENT = {
    "PID-3": "patient identifiers: every repetition, with assigning authority (CX.4) and type",
    "PID-5": "name: can only contradict a link",
    "PID-7": "birth date: can only contradict a link",
    "PID-8": "sex: can only contradict a link",
}
_ORDER = {
    "OBR-2": "placer order number",
    "OBR-3": "filler order number; accession number where the fields before it are silent",
    "OBR-4": "procedure",
    "OBR-18": "accession number; its issuer in components 2 to 4",
    "OBR-24": "modality",
}
_TEXT = {
    "OBR-7": "time of the examination, compared with the study",
    "OBR-15": "body part (component 4)",
    "OBX-2": "type: TX, FT, ST, CE, CWE, CNE and none are text, ED is a document",
    "OBX-3": "identifier; suffix &IMP, &ADT; Study Instance UID (DCM 113014, 110180)",
    "OBX-4": "sub-id",
    "OBX-5": "text, its lines in order, escapes undone; ED: PDF, CDA, plain text",
    "OBX-11": "status of this OBX (table 0085)",
}
_ORDER_CONTROL = {
    "ORC-1": f"{', '.join(sorted(orders.CANCELLING_CONTROLS))}: the order has ended",
    "ORC-2": "placer order number where OBR-2 is silent",
    "ORC-3": "filler order number where OBR-3 is silent",
    "ORC-5": f"{', '.join(sorted(orders.CANCELLED_STATUSES))}: the order has ended",
    "ORC-9": "time of the order, else MSH-7",
}

FIELDS: Mapping[str, Mapping[str, str]] = {
    "ORU^R01": {
        **_PATIENT,
        "ORC-2": "placer order number where OBR-2 is silent",
        "ORC-3": "number of the report, filler order number, where OBR-3 is silent",
        **_ORDER,
        "OBR-3": "number of the report, filler order number; accession number where OBR-18 is not",
        **_TEXT,
        "OBR-22": "time of the status: the order of versions",
        "OBR-25": "status of the report (table 0123)",
        "OBR-26": "an addendum to the report before it in the message",
        "OBR-29": "number of the report that this is an addendum to",
        "OBR-32": "interpreter",
        "ZDS-1": "Study Instance UID",
    },
    "ORM^O01": {
        **_PATIENT,
        **_ORDER_CONTROL,
        **_ORDER,
        "ZDS-1": "Study Instance UID",
    },
    "OMI^O23": {
        **_PATIENT,
        **_ORDER_CONTROL,
        **_ORDER,
        "OBR-18": "accession number where IPC-1 is silent",
        "OBR-24": "modality where IPC-5 is silent",
        "IPC-1": "accession number with its issuer; each IPC is an order",
        "IPC-3": "Study Instance UID",
        "IPC-5": "modality",
    },
    "MDM^T06": {
        **_PATIENT,
        **_ORDER,
        **_TEXT,
        "OBR-2": "placer order number where TXA-14 is silent",
        "OBR-3": "filler order number where TXA-15 is silent; accession number where OBR-18 is",
        "TXA-2": "procedure where OBR-4 is silent",
        "TXA-4": "time of the examination where OBR-7 is silent",
        "TXA-6": "time of the status where TXA-22 is silent",
        "TXA-9": "interpreter",
        "TXA-12": "number of the document",
        "TXA-13": "number of the document that this one is added to or replaces",
        "TXA-14": "placer order number",
        "TXA-15": "filler order number; accession number where the order gives none",
        "TXA-17": f"{', '.join(sorted(documents.COMPLETED))}: complete; "
        f"{', '.join(sorted(documents.INCOMPLETE))}: provisional",
        "TXA-19": f"{', '.join(sorted(documents.WITHDRAWN))}: taken back",
        "TXA-22": "time of authentication (component 15): the order of versions",
    },
    "ADT^A08": {"EVN-2": "time of the event, else MSH-7", **_PATIENT},
    "ADT^A40": {
        "EVN-2": "time of the event, else MSH-7",
        **_PATIENT,
        "PID-3": "the surviving identifiers, paired with MRG-1 by issuer",
        "MRG-1": "the prior identifiers",
    },
}
"""Fields behind MSH that count in each message, under the profile of a feed that says nothing."""

_HEADER = (
    ("MSH-1, MSH-2", "delimiters, any four that differ"),
    ("MSH-3, MSH-4", "sender: its profile, and part of a report's identity"),
    ("MSH-5, MSH-6", "given back in the acknowledgement as its sender"),
    ("MSH-7", "order of versions where the report says no time"),
    ("MSH-9", "type and event; the structure is not needed"),
    ("MSH-10", "with sender and SHA-256 the key of a message; MSA-2 repeats its bytes"),
    ("MSH-11", "T and D are stored and ignored"),
    ("MSH-12", "version of the acknowledgement; ERR in the form of 2.4 before 2.5"),
    ("MSH-15, MSH-16", "enhanced acknowledgement where one of them holds a value"),
    ("MSH-18", "character set; decoded strictly"),
)

_OUTCOMES = {
    Outcome.STORED: "stored, after the sync of the disk",
    Outcome.FAULTY: "stored, and its content is at fault: quarantined",
    Outcome.NOT_STORED: "not stored: disk full or failed; send it again",
    Outcome.REFUSED: "framing, size or time; the connection ends",
}


def messages_table() -> str:
    """Return the message types that are read."""
    rows = []
    for kind in sorted(reader.MESSAGE_TYPES):
        event = kind.partition("^")[2]
        if kind.startswith("ADT"):
            rows.append((kind, patients.EVENTS[event].value))
        elif kind.startswith("MDM"):
            action = documents.EVENTS.get(event)
            announced = "announces a text that it does not carry: quarantined"
            rows.append((kind, f"document: {action.value}" if action else announced))
        elif kind.startswith("ORU"):
            rows.append((kind, "reports, one for each OBR with text"))
        else:
            rows.append((kind, "orders: from order numbers to accession number and study"))
    return table(("message", "what it does"), rows)


def header_table() -> str:
    """Return the fields of MSH."""
    return table(("field", "use"), _HEADER)


def fields_table() -> str:
    """Return the fields that count, by message."""
    rows = [
        (kind, field, use)
        for kind, fields in FIELDS.items()
        for field, use in sorted(fields.items(), key=_place)
    ]
    return table(("message", "field", "use"), rows)


def _place(item: tuple[str, str]) -> tuple[str, int]:
    name, _, number = item[0].partition("-")
    return name, int(number)


def paths_table() -> str:
    """Return the field paths that a profile can change, with those of the standard."""
    rows = [
        (f"`{name}`", ", ".join(field.default))
        for name, field in FeedProfile.model_fields.items()
        if name.endswith("_fields")
    ]
    return table(("key of the profile", "paths without one; the first that holds a value"), rows)


def statuses_table(meanings: Mapping[str, status.Meaning]) -> str:
    """Return what the codes of a table of statuses do."""
    rows = [
        (code or "(none)", each.action.value, each.status or "-") for code, each in meanings.items()
    ]
    return table(("code", "action", "the text then has status"), rows)


def acknowledgements_table() -> str:
    """Return the codes of MSA-1."""
    rows = []
    for outcome, (accept, application) in ((each, each.value) for each in Outcome):
        default = FeedProfile.model_fields["on_content_fault"].default
        answer = application or f"{default} (`on_content_fault` of the feed)"
        rows.append((_OUTCOMES[outcome], answer, accept))
    return table(("what became of the message", "original", "enhanced: accept"), rows)


def refusals_table() -> str:
    """Return why a stream is refused."""
    return table(("stream refused because",), [(each.value,) for each in Fault])


def errors_table() -> str:
    """Return the codes of ERR-3."""
    return table(("ERR-3", "text"), [(str(code), text) for code, text in ERROR_TEXTS.items()])


def charsets_table() -> str:
    """Return the character sets."""
    return table(("MSH-18", "codec"), CHARSETS.items())


def _limit(value: float | None) -> str:
    return "as in `[dicom]`" if value is None else f"{value:.0f}"


def limits_table() -> str:
    """Return the limits, with the defaults of the settings."""
    settings = Hl7Settings()
    rows = [
        (f"`[hl7] {name}`", _limit(getattr(settings, name)))
        for name in (
            "maximum_message_bytes",
            "frame_deadline_seconds",
            "maximum_connections",
            "connections_per_address",
            "minimum_free_bytes",
        )
    ]
    rows += [
        ("segments of a message", str(segments.MAXIMUM_SEGMENTS)),
        ("repetitions of an identifying field", str(segments.MAXIMUM_REPETITIONS)),
        ("characters of an identifying field", str(segments.MAXIMUM_FIELD)),
        ("messages of a batch", str(batches.MAXIMUM_MESSAGES)),
        ("characters of an embedded document's text", str(embedded.MAXIMUM_TEXT)),
        ("pages of an embedded PDF", str(embedded.MAXIMUM_PAGES)),
    ]
    return table(("limit", "value"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "HL7 messages": messages_table,
    "HL7 header": header_table,
    "HL7 fields": fields_table,
    "HL7 paths": paths_table,
    "HL7 result statuses": lambda: statuses_table(status.RESULT_STATUSES),
    "HL7 observation statuses": lambda: statuses_table(status.OBSERVATION_STATUSES),
    "HL7 acknowledgements": acknowledgements_table,
    "HL7 refusals": refusals_table,
    "HL7 errors": errors_table,
    "HL7 character sets": charsets_table,
    "HL7 limits": limits_table,
}

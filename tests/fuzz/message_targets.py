"""Targets of the reader of HL7 messages: messages of every kind, batches, documents, times."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import lru_cache

from dicom_node.content import Undecodable
from dicom_node.hl7.batches import batch_messages, is_batch
from dicom_node.hl7.embedded import MAXIMUM_TEXT, MEDIA_TYPES, document_text
from dicom_node.hl7.observations import OBSERVATION_STATUSES, RESULT_STATUSES
from dicom_node.hl7.parsed import EmbeddedDocument, ParsedMessage, ParsedPatient, PatientAction
from dicom_node.hl7.reader import read_message
from dicom_node.hl7.text import ContentFault
from dicom_node.hl7.times import comparable
from tests.fuzz.source import Source
from tests.hl7_attacks import xxe
from tests.hl7_messages import (
    PID,
    cda,
    cda_section,
    ed,
    message,
    obr,
    obx,
    pdf,
    reading_with,
    txa,
)

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
_BROKEN_LINE = re.compile("[\r\n]")
_FORMS = sorted(MEDIA_TYPES)
_PROFILES = (
    reading_with(issuer_of_patient_id="OWN", time_zone="Europe/Berlin"),
    reading_with(
        accession_number_pattern="([0-9]+)",
        accession_number_fields=("OBR-18.1", "ZDS-1.2.1", "OBR-3"),
        patient_id_types=("MR",),
        test_patients=("^TEST",),
        result_statuses={"final": "F"},
    ),
)


def hl7_message(data: bytes) -> None:
    """A message is read or at fault, twice alike, and what it says is text that cannot harm."""
    for profile_of in _PROFILES:
        try:
            parsed = read_message(data, profile_of)
        except ContentFault as error:
            _check_sentence(error.sentence)
            continue
        assert read_message(data, profile_of) == parsed
        for text in _values(parsed):
            assert not _UNPRINTABLE.search(text)
            assert not _BROKEN_LINE.search(text)
            assert text == text.strip()
        _check(parsed)


def _check_sentence(sentence: str) -> None:
    assert re.fullmatch(r"[ -~]{1,300}", sentence)


def _values(parsed: ParsedMessage) -> Iterator[str]:
    """Yield every value but the text of reports."""
    for report in parsed.reports:
        yield from _of_patient(report.patient)
        yield from (report.number, report.parent_number, report.procedure, report.modality)
        yield from (report.body_part, report.interpreter, report.observation_date)
        yield from (report.status_changed_at, report.message_time)
        yield from (each.identifier for each in report.parts)
        yield from (each.sub_id for each in report.parts)
        for identifier in (report.placer, report.filler, *report.accessions):
            yield from (identifier.value, identifier.issuer)
    for order in parsed.orders:
        yield from _of_patient(order.patient)
        yield from (order.procedure, order.modality, order.ordered_at)
        for identifier in (order.placer, order.filler, order.accession):
            yield from (identifier.value, identifier.issuer)
    for event in parsed.patient_events:
        yield from _of_patient(event.patient)
        yield event.event_time


def _of_patient(patient: ParsedPatient) -> Iterator[str]:
    assert re.fullmatch(r"([0-9]{8})?", patient.birth_date)
    assert patient.sex in ("", "M", "F", "O", "U")
    yield patient.name
    for each in patient.identifiers:
        assert each.value
        yield from (each.value, each.issuer)


def _check(parsed: ParsedMessage) -> None:
    assert not (parsed.ignored and (parsed.reports or parsed.orders or parsed.patient_events))
    for report in parsed.reports:
        assert report.result_status in RESULT_STATUSES | {""}
        assert {each.status for each in report.parts} <= OBSERVATION_STATUSES | {""}
        assert not any(_UNPRINTABLE.search(each.text) for each in report.parts)
    for each in (*parsed.reports, *parsed.orders):
        assert all(re.fullmatch(r"[0-9.]{1,64}", uid) for uid in each.study_instance_uids)
        assert len(comparable(each.message_time)) in (0, 20)
    for event in parsed.patient_events:
        if event.action is not PatientAction.UPDATE:
            assert event.prior != event.survivor
            assert event.prior.qualified
            assert event.survivor.qualified


def hl7_batch(data: bytes) -> None:
    """What comes out of a batch are messages that stand in it, in their order."""
    if not is_batch(data):
        return
    try:
        messages = batch_messages(data)
    except ContentFault as error:
        _check_sentence(error.sentence)
        return
    at = 0
    for each in messages:
        assert each[:3] == b"MSH"
        for line in each.split(b"\r"):
            at = data.index(line, at) + len(line)


def embedded_document(data: bytes) -> None:
    """A document gives text or is refused, and nothing of it is in the refusal."""
    source = Source(data)
    media_type = _FORMS[source.byte() % len(_FORMS)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = document_text(EmbeddedDocument(media_type, source.rest()))
    except Undecodable as error:
        _check_sentence(str(error))
        return
    assert text
    assert len(text) <= MAXIMUM_TEXT
    assert not _UNPRINTABLE.search(text)


@lru_cache(maxsize=1)
def seeds() -> dict[str, list[bytes]]:
    """Return sound inputs of each target here."""
    event = "EVN||20260301"
    report = message("ORU^R01", PID, "ORC|RE|O^R|F", obr(), obx("a~b\\.br\\\\XC4\\\\T\\"))
    form = cda(
        f"<structuredBody>{cda_section('T', '<table><tr><td>a</td></tr></table>')}</structuredBody>"
    )
    documents = {
        "application/pdf": [pdf([["One", "Two"], ["Three"]])],
        "text/xml": [form.encode(), *list(xxe("http://x", "/x").values())[::5]],
        "text/plain": ["Grüße".encode()],
    }
    return {
        "hl7_message": [
            report,
            message(
                "ORU^R01", PID, obr(), obx(ed(b"%PDF"), kind="ED"), "ZDS|1.2", charset="8859/1"
            ),
            message(
                "ORU^R01",
                "PID|||1^^^H&1.2&ISO^MR~2^^^^SS||A&B^C||19700101|M",
                obr(status=""),
                obr(2, parent="O^F", parent_result="x^1", interpreter="7&A&B"),
                obx("1.2.3", kind="ST", identifier="113014^DICOM Study^DCM", status="O"),
                obx("x^y^^^^^^^z~w", kind="CWE", identifier="19005-8&IMP"),
            ),
            message("ORM^O01", PID, "ORC|CA|O|F||DC", obr(), "ZDS|1.2.3"),
            message("OMI^O23", PID, "ORC|NW|O", obr(), "IPC|A^S|R|1.2|S|CT", "IPC|B^S|R|1.3|S|CT"),
            *(
                message(f"MDM^{kind}", event, PID, obr(), txa(t13="D0"), obx("x"))
                for kind in ("T02", "T06", "T11")
            ),
            message("MDM^T03", event, PID, txa(t22="7^" + "^" * 13 + "2026")),
            message("ADT^A08", event, PID),
            message("ADT^A40", event, PID, "MRG|O^^^HOSP~Q^^^X", PID, "MRG|R^^^HOSP"),
            message("ADT^A37", event, PID, "PID|||O^^^HOSP"),
            message(
                "ORU^R01", PID, obr(), obx("椎間板"), charset="ISO IR87", encoding="iso2022_jp"
            ),
        ],
        "hl7_batch": [
            b"FHS|^~\\&\rBHS|^~\\&\r" + report + report + b"BTS|2\rFTS|1\r",
            b"BHS|^~\\&\n" + report + b"BTS\n",
        ],
        "embedded_document": [
            bytes((_FORMS.index(form),)) + data for form, all_ in documents.items() for data in all_
        ],
    }

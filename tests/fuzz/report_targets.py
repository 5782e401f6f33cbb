"""Targets that read reports: HL7 messages on their way in, structured reports that come back."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlmodel import Session, func, select

from dicom_node.database import Database
from dicom_node.errors import Permanent
from dicom_node.feeds.registry import Profiles
from dicom_node.file_meta import encode_file_meta
from dicom_node.hl7.batches import is_batch
from dicom_node.hl7.envelope import read_envelope
from dicom_node.message_reading import read_stored
from dicom_node.mllp.answers import Outcome, acknowledgements
from dicom_node.mllp.framing import END, START, Frame, FrameReader, Noise, Refused, frame
from dicom_node.models import Message
from dicom_node.sr.reading import read_report
from dicom_node.sr.rendering import render_html, render_text
from tests.builders import encode
from tests.fuzz.scratch import new_folder
from tests.fuzz.source import Source
from tests.hl7_builders import HL7, NOW, database, merge, oru, receive
from tests.raw_dicom import EXPLICIT

PROFILES = Profiles(HL7)
_TAG = re.compile(r"<\s*(script|img|iframe|object|embed|link|svg)\b", re.I)


def mllp_framing(data: bytes) -> None:
    """Any cut gives the same messages that count and refusals; no message holds a mark."""
    source = Source(data)
    limit = 16 + source.byte()
    sizes = source.sizes()
    stream = source.rest()
    at_once = _events(stream, (), limit)
    assert _events(stream, sizes, limit) == at_once
    assert _events(stream, [1] * len(stream), limit) == at_once


def _events(stream: bytes, sizes: Sequence[int], limit: int) -> list[object]:
    reader = FrameReader(limit)
    found, at = [], 0
    for size in [*sizes, len(stream)]:
        found += reader.feed(stream[at : at + size])
        at += size
        assert len(reader._buffer) <= limit + 4096 + size + 2
    found += reader.close()
    assert reader.closed
    told: list[object] = []
    for event in found:
        if isinstance(event, Frame):
            assert len(event.content) <= limit
            assert END not in event.content
            assert START not in event.content
            told.append(event)
        elif isinstance(event, Refused):
            # A cut right behind an end mark shows a frame first and makes it suspect afterwards.
            if event.after_frame:
                told.pop()
            # Of two faults the cut may show either one first; that it is refused stays.
            told.append(Refused)
        elif isinstance(event, Noise):
            told.append(event)
    return told


def hl7(data: bytes) -> None:
    """An answer stays in its frame, whatever the message and whatever is at fault with it."""
    envelope = read_envelope(data)
    fault = read_stored(data, PROFILES.of).fault
    for outcome in Outcome:
        profile = PROFILES.of(envelope.sender)
        for ack in acknowledgements(envelope, profile, outcome, NOW, fault=fault):
            assert not re.search(rb"[\x00-\x0c\x0e-\x1f\x7f]", ack)
            names = [each[:3] for each in ack.split(b"\r")[:-1]]
            assert names == [b"MSH", b"MSA", b"ERR"][: len(names)]
            assert read_envelope(ack).is_hl7


def hl7_intake(data: bytes) -> None:
    """Every message is filed with its bytes; again, it has no second effect."""
    store = _database()
    if is_batch(data):
        return  # its messages are filed, each by itself
    receive(store, data)
    with store.read() as session:
        before = _count(session)
        session.exec(select(Message).where(Message.content == data)).one()
    assert [each.messages for each in receive(store, data)] == [0]
    with store.read() as session:
        assert _count(session) == before


def structured_report(data: bytes) -> None:
    """A document is read whole or refused, and whatever it says is shown as text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = dcmread(io.BytesIO(data))
    except Exception:
        # What the parser makes of it is judged where objects are read.
        return
    try:
        read_report(document)
        text, html = render_text(document), render_html(document)
    except Permanent:
        return
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert not _TAG.search(html)


def _count(session: Session) -> int:
    return int(session.exec(select(func.count()).select_from(Message)).one())


@lru_cache(maxsize=1)
def _database() -> Database:
    return database(new_folder())


@lru_cache(maxsize=1)
def seeds() -> dict[str, list[bytes]]:
    """Return sound inputs of each target here."""
    messages = [
        oru(lines=("FINDINGS: \\.br\\ \\X41\\ \\H\\", "IMPRESSION: x~y"), study_uids=("1.2.3",)),
        oru(charset="8859/1", encoding="latin-1", name="MÜLLER^ZOË", status="C"),
        oru(patient="P1^^^HOSP^MR~P2^^^&1.2.3&ISO", accession="A1^SITE", version="2.3"),
        merge("OLD^^^HOSP", "NEW^^^HOSP"),
        merge("OLD^^^HOSP~OLDER^^^OTHER", "NEW^^^HOSP~NEWER^^^OTHER"),
    ]
    return {
        "mllp_framing": [
            bytes((200, 3, 0, 9, 99)) + frame(b"one") + b"\r\n" + frame(b"") + frame(b"x" * 190),
            bytes((0, 0)) + b"noise" + frame(b"one\x1c\rtwo"),
        ],
        "hl7": messages,
        "hl7_intake": messages,
        "structured_report": [_report()],
    }


def _report() -> bytes:
    """Return a small report of our form, made by hand: the real writer takes seconds to import."""
    group = _item(
        "125007",
        _item("112039", TextValue="Narrowing @ L4-L5"),
        _item("121071", ConceptCodeSequence=[_code("N")]),
        _item("N", ConceptCodeSequence=[_code("52101004", "SCT")]),
        _item(
            "122157",
            _item("111001", TextValue="network"),
            _item("111002", TextValue="threshold=0.5"),
            MeasuredValueSequence=[_data_set(NumericValue="91.5")],
        ),
    )
    document = _item("AIRESULT", _item("126010", group), _item("121106", TextValue="RESEARCH"))
    document.Modality, document.PatientName = "SR", "Doe^Jane"
    series = _data_set(SeriesInstanceUID="1.2.3", ReferencedSOPSequence=[_data_set(), _data_set()])
    document.CurrentRequestedProcedureEvidenceSequence = [
        _data_set(ReferencedSeriesSequence=[series])
    ]
    meta = encode_file_meta(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
        sop_instance_uid="1.2.3.4",
        transfer_syntax_uid=EXPLICIT,
        calling_ae_title="SCANNER",
        called_ae_title="RADLOOP",
    )
    return meta + encode(document)


def _item(name: str, *children: Dataset, **values: Any) -> Dataset:
    made = _data_set(ConceptNameCodeSequence=[_code(name)], **values)
    if children:
        made.ContentSequence = list(children)
    return made


def _code(value: str, scheme: str = "DCM") -> Dataset:
    return _data_set(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning="meaning")


def _data_set(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made

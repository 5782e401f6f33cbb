"""Targets that read stored objects, and what is said about them."""

from __future__ import annotations

import dataclasses
import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from dicom_node import sandbox_answers
from dicom_node.dicom_files import read_stored_file
from dicom_node.errors import Permanent
from dicom_node.file_meta import (
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    encode_file_meta,
    is_uid,
)
from dicom_node.file_meta import (
    leading_uids as read_uids,
)
from dicom_node.headers import Header
from dicom_node.inspection import DirectInspector
from dicom_node.intake import Notice, notice_bytes
from dicom_node.part10 import NotPart10, open_part10
from dicom_node.quarantine import QuarantineNotice, read_notice
from dicom_node.sandbox_answers import Undecodable, Unreadable
from dicom_node.sandbox_frames import BINARY, JSON, Nonsense
from tests.builders import encode, mr_image
from tests.fuzz.scratch import new_folder
from tests.fuzz.source import Source
from tests.raw_dicom import EXPLICIT

_SYNTAXES = (
    EXPLICIT,
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.1.99",
    "1.2.3.4",
)
# Compressed pixels are decoded by native libraries, which is why a confined child does that; their
# own faults are not ours to find here.
_DECODED_HERE = frozenset((*_SYNTAXES[:3], str(RLELossless)))
_KEYWORDS = ("PatientName", "SeriesDescription", "RequestAttributesSequence", "PixelSpacing")


def leading_uids(data: bytes) -> None:
    """What the first bytes of a data set say is what all of it says, or nothing."""
    source = Source(data)
    syntax = _SYNTAXES[source.byte() % len(_SYNTAXES)]
    known = source.byte() * 4
    whole = source.rest()
    try:
        found = read_uids(whole, syntax)
    except ValueError:
        with suppress(ValueError):
            assert read_uids(whole[:known], syntax, len(whole)) is None
        return
    assert found is None or len(found) == 2
    assert read_uids(whole[:known], syntax, len(whole)) in (None, found)


def header(data: bytes) -> None:
    """A file has a header that every process takes for one, or a reason that names no value."""
    with _stored(data) as path:
        inspector = DirectInspector()
        (found,) = inspector.headers([path])
        # What a confined worker would say of this file must pass for an answer.
        if isinstance(found, Header):
            answer = {"header": dataclasses.asdict(found)}
            assert found.rows * found.columns * found.number_of_frames >= 0
            assert bool(found.rows) == bool(found.columns) == bool(found.number_of_frames)
        else:
            answer = {"refused": str(found), "study": found.study_instance_uid}
        back = sandbox_answers.header(_through_json(answer), len(data))
        assert str(back) == str(found)
        with suppress(Unreadable):
            elements = inspector.elements(path, _KEYWORDS)
            assert sandbox_answers.elements(_through_json({"elements": elements}), 0) == elements


def content(data: bytes) -> None:
    """What an object shows is told twice alike, or refused with a reason that names no value."""
    with _stored(data) as path:
        if not _is_decoded_here(path):
            return
        inspector = DirectInspector()
        first, again = _digest(path), _digest(path)
        assert first == again
        assert sandbox_answers._REASON.fullmatch(first)
        with suppress(Undecodable):
            assert inspector.image(path, maximum_bytes=1 << 20).frames.nbytes <= 1 << 20


def _digest(path: Path) -> str:
    """Return the digest of an object or why there is none."""
    try:
        return DirectInspector().content_digest(path)
    except Undecodable as error:
        return f"no: {error}"


def stored_file(data: bytes) -> None:
    """A file names itself with UIDs, or is refused."""
    with _stored(data) as path:
        try:
            found = read_stored_file(path)
        except Permanent:
            return
        assert found.path == path
        assert is_uid(found.sop_class_uid)
        assert is_uid(found.transfer_syntax_uid)
        assert found.sop_instance_uid


def notice(data: bytes) -> None:
    """A notice is read or is none; what was read is written and read alike."""
    try:
        found = read_notice(data)
    except ValueError:
        return
    assert isinstance(found, QuarantineNotice)
    assert isinstance(found.state, str)


def worker_answer(data: bytes) -> None:
    """A worker that has gone over to the enemy says nothing that is taken for an answer."""
    source = Source(data)
    kind = BINARY if source.byte() == 1 else JSON
    try:
        answer = sandbox_answers.parse(kind, bytearray(source.rest()))
    except Nonsense:
        return
    for check in (
        lambda: sandbox_answers.header(answer, 100),
        lambda: sandbox_answers.elements(answer, 100),
        lambda: sandbox_answers.digest(answer),
        lambda: sandbox_answers.form(answer, 1 << 20),
        lambda: sandbox_answers.restrictions(answer),
    ):
        with suppress(Nonsense, Undecodable):
            check()


def _through_json(value: object) -> sandbox_answers.Answer:
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return sandbox_answers.parse(JSON, bytearray(text))


def _is_decoded_here(path: Path) -> bool:
    try:
        with path.open("rb") as file, open_part10(file) as part10:
            return part10.encoding_uid in _DECODED_HERE
    except NotPart10:
        return False


@contextmanager
def _stored(data: bytes) -> Iterator[Path]:
    path = _path()
    path.write_bytes(data)
    yield path


@lru_cache(maxsize=1)
def _path() -> Path:
    return new_folder() / "object.dcm"


def _files() -> Iterator[bytes]:
    image = mr_image(rows=4, NumberOfFrames="2", PixelData=bytes(range(64)))
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflate.compress(encode(image)) + deflate.flush()
    nested = b""
    for _ in range(8):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(nested)) + nested
        nested = struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, len(item)) + item
    fragments = struct.pack("<HHLHHL", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, 70)
    segment = struct.pack("<16L", 2, 64, 67, *[0] * 13) + b"\xf1\x07\xf1\x00" + bytes(2)
    del image.PixelData
    image.NumberOfFrames = "1"
    head = encode(image)
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + fragments + segment
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    whole = mr_image(rows=4)
    for syntax in _SYNTAXES[:3]:
        yield _file(encode(whole, syntax), syntax)
    yield _file(deflated, str(DeflatedExplicitVRLittleEndian))
    yield _file(nested, EXPLICIT)
    yield _file(head + pixels + end, str(RLELossless))
    yield _file(encode(mr_image(rows=4, SpecificCharacterSet=["", "ISO 2022 IR 87"])), EXPLICIT)


def _file(data_set: bytes, syntax: str) -> bytes:
    image = mr_image()
    meta = encode_file_meta(
        sop_class_uid=str(image.SOPClassUID),
        sop_instance_uid=str(image.SOPInstanceUID),
        transfer_syntax_uid=syntax,
        calling_ae_title="SCANNER",
        called_ae_title="RADLOOP",
    )
    return meta + data_set


@lru_cache(maxsize=1)
def seeds() -> dict[str, list[bytes]]:
    """Return sound inputs of each target here."""
    files = list(_files())
    first = json.loads(notice_bytes(Notice("ab" * 32, "because", "SCANNER", "1.2.3")))
    decision = {"action": "accept", "decided_by": "A", "reason": "B", "decided_at": "2026-01-01"}
    with _stored(files[0]) as path:
        (found,) = DirectInspector().headers([path])
    answers = [
        {"header": dataclasses.asdict(found)},  # type: ignore[call-overload]
        {"refused": "because", "study": "1.2.3"},
        {"digest": "ab" * 32},
        {"elements": {"PatientName": ["A^B"], "RequestAttributesSequence": [{"StudyID": ["1"]}]}},
        {
            "frames": 1,
            "shape": [4, 4],
            "dtype": "<u2",
            "photometric_interpretation": "MONOCHROME2",
            "restrictions": ["no network"],
        },
    ]
    small = mr_image(rows=1)
    return {
        "leading_uids": [
            bytes((number, 60)) + encode(small, syntax)
            for number, syntax in enumerate(_SYNTAXES[:3])
        ],
        "header": files,
        "content": files,
        "stored_file": [each[:400] for each in files],
        "notice": [json.dumps(first | extra).encode() for extra in ({}, {"decisions": [decision]})],
        "worker_answer": [b"\0" + json.dumps(each).encode() for each in answers],
    }

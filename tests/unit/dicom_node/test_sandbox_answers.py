"""A confined process may have been taken over: what it answers is input from a stranger."""

import json
import socket
import struct
import time
from dataclasses import asdict
from typing import Any

import pytest

from dicom_node import sandbox_answers
from dicom_node.content import Undecodable
from dicom_node.headers import DEEPEST_ITEM
from dicom_node.inspection import DirectInspector, Header, Unreadable
from dicom_node.sandbox_frames import (
    BINARY,
    JSON,
    Disconnected,
    Nonsense,
    OutOfTime,
    receive,
    send,
)
from tests.builders import mr_image
from tests.part10_builders import file_of, written

FORM = {
    "frames": 2,
    "shape": [3, 4],
    "dtype": "<u2",
    "photometric_interpretation": "MONOCHROME2",
}


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Header:
    path = written(tmp_path_factory.mktemp("object"), file_of(mr_image()))
    (found,) = DirectInspector().headers([path])
    assert isinstance(found, Header)
    return found


def soon() -> float:
    return time.monotonic() + 10


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object(payload: bytes) -> None:
    with pytest.raises(Nonsense):
        sandbox_answers.parse(JSON, bytearray(payload))
    with pytest.raises(Nonsense):
        sandbox_answers.parse(BINARY, bytearray(b"{}"))


def test_headers(header: Header) -> None:
    values = asdict(header)
    assert sandbox_answers.header({"header": dict(values)}, header.size) == header
    refused = {"refused": "broken", "study": "1.2"}
    found = sandbox_answers.header(refused, 1)
    assert isinstance(found, Unreadable)
    assert (str(found), found.study_instance_uid) == ("broken", "1.2")


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 1},
        {"size": True},
        {"rows": -1},
        {"rows": "8"},
        {"study_instance_uid": "../../etc"},
        {"study_instance_uid": ""},
        {"patient_id": None},
        {"patient_id": ["P1"]},
        {"patient_id": "a\0b"},
        {"patient_id": "\ud800"},
        {"patient_id": "x" * 70_000},
        {"more": "x"},
    ],
)
def test_headers_that_are_none(header: Header, changes: dict[str, Any]) -> None:
    with pytest.raises(Nonsense):
        sandbox_answers.header({"header": {**asdict(header), **changes}}, header.size)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"header": None},
        {"header": {}},
        {"refused": "line\nbreak", "study": ""},
        {"refused": "", "study": ""},
        {"refused": "x" * 400, "study": ""},
        {"refused": "broken", "study": "no uid"},
        {"refused": "broken"},
    ],
)
def test_answers_that_are_none(answer: dict[str, Any]) -> None:
    with pytest.raises(Nonsense):
        sandbox_answers.header(answer, 1)


def test_elements() -> None:
    inner = {"CodeValue": ["1"]}
    given = {"PatientName": ["A^B"], "ReferencedImageSequence": [inner, {}]}
    assert sandbox_answers.elements({"elements": given}, 1) == given
    deep: dict[str, Any] = inner
    for _ in range(DEEPEST_ITEM + 1):
        deep = {"ReferencedImageSequence": [deep]}
    for wrong in ({"PatientName": [inner]}, {"PatientName": []}, {"Nobody": ["x"]}, deep, [], None):
        with pytest.raises(Nonsense):
            sandbox_answers.elements({"elements": wrong}, 1)


def test_digests() -> None:
    assert sandbox_answers.digest({"digest": "0" * 64}) == "0" * 64
    with pytest.raises(Undecodable, match="broken"):
        sandbox_answers.digest({"refused": "broken"})
    for wrong in ("", "0" * 63, "G" * 64, None, 1):
        with pytest.raises(Nonsense):
            sandbox_answers.digest({"digest": wrong})


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": 0},
        {"frames": 2.0},
        {"shape": []},
        {"shape": [3]},
        {"shape": [3, 0]},
        {"shape": [3, -4]},
        {"shape": [3, 70_000]},
        {"shape": [1, 1, 1, 1]},
        {"dtype": "O"},
        {"dtype": "<U8"},
        {"dtype": "<u3"},
        {"photometric_interpretation": "rm -rf"},
    ],
)
def test_images_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(Nonsense):
        sandbox_answers.form({**FORM, **changes}, 2**20)


def test_images_are_limited_before_memory_is_taken() -> None:
    with pytest.raises(Undecodable, match="too large"):
        sandbox_answers.form({**FORM, "frames": 2**31 - 1, "shape": [65535, 65535]}, 2**40)
    with pytest.raises(Undecodable, match="too large"):
        sandbox_answers.form(FORM, 47)


def test_frames_of_an_image() -> None:
    form = sandbox_answers.form(FORM, 48)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for value in (1, 2):
            send(theirs, BINARY, struct.pack("<12H", *[value] * 12))
        image = sandbox_answers.image(ours, form, soon())
        assert image.frames.shape == (2, 3, 4)
        assert image.frames[:, 0, 0].tolist() == [1, 2]
        send(theirs, BINARY, bytes(24))
        send(theirs, JSON, json.dumps({"refused": "broken"}).encode())
        with pytest.raises(Undecodable, match="broken"):
            sandbox_answers.image(ours, form, soon())
        send(theirs, BINARY, bytes(23))
        with pytest.raises(Nonsense):
            sandbox_answers.image(ours, form, soon())


def test_frames_on_the_wire() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(theirs, JSON, b"{}")
        assert receive(ours, 2, soon()) == (JSON, b"{}")
        send(theirs, JSON, b"{} ")
        with pytest.raises(Nonsense):
            receive(ours, 2, soon())
        theirs.sendall(b"X" + bytes(4))
        ours.recv(3)
        with pytest.raises(Nonsense):
            receive(ours, 2, soon())
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(b"J\x02\0\0\0{")
            with pytest.raises(OutOfTime):
                receive(ours, 2, time.monotonic())
        with pytest.raises(Disconnected):
            receive(ours, 2, soon())

"""A confined process may lie about grey values and frames, too."""

import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from dicom_node import sandbox_answers
from dicom_node.content import Undecodable
from dicom_node.functional_groups import MOST_FRAMES
from dicom_node.headers import Unreadable
from dicom_node.sandbox_frames import BINARY, Disconnected, Nonsense, OutOfTime, send, send_json

FORM = {
    "frames": 1,
    "shape": [2, 3],
    "dtype": "<f4",
    "photometric_interpretation": "MONOCHROME2",
    "applied": "window",
}
PIXELS = np.asarray([[0, 0.5, 1], [0, 0, 1]], "<f4")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def grey(ours: socket.socket, answer: dict):
    form = sandbox_answers.form(answer, 1000)
    return sandbox_answers.grey_image(ours, answer, form, time.monotonic() + 5)


def test_an_honest_answer(pair) -> None:
    send(pair[1], BINARY, PIXELS.tobytes())
    found = grey(pair[0], FORM)
    assert np.array_equal(found.frames[0], PIXELS)
    assert found.applied == "window"


@pytest.mark.parametrize(
    "change",
    [{"dtype": "<u2"}, {"shape": [2, 3, 3]}, {"applied": "magic"}, {"applied": None}],
)
def test_another_form_is_none(pair, change: dict) -> None:
    with pytest.raises(Nonsense):
        grey(pair[0], FORM | change)


def test_values_have_to_be_numbers(pair) -> None:
    send(pair[1], BINARY, np.full((2, 3), np.nan, "<f4").tobytes())
    with pytest.raises(Nonsense):
        grey(pair[0], FORM)


def test_a_length_that_is_not_the_forms(pair) -> None:
    send(pair[1], BINARY, PIXELS.tobytes()[:-4])
    with pytest.raises((Nonsense, OutOfTime, Disconnected)):
        grey(pair[0], FORM)


def test_more_than_was_asked_for_is_not_taken(pair) -> None:
    with pytest.raises(Undecodable, match="too large"):
        grey(pair[0], FORM | {"frames": 2**20})


def test_a_refusal_of_a_later_frame(pair) -> None:
    send(pair[1], BINARY, PIXELS.tobytes())
    send_json(pair[1], {"refused": "the decoded pixels are not what the header says"})
    with pytest.raises(Undecodable, match="not what the header says"):
        grey(pair[0], FORM | {"frames": 2})


def test_frames_are_lists_of_elements() -> None:
    frame = {"ImagePositionPatient": ["0", "1", "2"]}
    assert sandbox_answers.frames({"frames": [frame]}, 0) == [frame]
    refused = sandbox_answers.frames({"refused": "the file is none", "study": ""}, 0)
    assert isinstance(refused, Unreadable)


@pytest.mark.parametrize(
    "value",
    [None, {}, [1], [{"NoSuchKeyword": ["1"]}], [{"StackID": [1]}], [{}] * (MOST_FRAMES + 1)],
)
def test_other_frames_are_nonsense(value: object) -> None:
    with pytest.raises(Nonsense):
        sandbox_answers.frames({"frames": value}, 0)

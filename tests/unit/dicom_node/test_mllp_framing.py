from __future__ import annotations

import pytest

from dicom_node.mllp.framing import Fault, Frame, FrameReader, Noise, Refused, frame


def test_a_frame_ends_when_the_next_begins_or_silence_follows() -> None:
    reader = FrameReader(100)
    assert reader.feed(frame(b"one")) == []
    assert reader.undecided
    assert reader.feed(frame(b"two")) == [Frame(b"one")]
    assert reader.settle() == [Frame(b"two")]
    assert not reader.begun


def test_line_ends_between_frames_are_tolerated() -> None:
    reader = FrameReader(100)
    events = reader.feed(frame(b"one") + b"\r\n" + frame(b"two") + b"\n")
    assert [*events, *reader.settle()] == [Frame(b"one"), Frame(b"two")]
    assert reader.feed(b"\r\n" + frame(b"three")) == []
    assert reader.settle() == [Frame(b"three")]


def test_bytes_before_the_first_frame_are_noted_and_skipped() -> None:
    reader = FrameReader(100)
    assert reader.feed(b"junk" + frame(b"one")) == [Noise(4)]
    assert reader.settle() == [Frame(b"one")]


@pytest.mark.parametrize(
    ("stream", "fault", "kept"),
    [
        (b"\x0bfirst \x1c\r part", Fault.EMBEDDED_END, b"first \x1c\r part"),
        (b"\x0bfirst\x0bsecond\x1c\r", Fault.EMBEDDED_START, b"first\x0bsecond\x1c\r"),
        (b"\x0b" + b"x" * 101, Fault.TOO_LONG, b"x" * 101),
        (b"GET / HTTP/1.1 " * 400, Fault.TOO_MUCH_NOISE, b"GET / HTTP/1.1 " * 400),
        (b"\x0bone\x1c\r" + b"\r" * 5000, Fault.TOO_MUCH_NOISE, b"one\x1c\r" + b"\r" * 5000),
    ],
)
def test_a_stream_that_cannot_be_trusted_is_refused(
    stream: bytes, fault: Fault, kept: bytes
) -> None:
    reader = FrameReader(100)
    assert reader.feed(stream) == [Refused(fault, kept)]
    assert reader.closed
    assert reader.feed(frame(b"later")) == []


def test_bytes_after_a_frame_that_was_handed_out_refuse_the_stream() -> None:
    reader = FrameReader(100)
    reader.feed(frame(b"one"))
    reader.settle()
    assert reader.feed(b"tail") == [Refused(Fault.EMBEDDED_END, b"tail")]


def test_a_message_of_exactly_the_longest_length_passes() -> None:
    reader = FrameReader(100)
    for byte in frame(b"x" * 100):
        assert reader.feed(bytes([byte])) == []
    assert reader.settle() == [Frame(b"x" * 100)]


def test_a_peer_that_leaves_inside_a_message_is_refused() -> None:
    reader = FrameReader(100)
    reader.feed(b"\x0bhalf a mess")
    assert reader.close() == [Refused(Fault.TRUNCATED, b"half a mess")]
    assert FrameReader(100).close() == []

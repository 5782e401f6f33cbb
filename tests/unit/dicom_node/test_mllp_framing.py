from __future__ import annotations

import pytest

from dicom_node.mllp.framing import Fault, Frame, FrameReader, Noise, Refused, frame


def test_a_frame_ends_at_once_where_nothing_stands_behind_it() -> None:
    reader = FrameReader(100)
    assert reader.feed(frame(b"one")) == [Frame(b"one")]
    assert not reader.begun
    assert reader.feed(frame(b"two") + b"\x0bthr") == [Frame(b"two")]
    assert reader.begun
    assert reader.feed(b"ee\x1c\r") == [Frame(b"three")]


def test_many_frames_that_come_together_are_all_handed_out() -> None:
    stream = b"".join(frame(str(number).encode()) for number in range(1000))
    events = FrameReader(100).feed(stream)
    assert events == [Frame(str(number).encode()) for number in range(1000)]


def test_line_ends_between_frames_are_tolerated() -> None:
    reader = FrameReader(100)
    events = reader.feed(frame(b"one") + b"\r\n" + frame(b"two") + b"\n")
    assert events == [Frame(b"one"), Frame(b"two")]
    assert reader.feed(b"\r\n" + frame(b"three")) == [Frame(b"three")]
    assert reader.feed(frame(b"four")) == [Frame(b"four")]


def test_bytes_before_the_first_frame_are_noted_and_skipped() -> None:
    assert FrameReader(100).feed(b"junk" + frame(b"one")) == [Noise(4), Frame(b"one")]
    reader = FrameReader(100)
    assert reader.feed(b"ju") == []
    assert reader.begun
    assert reader.feed(frame(b"one")) == [Noise(2), Frame(b"one")]


@pytest.mark.parametrize(
    ("stream", "fault", "kept"),
    [
        (b"\x0bfirst \x1c\r part", Fault.EMBEDDED_END, b"first \x1c\r part"),
        (b"\x0bfirst\x0bsecond\x1c\r", Fault.EMBEDDED_START, b"first\x0bsecond\x1c\r"),
        (b"\x0b" + b"x" * 101, Fault.TOO_LONG, b"x" * 101),
        (frame(b"x" * 101), Fault.TOO_LONG, b"x" * 101 + b"\x1c\r"),
        (b"GET / HTTP/1.1 " * 400, Fault.TOO_MUCH_NOISE, b"GET / HTTP/1.1 " * 400),
    ],
)
def test_a_stream_that_cannot_be_trusted_is_refused(
    stream: bytes, fault: Fault, kept: bytes
) -> None:
    reader = FrameReader(100)
    assert reader.feed(stream) == [Refused(fault, kept)]
    assert reader.closed
    assert reader.feed(frame(b"later")) == []


def test_frames_before_a_refusal_are_handed_out() -> None:
    events = FrameReader(100).feed(frame(b"one") + frame(b"two") + b"tail\x1c\r")
    assert events == [Frame(b"one"), Refused(Fault.EMBEDDED_END, b"two\x1c\rtail\x1c\r")]


def test_bytes_that_come_after_a_frame_was_handed_out_make_it_suspect() -> None:
    reader = FrameReader(100)
    reader.feed(frame(b"one"))
    assert reader.feed(b"\rtail") == [Refused(Fault.EMBEDDED_END, b"tail", after_frame=True)]


def test_endless_line_ends_between_frames_are_refused() -> None:
    reader = FrameReader(100)
    events = reader.feed(frame(b"one") + b"\r" * 4000)
    assert events == [Frame(b"one")]
    assert reader.feed(b"\n" * 200) == [Refused(Fault.TOO_MUCH_NOISE, b"\n" * 200)]


def test_a_message_of_exactly_the_longest_length_passes() -> None:
    reader = FrameReader(100)
    whole = frame(b"x" * 100)
    for byte in whole[:-1]:
        assert reader.feed(bytes([byte])) == []
    assert reader.feed(whole[-1:]) == [Frame(b"x" * 100)]
    assert reader.feed(whole) == [Frame(b"x" * 100)]


def test_a_peer_that_leaves_inside_a_message_is_refused() -> None:
    reader = FrameReader(100)
    reader.feed(frame(b"one") + b"\x0bhalf a mess")
    assert reader.close() == [Refused(Fault.TRUNCATED, b"half a mess")]
    assert FrameReader(100).close() == []

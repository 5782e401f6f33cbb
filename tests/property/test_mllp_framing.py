from __future__ import annotations

import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicom_node.mllp.framing import END, Fault, Frame, FrameReader, Refused, frame

CAP = 1 << 20
contents = st.binary(max_size=300).filter(lambda each: END not in each and b"\x0b" not in each)
cuts = st.lists(st.integers(min_value=1, max_value=40), max_size=50)


def _read(stream: bytes, sizes: list[int]) -> list[object]:
    reader = FrameReader(CAP)
    events: list[object] = []
    at = 0
    for size in sizes:
        events += reader.feed(stream[at : at + size])
        at += size
    return [*events, *reader.feed(stream[at:]), *reader.close()]


@settings(max_examples=80, deadline=None)
@given(st.lists(contents, max_size=6), cuts)
@example([b"ends in \x1c", b"\r", b""], [1] * 40)
def test_messages_survive_any_cut_of_the_stream(messages: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(frame(each) for each in messages)
    assert _read(stream, sizes) == [Frame(each) for each in messages]


@settings(max_examples=120, deadline=None)
@given(contents, contents.filter(lambda each: each.lstrip(b"\r\n") != b""), cuts)
@example(b"head", b"tail", [7, 1])
def test_a_message_that_holds_its_own_end_is_refused_and_its_head_is_suspect(
    head: bytes, tail: bytes, sizes: list[int]
) -> None:
    events = _read(frame(head + END + tail), sizes)
    refused = events[-1]
    assert isinstance(refused, Refused)
    assert refused.fault is Fault.EMBEDDED_END
    # Handed out at a cut right behind its end mark, and then named; never without being named.
    assert events[:-1] == ([Frame(head)] if refused.after_frame else [])


@settings(max_examples=60, deadline=None)
@given(contents, st.integers(min_value=1), cuts)
def test_a_truncated_message_is_refused_with_its_bytes(
    message: bytes, missing: int, sizes: list[int]
) -> None:
    whole = frame(message)
    kept = whole[: max(1, len(whole) - 1 - missing % len(whole))]
    events = _read(kept, sizes)
    # A final FS without CR is part of what had arrived.
    assert events == [Refused(Fault.TRUNCATED, kept[1:])]


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=2000), cuts)
def test_any_bytes_give_events_and_no_frame_holds_a_mark(data: bytes, sizes: list[int]) -> None:
    for event in _read(data, sizes):
        if isinstance(event, Frame):
            assert END not in event.content
            assert b"\x0b" not in event.content


def test_reading_takes_linear_time() -> None:
    def long_message(count: int) -> float:
        reader = FrameReader(1 << 30)
        begin = time.perf_counter()
        reader.feed(b"\x0b")
        for _ in range(count):
            reader.feed(b"x" * 1000)
        assert len(reader.feed(END)) == 1
        return time.perf_counter() - begin

    def many_messages(count: int) -> float:
        reader = FrameReader(1 << 30)
        begin = time.perf_counter()
        assert len(reader.feed(frame(b"x" * 100) * count)) == count
        return time.perf_counter() - begin

    for seconds in (long_message, many_messages):
        small = min(seconds(1000) for _ in range(3))
        large = min(seconds(8000) for _ in range(3))
        assert large < 60 * small

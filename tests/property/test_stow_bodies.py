"""A request's body gives the same objects however the network cuts it."""

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.dicomweb.refusal import Refusal
from dicom_node.dicomweb.shelf import Shelf
from dicom_node.dicomweb.transaction import Transaction
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from tests.builders import MEMORY_DISK, mr_image, received
from tests.dicomweb_room import SENDER, body_of, part10

BOUNDARY = b"b-b"
PIECES = st.sampled_from([b"\r", b"\n", b"\r\n", b"--", b"-", b"b", BOUNDARY, b"\r\n--b-", b"x"])


@st.composite
def pixels(draw: st.DrawFn) -> bytes:
    """Data that is full of what looks like a boundary, and holds none."""
    data = b"".join(draw(st.lists(PIECES, max_size=40)))
    while b"\r\n--" + BOUNDARY in data:
        data = data.replace(b"\r\n--" + BOUNDARY, b"\r\n--b-")
    return data + bytes(len(data) % 2)


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(pixels(), min_size=1, max_size=4),
    cuts=st.lists(st.integers(min_value=1, max_value=400), min_size=1, max_size=30),
)
def test_cutting_changes_nothing(contents: list[bytes], cuts: list[int]) -> None:
    images = [
        mr_image(instance=number, PixelData=content) for number, content in enumerate(contents)
    ]
    body = body_of([part10(image) for image in images], BOUNDARY)
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        store = DicomStore(Path(folder))
        store.recover()
        shelf = Shelf(store.intake, DicomSettings(minimum_free_bytes=0))
        transaction = Transaction(shelf, SENDER, BOUNDARY)
        start = number = 0
        while start < len(body):
            size = cuts[number % len(cuts)]
            transaction.feed(body[start : start + size])
            start, number = start + size, number + 1
        transaction.finish()
        transaction.discard()
        assert [outcome.failure for outcome in transaction.outcomes] == [0] * len(images)
        assert {path.stem for path in store.spooled()} == {
            received(image).digest for image in images
        }


@settings(max_examples=100, deadline=None)
@given(
    body=st.lists(PIECES | st.binary(max_size=30), max_size=40).map(
        lambda pieces: b"--b-b\r\n" + b"".join(pieces)
    ),
    cut=st.integers(1, 50),
)
def test_any_bytes_are_refused_or_fail(body: bytes, cut: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        store = DicomStore(Path(folder))
        store.recover()
        transaction = Transaction(
            Shelf(store.intake, DicomSettings(minimum_free_bytes=0)), SENDER, BOUNDARY
        )
        with suppress(Refusal):
            for start in range(0, len(body), cut):
                transaction.feed(body[start : start + cut])
            transaction.finish()
        transaction.discard()
        assert all(outcome.failure for outcome in transaction.outcomes)
        assert not list(store.spooled())
        assert not list(store.folders.temporary.iterdir())

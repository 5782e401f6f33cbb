"""Every fuzz target under hypothesis: sound inputs, mutated ones, and those that once failed.

``python -m tests.fuzz`` runs the same targets for longer, guided by coverage.
"""

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.acceptance.store_audit import split_file
from tests.fuzz.targets import TARGETS, load, seeds

# What one input costs differs by a factor of a hundred; all together take about two seconds.
_EXAMPLES = {
    "association": 15,
    "content": 20,
    "conversation": 15,
    "header": 20,
    "hl7": 20,
    "hl7_intake": 3,
    "mllp_framing": 20,
    "structured_report": 12,
    "upper_layer": 6,
}
_DEFAULT = 25

_NUMBERS = st.sampled_from(
    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xfe\xff\xff\xff", b"\1\0\0\0"]
)
_PIECES = st.one_of(st.binary(max_size=8), _NUMBERS)
_CHANGES = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 40), _PIECES), min_size=1, max_size=6
)


def _changed(sound: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Replace pieces of a sound input: where, how much, by what."""
    data = bytearray(sound)
    for place, length, piece in changes:
        at = place % (len(data) + 1)
        # Most mutations keep the length, so that what follows stays in its place.
        data[at : at + (len(piece) if length > 20 else length)] = piece
    return bytes(data)


def _inputs(target: str) -> st.SearchStrategy[bytes]:
    sound = st.sampled_from(seeds(target))
    return st.one_of(st.builds(_changed, sound, _CHANGES), st.binary(max_size=200))


@pytest.mark.parametrize("target", TARGETS)
def test_sound_inputs_keep_every_promise(target: str) -> None:
    run = load(target)
    for data in seeds(target):
        run(data)


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes_keep_every_promise(target: str) -> None:
    run = load(target)

    @seed(0)
    @settings(
        max_examples=_EXAMPLES.get(target, _DEFAULT),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_inputs(target))
    def keeps_every_promise(data: bytes) -> None:
        run(data)

    keeps_every_promise()


_PREFIX = bytes(128) + b"DICM"
_ONCE_FAILED = [
    # A PDU that ends inside the header of a value was refused sooner or later, as its bytes came.
    ("upper_layer", b"\0\1" + bytes(5) + b"\4\0\0\0\0\x09\0\0\0\4\1\1xy\0"),
    # A sender that sends a data set of no bytes left an entry in the quota for ever.
    ("conversation", b"\x01\x01\x031\x00.2\x02\x00\x03abc\x02\x02\x00"),
    # The end of a connection and the end of the process, both at once, gave two aborts.
    ("conversation", b"\x00\x00\x00\t\n\x05cQk\x0bW\xceV\x0eG\x01"),
    # An unknown value representation in the file meta information was raised by the library.
    (
        "stored_file",
        _PREFIX
        + b"\x02\x00\x00\x00UL\x04\x00\x1e\x00\x00\x00"
        + b"\x02\x00\x02\x00UO\x02\x001\x00"
        + b"\x02\x00\x03\x00UI\x02\x001\x00"
        + b"\x02\x00\x10\x00UI\x02\x001\x00",
    ),
    # A decision of no known kind, and lists in lists.
    (
        "notice",
        b'{"digest": "", "reason": "", "decisions": [{"action": "x", "decided_by": "", '
        b'"reason": "", "decided_at": "2026-01-01"}]}',
    ),
    ("notice", b"[" * 5000),
]


def test_a_sequence_against_the_dictionary_is_refused_by_the_worker_itself() -> None:
    """Who read the worker's answer took it for none, and replaced the worker."""
    file = seeds("header")[0]
    _, data_set = split_file(file)
    meta = file[: len(file) - len(data_set)]
    for element in (b"\x40\x00\x75\x02LO\x02\x00ab", b"\x08\x00\x3e\x10SQ\0\0\0\0\0\0"):
        load("header")(meta + element)


def test_a_nul_in_the_file_meta_information_is_no_text_of_an_answer() -> None:
    load("header")(seeds("header")[0].replace(b"AE\x08\0RADLOOP ", b"AE\x08\0RAD\0OOP "))


@pytest.mark.parametrize(("target", "data"), _ONCE_FAILED)
def test_what_once_failed(target: str, data: bytes) -> None:
    load(target)(data)

"""No bytes crash or hang what looks at stored objects first."""

import os
from typing import BinaryIO, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.inspection import Header, Unreadable, inspect_header
from dicom_node.part10 import open_part10
from tests.builders import mr_image
from tests.part10_builders import bases, deflated, nested

SEEDS = [content for _, content in bases()]
SEEDS += [deflated(mr_image()), nested(20, undefined=True), nested(20, undefined=False)]

mutations = st.lists(
    st.tuples(
        st.integers(0, 4000),
        st.integers(0, 6),
        st.one_of(
            st.binary(max_size=8), st.sampled_from([b"\xff" * 4, b"\xfe\xff\x00\xe0", b"SQ"])
        ),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), mutations, st.integers(0, 200))
def test_mutated_objects_end_in_a_header_or_a_reason(
    seed: bytes, changes: list[tuple[int, int, bytes]], cut: int
) -> None:
    content = seed
    for place, removed, added in changes:
        place %= len(content)
        content = content[:place] + added + content[place + removed :]
    assert isinstance(inspected(content[: len(content) - cut]), Header | Unreadable)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_data_set_ends_in_a_reason(data: bytes) -> None:
    start = SEEDS[0].index(b"\x08\x00\x08\x00")
    assert isinstance(inspected(SEEDS[0][:start] + data), Unreadable)


def inspected(content: bytes) -> Header | Unreadable:
    with os.fdopen(os.memfd_create("object"), "w+b", buffering=0) as file:
        file.write(content)
        return inspect_header(cast(BinaryIO, file))


def test_seeds_are_sound() -> None:
    for seed in SEEDS:
        assert isinstance(inspected(seed), Header)
        with os.fdopen(os.memfd_create("object"), "w+b", buffering=0) as file:
            file.write(seed)
            with open_part10(cast(BinaryIO, file)) as part10:
                assert part10.start > 132

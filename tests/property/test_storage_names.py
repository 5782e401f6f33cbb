"""No text of a peer ever becomes a path, and no two objects ever share a name."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.file_meta import leading_uids
from dicom_node.storage import DicomStore, ReceivedObject
from tests.builders import MEMORY_DISK

_HOSTILE = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["../../x", "/etc/passwd", "a\0b", "..", ".", "", "1.2.3", "con", "\ud800"]),
)
_OBJECTS = st.builds(
    ReceivedObject,
    sop_class_uid=_HOSTILE,
    sop_instance_uid=_HOSTILE,
    transfer_syntax_uid=_HOSTILE,
    calling_ae_title=_HOSTILE,
    called_ae_title=_HOSTILE,
    data=st.binary(max_size=64),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_OBJECTS, min_size=1, max_size=4))
def test_hostile_text_stays_inside_the_store(objects: list[ReceivedObject]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        outside = Path(folder)
        store = DicomStore(outside / "a" / "data")
        store.recover()
        for each in objects:
            store.store(each)
            store.quarantine(each, "hostile")
        assert [path.name for path in outside.iterdir()] == ["a"]
        assert [path.name for path in (outside / "a").iterdir()] == ["data"]
        names = {path.stem for path in store.spooled()}
        assert all(len(name) == 64 and set(name) <= set("0123456789abcdef") for name in names)
        parts = {
            (e.transfer_syntax_uid, e.sop_class_uid, e.sop_instance_uid, bytes(e.data))
            for e in objects
        }
        assert len(names) == len(parts)
        assert len(store.notices()) == len(parts)


@settings(max_examples=100, deadline=None)
@given(_HOSTILE, _HOSTILE, st.binary(max_size=32))
def test_moving_text_between_fields_changes_the_name(one: str, two: str, data: bytes) -> None:
    def digest(sop_class: str, sop_instance: str) -> str:
        return ReceivedObject(sop_class, sop_instance, "1.2", "A", "B", data).digest

    assert (digest(one, two) == digest(two, one)) == (one == two)
    assert (digest(one + "x", two) == digest(one, "x" + two)) is False


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]),
)
def test_walking_arbitrary_bytes_ends_in_uids_or_a_value_error(data: bytes, syntax: str) -> None:
    try:
        found = leading_uids(data, syntax)
    except ValueError:
        return
    assert found is None or len(found) == 2

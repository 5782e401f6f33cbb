"""What came because this node asked for it is known as that, however the archive sends it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlmodel import select

from dicom_node.database import Database
from dicom_node.file_meta import IMPORTED, RETRIEVED, ROUTED, way_of
from dicom_node.headers import read_header
from dicom_node.models import Instance
from dicom_node.solicited import expect, solicited_studies
from tests.builders import mr_image, uid
from tests.conversation import new_provider
from tests.index_room import NOW, Room, index_database, index_room

SR = "1.2.840.10008.5.1.4.1.1.88.34"
S1 = uid("study", "S1")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with index_database(tmp_path_factory.mktemp("index")) as database:
        yield database


@pytest.fixture
def room(database: Database) -> Iterator[Room]:
    with index_room(database) as room:
        yield room


def asked(room: Room) -> dict[str, str]:
    with room.database.read() as session:
        return {each: row.way for each, row in solicited_studies(session).items()}


def ways(room: Room) -> list[str]:
    with room.database.read() as session:
        return sorted(session.exec(select(Instance.way)))


def ask(room: Room, *uids: str) -> set[str]:
    with room.database.write() as session:
        return expect(session, uids, RETRIEVED, "backfill of 2019", lambda: NOW)


@pytest.mark.parametrize("way", [ROUTED, RETRIEVED, IMPORTED])
def test_a_stored_file_says_how_it_came(room: Room, way: str) -> None:
    room.take(mr_image(), way=way)
    (path,) = room.store.spooled()
    assert read_header(path).way == way
    room.index()
    assert ways(room) == [way]


def test_a_routed_file_is_written_as_ever(room: Room) -> None:
    room.take(mr_image())
    (path,) = room.store.spooled()
    assert b"\x02\x00\x02\x01OB" not in path.read_bytes()[:512]


def test_the_same_bytes_by_another_way_are_the_same_object(room: Room) -> None:
    assert room.take(mr_image()) == room.take(mr_image(), way=RETRIEVED)
    room.index()
    assert ways(room) == [ROUTED]


@pytest.mark.parametrize("text", [b"", b"stolen", b"retrieved\xff"])
def test_an_unknown_word_in_a_file_is_nobodys_request(text: bytes) -> None:
    ours = "2.25.157298631750487029531174622450139078714"
    assert way_of(ours, b"retrieved ") == RETRIEVED
    assert way_of(ours, text) == ROUTED
    assert way_of("1.2.3", b"retrieved") == ROUTED


def test_what_our_own_move_brings_is_not_the_senders_idea(tmp_path: Any) -> None:
    provider = new_provider(tmp_path)
    assert provider.way_of("RADLOOP") == RETRIEVED
    assert provider.way_of(" RADLOOP ") == RETRIEVED
    assert provider.way_of("VIEWER") == ROUTED
    assert provider.way_of("") == ROUTED


def test_a_study_whose_first_image_we_asked_for_is_never_answered(room: Room) -> None:
    room.take(mr_image(instance=1), way=RETRIEVED)
    room.index()
    assert asked(room) == {S1: RETRIEVED}
    room.take(mr_image(instance=2))
    room.index()
    assert asked(room) == {S1: RETRIEVED}


def test_a_study_that_was_routed_first_stays_what_it_was(room: Room) -> None:
    room.take(mr_image(instance=1))
    room.index()
    room.take(mr_image(instance=2), way=RETRIEVED)
    room.index()
    assert asked(room) == {}
    assert ask(room, S1) == set()


def test_a_newer_version_that_we_asked_for_keeps_a_routed_study_what_it_was(room: Room) -> None:
    room.take(mr_image())
    room.index()
    room.take(mr_image(StationName="ARCHIVE"), way=RETRIEVED)
    room.index()
    assert ways(room) == [RETRIEVED]
    assert asked(room) == {}
    before = room.dump()
    room.forget()
    room.reindex()
    assert (room.dump(), asked(room)) == (before, {})


def test_within_one_group_the_first_image_decides(room: Room) -> None:
    room.take(mr_image(instance=1), way=IMPORTED)
    room.take(mr_image(instance=2))
    room.take(mr_image(study="S2", patient="P2", instance=3))
    room.take(mr_image(study="S2", patient="P2", instance=4), way=IMPORTED)
    room.index()
    assert asked(room) == {S1: IMPORTED}


def test_a_report_that_was_here_first_makes_no_routed_study(room: Room) -> None:
    room.take(report())
    room.index()
    room.take(mr_image(), way=RETRIEVED)
    room.index()
    assert asked(room) == {S1: RETRIEVED}


def test_what_was_asked_for_is_known_where_the_archive_does_not_say_for_whom(room: Room) -> None:
    assert ask(room, S1, "1.2.3") == {S1, "1.2.3"}
    room.take(mr_image())
    room.index()
    assert asked(room) == {S1: RETRIEVED, "1.2.3": RETRIEVED}
    assert ask(room, "1.2.3") == {"1.2.3"}


def test_the_files_alone_say_what_was_asked_for(room: Room) -> None:
    room.take(mr_image(instance=1), way=RETRIEVED)
    room.take(mr_image(study="S2", patient="P2", instance=2))
    room.index()
    before = room.dump()
    room.forget()
    with room.database.write() as session:
        for row in solicited_studies(session).values():
            session.delete(row)
    room.reindex()
    assert room.dump() == before
    assert asked(room) == {S1: RETRIEVED}


def test_the_list_beside_the_archive_survives_the_database(room: Room) -> None:
    room.store.asked_for.note([S1, "1.2.3"], RETRIEVED, NOW)
    room.take(mr_image(instance=1))  # of an archive that does not say for whom it sends
    room.take(mr_image(study="S2", patient="P2", instance=2))
    room.index()
    assert asked(room) == {S1: RETRIEVED}
    before = room.dump()
    room.forget()
    with room.database.write() as session:
        for row in solicited_studies(session).values():
            session.delete(row)
    room.reindex()
    assert room.dump() == before
    assert asked(room) == {S1: RETRIEVED}


def report() -> Dataset:
    data_set = mr_image(instance=9, series="9")
    data_set.SOPClassUID = SR
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        if keyword in data_set:
            delattr(data_set, keyword)
    return data_set


def test_settings_name_whose_moves_are_ours(tmp_path: Any) -> None:
    provider = new_provider(tmp_path, ae_title="RESEARCH")
    assert provider.way_of("RESEARCH") == RETRIEVED
    assert provider.way_of("RADLOOP") == ROUTED


@pytest.mark.parametrize("way", [RETRIEVED, IMPORTED])
def test_newer_versions_that_we_asked_for_silence_no_routed_study(room: Room, way: str) -> None:
    for number in (1, 2):
        room.take(mr_image(instance=number))
    room.index()
    for number in (1, 2):
        changed = mr_image(instance=number)
        changed.StudyDescription = "coerced"
        room.take(changed, way=way)
    room.index()
    assert ways(room) == [way, way]
    assert asked(room) == {}
    room.reindex()
    assert asked(room) == {}


def test_newer_versions_that_were_routed_make_no_imported_study_answerable(room: Room) -> None:
    room.take(mr_image(), way=IMPORTED)
    room.index()
    changed = mr_image()
    changed.StudyDescription = "coerced"
    room.take(changed)
    room.index()
    with room.database.write() as session:
        for row in solicited_studies(session).values():
            session.delete(row)
    room.reindex()
    assert asked(room) == {S1: IMPORTED}


def test_an_imported_object_that_a_person_lets_in_is_not_answered(room: Room) -> None:
    room.take(mr_image(instance=1))
    room.index()
    digest = room.take(same_name(mr_image(study="S2", series="2")), way=IMPORTED)
    room.index()
    assert asked(room) == {}
    room.decide("accept", digest)
    assert asked(room) == {uid("study", "S2"): IMPORTED}


def test_an_imported_object_that_is_let_in_late_silences_no_routed_study(room: Room) -> None:
    room.take(mr_image(instance=1))
    room.index()
    digest = room.take(same_name(mr_image(study="S2", series="2")), way=IMPORTED)
    room.index()
    room.take(mr_image(study="S2", series="2", instance=2))
    room.index()
    room.decide("accept", digest)
    assert asked(room) == {}
    room.reindex()
    assert asked(room) == {}


def same_name(data_set: Dataset) -> Dataset:
    """Return an object under the SOP Instance UID of another study's first image."""
    data_set.SOPInstanceUID = mr_image(instance=1).SOPInstanceUID
    return data_set

"""What is taken from folders and media, what not; a trial counts what an import does."""

import os
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from dicom_node.errors import Permanent, Transient
from dicom_node.headers import read_header
from dicom_node.imports.candidates import Absent, mark_of
from dicom_node.imports.fates import Fate
from dicom_node.imports.folders import DirectorySource, FileCandidate, FolderSource, source_at
from dicom_node.imports.taking import Taking
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore, OutOfSpace
from tests.builders import file_data_set, mr_image, received, uid

DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.fixture
def store(tmp_path: Path) -> DicomStore:
    store = DicomStore(tmp_path / "store")
    store.recover()
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "old"
    folder.mkdir()
    return folder


def told(name: str, fate: Fate, why: str) -> None:
    """Take what does not come in; see TOLD."""
    TOLD[name] = (fate, why)


TOLD: dict[str, tuple[Fate, str]] = {}


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    TOLD.clear()


def files_and_absent(source: FolderSource | DirectorySource) -> tuple[list[str], dict[str, str]]:
    found = list(source.candidates())
    absent = [each for each in found if isinstance(each, Absent)]
    return [each.name for each in found if each not in absent], {e.name: e.why for e in absent}


def taking(store: DicomStore, *known: str, trial: bool = False, **settings: object) -> Taking:
    values = DicomSettings.model_validate({"minimum_free_bytes": 0, **settings})
    return Taking(store.intake, values, "IMPORT", lambda _: known, tell=told,
                  foresee=(lambda _: None) if trial else None)  # fmt: skip


def write(folder: Path, name: str, data_set: Dataset, syntax: str = ImplicitVRLittleEndian) -> Path:
    buffer = BytesIO()
    file_data_set(data_set, syntax).save_as(buffer, enforce_file_format=True)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path


def take_all(found: Taking, folder: Path) -> dict[str, int]:
    for each in FolderSource(folder).candidates():
        found.take(each)
    return {str(fate): number for fate, number in found.taken.fates.items()}


def files(store: DicomStore) -> int:
    return sum(1 for path in store.root.rglob("*") if path.is_file())


def test_objects_are_stored_as_those_that_are_sent_and_say_that_they_were_imported(
    store: DicomStore, folder: Path
) -> None:
    image = mr_image()
    write(folder, "a/b/image", image)
    found = taking(store)
    assert take_all(found, folder) == {"new": 1}
    (path,) = store.spooled()
    assert path.stem == received(image, ImplicitVRLittleEndian).digest
    header = read_header(path)
    assert (header.way, header.calling_ae_title) == ("imported", "IMPORT")
    assert header.called_ae_title == "RADLOOP"
    assert found.taken.studies == {uid("study", "S1")}
    assert found.taken.size > 0


def mixed(folder: Path, store: DicomStore) -> None:
    """Lay out one of everything."""
    write(folder, "1 new", mr_image(instance=1))
    write(folder, "2 twice", mr_image(instance=1))
    write(folder, "3 big endian", mr_image(instance=2), ExplicitVRBigEndian)
    other = mr_image(instance=2)
    other.PatientID = "ELSE"
    write(folder, "4 other bytes", other)
    write(folder, "4 other bytes, twice", other)
    store.store(received(mr_image(instance=3), ImplicitVRLittleEndian))
    write(folder, "5 held", mr_image(instance=3))
    (folder / "6 words").write_text("no image at all")
    (folder / "7 empty").write_bytes(b"")
    (folder / "8 cut").write_bytes(
        write(folder, "9 whole", mr_image(instance=4)).read_bytes()[:150]
    )
    strange = mr_image(instance=5)
    strange.SOPClassUID = "1.2.840.10008.1.1"
    write(folder, "a no storage", strange)
    liar = write(folder, "b liar", mr_image(instance=6))
    whole = liar.read_bytes()
    named = str(mr_image(instance=6).SOPInstanceUID).encode()
    at = whole.rindex(named)
    liar.write_bytes(whole[:at] + named[:-1] + (b"0" if named[-1:] != b"0" else b"1")
                     + whole[at + len(named):])  # fmt: skip
    (folder / "c link").symlink_to(folder / "1 new")


def test_a_trial_counts_what_the_import_does_and_keeps_nothing(
    store: DicomStore, folder: Path
) -> None:
    mixed(folder, store)
    before = files(store)
    tried = taking(store, trial=True)
    counts = take_all(tried, folder)
    assert files(store) == before
    expected = {"new": 3, "held": 3, "differs": 1, "refused": 3, "missing": 1, "other": 2}
    assert counts == expected
    named = dict(TOLD)
    TOLD.clear()
    done = taking(store)
    assert take_all(done, folder) == counts
    assert done.taken == tried.taken
    assert files(store) == before + 4  # nothing half-written is left
    assert named == TOLD
    assert TOLD["a no storage"] == (Fate.REFUSED, "its SOP class is not stored here")
    assert TOLD["b liar"][1] == "the data set is not the object that the sender names"
    assert "file meta information" in TOLD["8 cut"][1]
    assert TOLD["c link"] == (Fate.MISSING, "it is a link, and links are not followed")
    assert Counter(TOLD.values()) == done.taken.reasons
    again = take_all(taking(store), folder)
    assert again == {"held": 7, "refused": 3, "missing": 1, "other": 2}


def test_what_the_index_holds_under_other_bytes_is_told(store: DicomStore, folder: Path) -> None:
    write(folder, "image", mr_image())
    assert take_all(taking(store, "f" * 64), folder) == {"differs": 1}


def test_what_is_too_long_or_deflated_is_refused(store: DicomStore, folder: Path) -> None:
    write(folder, "image", mr_image())
    assert take_all(taking(store, maximum_object_bytes=100), folder) == {"refused": 1}
    (folder / "image").unlink()
    write(folder, "deflated", mr_image(), DEFLATED)
    found = taking(store)
    assert take_all(found, folder) == {"refused": 1}
    assert TOLD["deflated"][1] == "its transfer syntax is not accepted"
    assert files(store) == 0


def test_without_room_the_import_stops_and_says_so(store: DicomStore, folder: Path) -> None:
    write(folder, "image", mr_image())
    full = DicomStore(store.root, minimum_free_bytes=2**62)
    with pytest.raises(OutOfSpace):
        take_all(taking(full), folder)
    assert files(store) == 0


def test_an_archive_that_breaks_off_leaves_nothing_half(store: DicomStore, folder: Path) -> None:
    whole = write(folder, "image", mr_image()).read_bytes()

    class Broken:
        name, mark = "x", "y"

        def pieces(self) -> Iterator[bytes]:
            yield whole[:-100]
            raise Transient("the archive breaks off")

    with pytest.raises(Transient, match="breaks off"):
        taking(store).take(Broken())
    assert files(store) == 0


def test_what_was_taken_before_is_passed_over_while_it_is_here(
    store: DicomStore, folder: Path
) -> None:
    write(folder, "image", mr_image())
    (candidate,) = FolderSource(folder).candidates()
    digest = taking(store).take(candidate)
    found = taking(store)
    assert found.pass_over(digest)
    assert not found.pass_over("0" * 64)
    assert found.taken.fates == {Fate.HELD: 1}


def test_a_file_that_changes_has_another_mark(folder: Path) -> None:
    path = write(folder, "image", mr_image())
    before = FileCandidate(folder, path).mark
    assert FileCandidate(folder, path).mark == before
    path.write_bytes(b"longer" + path.read_bytes())
    assert FileCandidate(folder, path).mark != before
    assert mark_of("ab", "c") != mark_of("a", "bc")


def medium(folder: Path) -> Path:
    """Lay out three images and the directory that lists them, its records in no hierarchy."""
    root, records = folder / "medium", []
    for number in range(3):
        write(root, f"IMAGES/IM{number}", mr_image(instance=number))
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = ["IMAGES", f"IM{number}"]
        records.append(record)
    directory = Dataset()
    directory.FileSetID = "MEDIUM"
    directory.DirectoryRecordSequence = records
    directory.SOPClassUID, directory.SOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    return write(root, "DICOMDIR", directory, ExplicitVRLittleEndian)


def test_a_dicomdir_stands_for_what_it_lists(store: DicomStore, folder: Path) -> None:
    directory = medium(folder)
    write(directory.parent, "NOTLISTED", mr_image(instance=9))
    source = source_at(directory)
    assert isinstance(source, DirectorySource)
    found = taking(store)
    for each in source.candidates():
        found.take(each)
    assert found.taken.fates == {Fate.NEW: 3}
    # As a folder, the directory itself is no object and the file beside counts.
    assert take_all(taking(store), directory.parent) == {"held": 3, "new": 1, "other": 1}


def test_what_a_dicomdir_lists_and_lacks_is_named(folder: Path) -> None:
    directory = medium(folder)
    (first, *_) = source_at(directory).candidates()
    assert isinstance(first, FileCandidate)
    first.path.unlink()
    present, absent = files_and_absent(source_at(directory))
    assert len(present) == 2
    assert absent == {"IMAGES/IM0": "it is listed, and not there"}


@pytest.mark.parametrize(
    "listed", ["..\\SECRET", "..", ".", "A\\..\\..\\SECRET", "/etc\\passwd", "LINK", "", "A" * 65]
)
def test_nothing_outside_the_medium_is_read(folder: Path, listed: str) -> None:
    write(folder, "SECRET", mr_image())
    root = folder / "medium"
    (root / "A").mkdir(parents=True)
    (root / "LINK").symlink_to(folder / "SECRET")
    value = listed.encode().ljust(len(listed) + len(listed) % 2)
    element = b"\x04\x00\x00\x15CS" + len(value).to_bytes(2, "little") + value
    (root / "DICOMDIR").write_bytes(directory_of(element))
    present, absent = files_and_absent(source_at(root / "DICOMDIR"))
    assert (present, len(absent)) == ([], 1)


def test_a_directory_that_claims_long_values_takes_no_memory(folder: Path) -> None:
    record = b"\x04\x00\x00\x15CS\xfe\xff" + b"A\\B "
    short = b"\x04\x00\x00\x15CS\x04\x00" + b"A\\B "
    (folder / "DICOMDIR").write_bytes(directory_of(record * 50_000 + short * 5))
    tracemalloc.start()
    source = source_at(folder / "DICOMDIR")
    found = files_and_absent(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == ([], {"A/B": "it is listed, and not there"})
    assert peak < 20 * 2**20


def test_a_folder_that_cannot_be_read_does_not_hide_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1", "lost+found/2", "z/3"):
        write(folder, name, mr_image())
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    source = FolderSource(folder)
    present, absent = files_and_absent(source)
    assert present == ["a/1", "z/3"]
    assert absent == {"lost+found": "the folder: it cannot be read (Permission denied)"}


def test_another_file_of_the_same_size_and_time_has_another_mark(folder: Path) -> None:
    path = write(folder, "image", mr_image(instance=1))
    before, when = FileCandidate(folder, path).mark, path.stat().st_mtime_ns
    write(folder, "image", mr_image(instance=2))
    os.utime(path, ns=(when, when))
    assert FileCandidate(folder, path).mark != before


def test_an_empty_directory_and_nothing_at_all(folder: Path) -> None:
    (folder / "DICOMDIR").write_bytes(b"")
    assert files_and_absent(source_at(folder / "DICOMDIR"))[0] == []
    with pytest.raises(Permanent, match="no such file"):
        source_at(folder / "absent")


def test_links_and_their_loops_are_told_and_not_walked(store: DicomStore, folder: Path) -> None:
    write(folder, "a/image", mr_image())
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "a" / "out").symlink_to("/etc")
    (folder / "a" / "lost").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "a" / "pipe")
    assert take_all(taking(store), folder) == {"new": 1, "missing": 3}
    assert set(TOLD) == {"a/loop", "a/out", "a/lost"}


def test_files_that_vanish_during_the_run_are_missing_and_not_refused(
    store: DicomStore, folder: Path
) -> None:
    for name in ("1", "2", "3"):
        write(folder, name, mr_image(instance=int(name)))
    found = taking(store)
    for each in FolderSource(folder).candidates():
        (folder / "2").unlink(missing_ok=True)
        found.take(each)
    assert found.taken.fates == {Fate.NEW: 2, Fate.MISSING: 1}
    assert TOLD == {"2": (Fate.MISSING, "it was there, and is not any more")}


def test_a_file_that_may_not_be_read_is_refused_with_the_reason(
    store: DicomStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "1", mr_image(instance=1))
    write(folder, "2", mr_image(instance=2))
    real = os.open

    def opened(path: Any, *rest: Any, **more: Any) -> int:
        if str(path).endswith("/1"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", opened)
    assert take_all(taking(store), folder) == {"refused": 1, "new": 1}
    assert TOLD == {"1": (Fate.REFUSED, "it cannot be read (Permission denied)")}


def directory_of(records: bytes, *, length: int | None = None) -> bytes:
    """Return a DICOMDIR with records and nothing else; ``length`` stands for theirs."""
    said = (len(records) if length is None else length).to_bytes(4, "little")
    return bytes(128) + b"DICM" + b"\x04\x00\x20\x12SQ\x00\x00" + said + records


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (0, "it holds no list of files"),
        (140, "it holds no list of files"),
        (-100, "it is cut off: what else it would list is not known"),
        (None, ""),
    ],
)
@pytest.mark.parametrize("undefined", [False, True])
def test_a_directory_that_is_cut_off_says_so(
    folder: Path, kept: int | None, why: str, undefined: bool
) -> None:
    path = medium(folder)
    if undefined:
        records = b"\xfe\xff\xdd\xe0\0\0\0\0"
        path.write_bytes(directory_of(records, length=0xFFFFFFFF) + b"\0\0")
        kept = -8 if kept == -100 else kept
    path.write_bytes(path.read_bytes()[:kept])
    _, absent = files_and_absent(source_at(path))
    assert absent.get("DICOMDIR", "") == why


def listing(root: Path, *names: str) -> Path:
    """Write a DICOMDIR that lists names and nothing else."""
    elements = b""
    for name in names:
        value = name.encode().ljust(len(name) + len(name) % 2)
        elements += b"\x04\x00\x00\x15CS" + len(value).to_bytes(2, "little") + value
    (root / "DICOMDIR").write_bytes(directory_of(elements))
    return root / "DICOMDIR"


@pytest.mark.parametrize("on_disk", ["images/im1", "IMAGES/IM1", "Images/Im1", "IMAGES/IM1.;1"])
def test_names_of_media_are_found_in_any_case(folder: Path, on_disk: str) -> None:
    write(folder, on_disk, mr_image())
    present, absent = files_and_absent(source_at(listing(folder, "IMAGES\\IM1")))
    assert (present, absent) == ([on_disk], {})


def test_what_is_ambiguous_or_no_file_on_a_medium_is_told(folder: Path) -> None:
    write(folder, "im1", mr_image(instance=1))
    write(folder, "Im1", mr_image(instance=2))
    (folder / "SUB").mkdir()
    (folder / "sub2").symlink_to("/etc")
    directory = listing(folder, "IM1", "SUB", "SUB2\\PASSWD", "SUB\\..\\IM1")
    present, absent = files_and_absent(source_at(directory))
    assert present == []
    assert absent == {
        "IM1": "it is listed, and several files have its name in other cases",
        "SUB": "it is listed, and is no file",
        "SUB2/PASSWD": "it is a link, and links are not followed",
        "SUB/../IM1": "it is listed by what is no name below the folder of the DICOMDIR",
    }

"""The folder store: order of durability, names, repetition, orphans, full and failing disks."""

import errno
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from dicom_node.completion import look
from dicom_node.database import utc_now
from dicom_node.durable import SharedFolderSync
from dicom_node.file_meta import EXPLICIT_VR_BIG_ENDIAN, encode_file_meta, leading_uids
from dicom_node.storage import DicomStore, OutOfSpace, StorageFailed
from tests.builders import COMPRESSED_SYNTAX, compressed_image, encode, mr_image, received


@pytest.fixture
def store(tmp_path: Path) -> DicomStore:
    store = DicomStore(tmp_path)
    store.recover()
    return store


def test_stored_file_explains_itself_and_keeps_every_byte(store: DicomStore) -> None:
    image = received(mr_image(), calling="SCANNER_1", called="RADLOOP")

    digest = store.store(image)

    (path,) = store.spooled()
    assert path.name == f"{digest}.dcm"
    content = path.read_bytes()
    assert content.endswith(bytes(image.data))
    assert content[:128] == bytes(128)
    meta = dcmread(path, stop_before_pixels=True).file_meta
    assert meta.MediaStorageSOPInstanceUID == image.sop_instance_uid
    assert meta.TransferSyntaxUID == image.transfer_syntax_uid
    assert meta.SourceApplicationEntityTitle == "SCANNER_1"
    assert meta.SendingApplicationEntityTitle == "SCANNER_1"
    assert meta.ReceivingApplicationEntityTitle == "RADLOOP"


def test_folders_and_files_are_for_the_owner_only(store: DicomStore) -> None:
    previous = os.umask(0)
    try:
        store.store(received(mr_image()))
    finally:
        os.umask(previous)
    for path in [store.root / "spool", store.root / "archive", store.root / "quarantine"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.spooled()[0].stat().st_mode) == 0o600


def test_file_is_synced_before_it_is_named_and_the_folder_after(
    store: DicomStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_rename = Path.rename

    def sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("sync folder" if is_folder else "sync file")

    def rename(path: Path, target: Path) -> Path:
        calls.append(f"rename to {target.parent.name}")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(Path, "rename", rename)

    store.store(received(mr_image()))

    assert calls == ["sync file", "rename to spool", "sync folder"]


def test_same_bytes_are_stored_once_and_other_bytes_apart(store: DicomStore) -> None:
    first = store.store(received(mr_image()))
    assert store.store(received(mr_image(), calling="OTHER_ROUTE")) == first
    other = store.store(received(mr_image(PatientComments="changed")))
    same_data_other_syntax = store.store(received(mr_image(), ImplicitVRLittleEndian))
    assert len({first, other, same_data_other_syntax}) == 3
    assert store.spooled_count() == 3


def test_archived_object_is_not_stored_again(store: DicomStore) -> None:
    digest = store.store(received(mr_image()))
    store.archive([digest])
    assert store.path(digest).parent.name == digest[:2]
    assert store.store(received(mr_image())) == digest
    assert store.spooled() == []


def test_recover_removes_what_was_never_acknowledged(store: DicomStore) -> None:
    orphan = store.root / "tmp" / "0123.part"
    orphan.write_bytes(b"half an object")
    assert store.recover() == 1
    assert not orphan.exists()


def test_free_space_mark_refuses_before_the_disk_is_full(tmp_path: Path) -> None:
    store = DicomStore(tmp_path, minimum_free_bytes=2**60)
    store.recover()
    assert not store.has_room
    with pytest.raises(OutOfSpace):
        store.store(received(mr_image()))
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ENOSPC, OutOfSpace), (errno.EIO, StorageFailed)]
)
def test_failed_sync_is_never_tried_again(
    store: DicomStore,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    expected: type[Exception],
) -> None:
    attempts: list[int] = []

    def sync(descriptor: int) -> None:
        attempts.append(descriptor)
        raise OSError(code, "sync failed")

    monkeypatch.setattr(os, "fdatasync", sync)
    with pytest.raises(expected):
        store.store(received(mr_image()))
    assert len(attempts) == 1
    assert list(store.root.rglob("*.*")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk_keeps_no_partial_file_and_heals(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = DicomStore(tmp_path)
        store.recover()
        kept: list[str] = []

        def fill() -> None:
            for number in range(100):
                kept.append(store.store(received(mr_image(instance=number, rows=128))))

        with pytest.raises(OutOfSpace):
            fill()
        assert kept
        assert {path.stem for path in store.spooled()} == set(kept)
        assert list((tmp_path / "tmp").iterdir()) == []
        store.spooled()[0].unlink()
        store.store(received(mr_image(instance=1000, rows=64)))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_quarantine_keeps_bytes_and_tells_the_indexer_why(store: DicomStore) -> None:
    image = received(mr_image())
    digest = store.quarantine(image, "a reason")
    assert store.quarantined_path(digest).read_bytes().endswith(bytes(image.data))
    (notice,) = store.notices()
    assert (notice.digest, notice.reason, notice.sender) == (digest, "a reason", "SCANNER")
    store.store(image)
    store.file_notice(digest, b"{}", 10**18)
    assert store.notices() == []
    assert store.spooled_count() == 1
    assert (store.root / "quarantine" / f"{digest}.json").exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"3", b'{"other": 1}', b"\xff\xfe"])
def test_a_damaged_notice_keeps_no_other_from_the_index(store: DicomStore, damage: bytes) -> None:
    digest = store.quarantine(received(mr_image()), "a reason")
    (store.root / "spool" / "damaged.json").write_bytes(damage)
    assert [notice.digest for notice in store.notices()] == [digest]


def test_spooled_object_can_be_set_aside(store: DicomStore) -> None:
    digest = store.store(received(mr_image()))
    received_at = store.spooled()[0].stat().st_mtime_ns
    store.set_aside(digest, b"{}", received_at)
    assert store.spooled() == []
    assert store.quarantined_path(digest).exists()


def test_killed_writer_leaves_only_whole_files_under_final_names(store: DicomStore) -> None:
    script = (
        "import sys; from pathlib import Path; from dicom_node.storage import *\n"
        "store = DicomStore(Path(sys.argv[1])); print('go', flush=True); n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    print(store.store(ReceivedObject('1.2', f'1.2.{n}', '1.2.840.10008.1.2.1',"
        " 'A', 'B', bytes(200_000))), flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(store.root)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline().strip() for _ in range(20)]
    writer.kill()
    acknowledged = set(lines[1:]) | set(writer.stdout.read().split())
    writer.wait()
    writer.stdout.close()
    names = {path.stem for path in store.spooled()}
    assert acknowledged <= names
    assert all(path.stat().st_size > 200_000 for path in store.spooled())
    store.recover()
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", EXPLICIT_VR_BIG_ENDIAN]
)
def test_leading_uids_are_found_without_a_parser(syntax: str) -> None:
    image = mr_image()
    assert leading_uids(encode(image, syntax), syntax) == (
        image.SOPClassUID,
        image.SOPInstanceUID,
    )


def test_leading_uids_of_compressed_image() -> None:
    image = compressed_image()
    found = leading_uids(encode(image, COMPRESSED_SYNTAX), COMPRESSED_SYNTAX)
    assert found == (image.SOPClassUID, image.SOPInstanceUID)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(64),
        b"\x08\x00\x16\x00UI\xff\xff1.2",
        b"\x02\x00\x10\x00UI\x04\x001.2\x00",
    ],
)
def test_what_is_no_data_set_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"data set|element"):
        leading_uids(data, "1.2.840.10008.1.2.1")


def test_leading_uids_of_a_head_alone() -> None:
    image = mr_image()
    data = encode(image)
    named = (image.SOPClassUID, image.SOPInstanceUID)
    assert leading_uids(data[:400], "1.2.840.10008.1.2.1", len(data)) == named
    # What does not end within the head is left to a parser; what is longer than all is refused.
    assert leading_uids(data[:20], "1.2.840.10008.1.2.1", len(data)) is None
    with pytest.raises(ValueError, match=r"ends inside|longer than"):
        leading_uids(data[:20], "1.2.840.10008.1.2.1")
    assert leading_uids(b"deflated", "1.2.840.10008.1.2.1.99") is None


def test_undefined_length_before_the_uids_is_left_to_a_parser() -> None:
    data = b"\x08\x00\x06\x00SQ\x00\x00\xff\xff\xff\xff"
    assert leading_uids(data, "1.2.840.10008.1.2.1") is None


def test_file_meta_never_holds_a_hostile_value() -> None:
    meta = encode_file_meta(
        sop_class_uid="../../etc",
        sop_instance_uid="1.2\\3",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling_ae_title="A\\B\nC\u20ac" + "x" * 40,
        called_ae_title="RADLOOP",
    )
    assert b"etc" not in meta
    assert b"\\" not in meta
    assert b"\n" not in meta


def test_large_object_is_written_without_a_copy(store: DicomStore) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = memoryview(bytes(64 * 1024 * 1024))
    image = received(mr_image())
    store.store(type(image)(**{**image.__dict__, "data": data}))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * 1024  # KiB: the object itself, never a second copy of it


def test_a_shared_sync_covers_every_name_given_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[set[str]] = []
    gate = threading.Event()
    real = os.fsync

    def sync(descriptor: int) -> None:
        seen = {path.name for path in tmp_path.iterdir()}
        if not synced:
            gate.wait(10)
        synced.append(seen)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    shared = SharedFolderSync(tmp_path)
    covered: dict[str, bool] = {}

    def write(name: str) -> None:
        (tmp_path / name).touch()
        shared.wait()
        covered[name] = any(name in names for names in synced)

    threads = [threading.Thread(target=write, args=(f"{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert covered == {f"{n}": True for n in range(8)}
    assert len(synced) <= 8


def test_a_failed_shared_sync_fails_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    def sync(descriptor: int) -> None:
        attempts.append(descriptor)
        raise OSError(errno.EIO, "sync failed")

    monkeypatch.setattr(os, "fsync", sync)
    shared = SharedFolderSync(tmp_path)
    for _ in range(3):
        with pytest.raises(StorageFailed):
            shared.wait()
    assert len(attempts) == 1


def test_repeated_object_whose_first_copy_was_moved_is_synced_where_it_lies(
    store: DicomStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.store(received(mr_image()))
    store.archive([digest])
    synced: list[Path] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    store.store(received(mr_image()))
    assert synced == [store.path(digest).parent]


def test_a_move_to_the_archive_never_leaves_an_object_without_a_name_that_survives(
    store: DicomStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [store.store(received(mr_image(instance=number))) for number in range(4)]
    synced: list[Path] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")))
    )
    store.archive(digests)
    archive = store.root / "archive"
    assert set(synced[:-1]) == {archive, *(archive / digest[:2] for digest in digests)}
    assert synced[-1] == store.root / "spool"


def test_files_that_the_indexer_moves_during_a_look_are_left_out(
    store: DicomStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [store.store(received(mr_image(instance=n))) for n in range(3)]
    scan = os.scandir

    class Moving:
        """A look at a folder whose first file is moved before the look asks for its time."""

        def __init__(self, folder: Path) -> None:
            self._entries = scan(folder)

        def __enter__(self) -> "Moving":
            return self

        def __exit__(self, *_: object) -> None:
            self._entries.close()

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            for number, entry in enumerate(self._entries):
                if not number:
                    os.unlink(entry.path)
                yield entry

    monkeypatch.setattr("dicom_node.storage.os.scandir", Moving)
    assert len(store.spooled()) == 2
    monkeypatch.undo()
    store.store(received(mr_image(instance=3)))
    monkeypatch.setattr("dicom_node.storage.os.scandir", Moving)
    assert look(store, utc_now()).oldest_spooled is not None
    monkeypatch.undo()
    assert store.spooled_digests() <= {*digests, received(mr_image(instance=3)).digest}
    assert len(store.spooled_digests()) == 2

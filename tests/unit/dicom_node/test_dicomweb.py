"""The store service of DICOMweb without its process: bodies, headers, tokens."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.dicomweb.media_types import boundary_of, check_accept
from dicom_node.dicomweb.outcome import PartOutcome, status_of, store_response
from dicom_node.dicomweb.refusal import Refusal
from dicom_node.dicomweb.senders import Senders, new_token, token_digest
from dicom_node.dicomweb.shelf import Shelf
from dicom_node.dicomweb.transaction import Transaction
from dicom_node.dicomweb_settings import DicomwebSender
from dicom_node.durable import OutOfSpace, StorageFailed
from dicom_node.errors import InvalidSettings
from dicom_node.file_meta_reader import FileMeta, FileMetaReader
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from dicom_node.study_finder import StudyFinder
from tests.builders import encode, mr_image, received, uid
from tests.dicomweb_room import BOUNDARY, SENDER, body_of, part10

MR = "1.2.840.10008.5.1.4.1.1.4"


def refused(status: int) -> "pytest.RaisesExc[Refusal]":
    return pytest.RaisesExc(Refusal, check=lambda error: error.status == status)


# Media types.


@pytest.mark.parametrize(
    "header",
    [
        'multipart/related; type="application/dicom"; boundary=abc',
        "Multipart/Related; boundary=abc; type=application/dicom",
        'multipart/related;boundary="abc";type="application/dicom";x=y',
        'multipart/related; type="application/dicom; transfer-syntax=*"; boundary=abc',
    ],
)
def test_a_request_of_objects_names_its_boundary(header: str) -> None:
    assert boundary_of(header) == b"abc"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 415),
        ("application/dicom", 415),
        ("application/dicom+json", 415),
        ('multipart/related; type="application/dicom+json"; boundary=abc', 415),
        ('multipart/related; type="application/dicom+xml"; boundary=abc', 415),
        ("multipart/related; boundary=abc", 415),
        ("multipart/form-data; boundary=abc", 415),
        ("x" * 10_000, 415),
        ('multipart/related; type="application/dicom"', 400),
        ('multipart/related; type="application/dicom"; boundary=""', 400),
        ('multipart/related; type="application/dicom"; boundary="ends with a space "', 400),
        ('multipart/related; type="application/dicom"; boundary=' + "x" * 201, 400),
        ('multipart/related; type="application/dicom"; boundary="a\x00b"', 400),
        ('multipart/related; type="application/dicom"; boundary="ä"', 400),
    ],
)
def test_other_content_is_refused(header: str, status: int) -> None:
    with refused(status):
        boundary_of(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "*/*",
        "application/*;q=0.1",
        "*/*;q=none",
        "application/dicom+xml, application/dicom+json;q=0.5",
        "application/json",
    ],
)
def test_who_takes_json_is_answered(header: str) -> None:
    check_accept(header)


@pytest.mark.parametrize(
    "header", ["application/dicom+xml", "application/dicom+json;q=0", "text/*"]
)
def test_who_takes_no_json_is_not(header: str) -> None:
    with refused(406):
        check_accept(header)


# Tokens.


def senders(**values: object) -> Senders:
    token = {"token_sha256": token_digest("right")} | values
    return Senders([DicomwebSender.model_validate({"ae_title": SENDER} | token)])


def test_a_token_stands_for_its_sender() -> None:
    assert senders().identify("Bearer right", "192.0.2.1", "") == SENDER
    assert senders().identify("bearer  right ", "192.0.2.1", "") == SENDER
    for wrong in ("", "right", "Bearer", "Bearer ", "Basic right", "Bearer wrong", "Bearer RIGHT"):
        with refused(401):
            senders().identify(wrong, "192.0.2.1", "")
    with refused(401):
        senders().identify("Bearer " + "x" * 5000, "192.0.2.1", "")


def test_a_sender_is_bound_to_networks_and_certificates() -> None:
    bound = senders(networks=["192.0.2.0/24", "2001:db8::/32"], certificates=["ab" * 32])
    assert bound.identify("Bearer right", "192.0.2.9", "ab" * 32) == SENDER
    assert bound.identify("Bearer right", "::ffff:192.0.2.9", "ab" * 32) == SENDER
    assert bound.identify("Bearer right", "2001:db8::1", "ab" * 32) == SENDER
    for address, certificate in (("192.0.3.1", "ab" * 32), ("192.0.2.9", ""), ("?", "ab" * 32)):
        with refused(403):
            bound.identify("Bearer right", address, certificate)


def test_tokens_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    token = new_token()
    monkeypatch.setenv("STOW_TOKEN", token)
    found = senders(token_sha256=None, token_variable="STOW_TOKEN")
    assert found.identify(f"Bearer {token}", "192.0.2.1", "") == SENDER
    for short in ("", "secret"):
        monkeypatch.setenv("STOW_TOKEN", short)
        with pytest.raises(InvalidSettings, match="STOW_TOKEN must hold"):
            senders(token_sha256=None, token_variable="STOW_TOKEN")


def test_two_senders_share_no_token() -> None:
    digest = token_digest("right")
    pair = [DicomwebSender(ae_title=name, token_sha256=digest) for name in ("A", "B")]
    with pytest.raises(InvalidSettings, match="same token"):
        Senders(pair)


# Files.


def test_file_meta_is_read_however_it_is_cut() -> None:
    image = mr_image()
    file = part10(image, preamble=b"MZ" + bytes(126))
    said = FileMeta(MR, str(image.SOPInstanceUID), str(ExplicitVRLittleEndian))
    for size in (1, 7, 131, 132, 144, len(file)):
        reader, rest = FileMetaReader(), b""
        found = None
        for start in range(0, len(file), size):
            piece = file[start : start + size]
            if found is None:
                answer = reader.feed(piece)
                if answer is not None:
                    found, rest = answer
            else:
                rest += piece
        assert found == said
        assert rest == encode(image)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file[:128] + b"DICX" + file[132:], "no DICM prefix"),
        (lambda file: file[128:], "no DICM prefix"),
        (lambda file: file[:132] + file[144:], "does not begin with its length"),
        (lambda file: file[:140] + struct.pack("<L", 2**31) + file[144:], "longer than any"),
        (lambda file: file[:140] + struct.pack("<L", 14) + file[144:], "lacks a UID"),
        (lambda file: file[:140] + struct.pack("<L", 30) + file[144:], "ends inside an element"),
        (lambda file: file[:144] + b"\x08\x00" + file[146:], "another group"),
        (lambda file: file[:144] + file[158:] + file[144:158], "another group|inside an"),
    ],
)
def test_what_is_no_file_is_refused(change: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        FileMetaReader().feed(change(part10(mr_image())))  # type: ignore[operator]


# Studies.


def nested(depth: int) -> Dataset:
    inner = Dataset()
    inner.StudyInstanceUID = "1.2.3.9.9"
    inner.PatientID = "inside"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedSeriesSequence = Sequence([inner, Dataset()])
        inner = outer
    return inner


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_the_study_is_found_behind_sequences(syntax: str, undefined: bool) -> None:
    image = mr_image(study="S7")
    image.ReferencedImageSequence = Sequence([nested(3), nested(0)])
    image.ImageComments = "x" * 3000
    for element in image.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    data = encode(image, syntax)
    for size in (1, 13, 4096):
        finder = StudyFinder(syntax)
        for start in range(0, len(data), size):
            finder.feed(data[start : start + size])
        assert finder.found == uid("study", "S7")


def test_the_walk_ends_where_no_data_set_is_like_that() -> None:
    empty = struct.pack("<HH2sH", 0x0008, 0x0001, b"LO", 0)
    uid_element = struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 4) + b"1.2\0"
    nested = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    nested += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + empty * 100_000
    nested += struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    for before, found in ((b"", "1.2"), (empty, "1.2"), (empty * 2, ""), (nested, "")):
        finder = StudyFinder(ExplicitVRLittleEndian)
        finder.feed(before + uid_element)
        assert finder.found == found


def test_the_study_is_found_behind_unknown_sequences() -> None:
    """An element of VR UN and undefined length is Implicit VR inside (PS3.5 6.2.2)."""
    inner = struct.pack("<HHL", 0x0010, 0x0020, 4) + b"ABCD"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner
    item += struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    unknown = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + item
    unknown += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    study = struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 6) + b"1.2.3\0"
    finder = StudyFinder(ExplicitVRLittleEndian)
    finder.feed(unknown + study)
    assert finder.found == "1.2.3"


@pytest.mark.parametrize(
    "syntax", [DeflatedExplicitVRLittleEndian, "1.3.6.1.4.1.99999.1", ExplicitVRLittleEndian]
)
def test_no_study_is_found_where_it_cannot_be_seen(syntax: str) -> None:
    image = mr_image()
    if syntax == ExplicitVRLittleEndian:
        del image.StudyInstanceUID
    finder = StudyFinder(syntax)
    finder.feed(encode(image))
    assert finder.found == ""


# Requests.


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DicomStore]:
    made = DicomStore(tmp_path)
    made.recover()
    yield made
    assert not list(made.folders.temporary.iterdir())


def transact(
    store: DicomStore, body: bytes, size: int = 1 << 20, **values: object
) -> tuple[Transaction, Refusal | None]:
    dicom = DicomSettings.model_validate({"minimum_free_bytes": 0} | values.pop("dicom", {}))  # type: ignore[operator]
    transaction = Transaction(Shelf(store.intake, dicom), SENDER, BOUNDARY, **values)  # type: ignore[arg-type]
    try:
        for start in range(0, len(body), size):
            transaction.feed(body[start : start + size])
        transaction.finish()
    except Refusal as refusal:
        return transaction, refusal
    finally:
        transaction.discard()
    return transaction, None


def reasons(transaction: Transaction) -> list[int]:
    return [outcome.failure for outcome in transaction.outcomes]


def test_objects_get_the_name_that_c_store_gives_them(store: DicomStore) -> None:
    images = [mr_image(instance=number) for number in range(3)]
    files = [part10(image, preamble=b"\x7fELF" + bytes(124)) for image in images]
    transaction, refusal = transact(store, body_of(files))
    assert refusal is None
    assert reasons(transaction) == [0, 0, 0]
    assert set(store.spooled()) == {
        store.folders.spooled(received(image, calling="ANY").digest) for image in images
    }
    for path in store.spooled():
        head = path.read_bytes()[:400]
        assert head.startswith(bytes(128) + b"DICM")
        assert SENDER.encode() in head
        assert b"SOMEBODY" not in head


def test_the_same_object_twice_is_one(store: DicomStore) -> None:
    transaction, refusal = transact(store, body_of([part10(mr_image())] * 2))
    assert (refusal, reasons(transaction)) == (None, [0, 0])
    assert len(list(store.spooled())) == 1


@pytest.mark.parametrize(
    ("file", "failure", "quarantined"),
    [
        (part10(mr_image(), sop_class="1.2.840.10008.1.1"), 0x0122, 0),
        (part10(mr_image(), stated_syntax="1.2.3.4.5"), 0xC122, 0),
        (part10(mr_image(), stated_syntax=DeflatedExplicitVRLittleEndian), 0xC122, 0),
        (part10(mr_image(), sop_instance="1.2.3"), 0xA900, 1),
        (part10(mr_image(), stated_syntax=ImplicitVRLittleEndian), 0xC000, 1),
        (part10(mr_image(), sop_class="1.2.840.10008.5.1.4.1.1.2"), 0xA900, 1),
        (b"", 0xC000, 0),
        (b"no file at all", 0xC000, 0),
        (part10(mr_image())[:140], 0xC000, 0),
        (part10(mr_image())[:300], 0xC000, 0),
    ],
)
def test_what_c_store_refuses_fails_alone(
    store: DicomStore, file: bytes, failure: int, quarantined: int
) -> None:
    good = part10(mr_image(instance=2))
    transaction, refusal = transact(store, body_of([file, good]))
    assert refusal is None
    assert reasons(transaction) == [failure, 0]
    assert len(list(store.spooled())) == 1
    assert len(list(store.folders.quarantine.glob("*.dcm"))) == quarantined


def test_deflated_is_taken_where_the_settings_say_so(store: DicomStore) -> None:
    file = part10(mr_image(), stated_syntax=DeflatedExplicitVRLittleEndian)
    transaction, _ = transact(store, body_of([file]), dicom={"accept_deflated": True})
    assert reasons(transaction) == [0]


def test_objects_of_another_study_fail_and_are_not_kept(store: DicomStore) -> None:
    files = [part10(mr_image(study=name)) for name in ("S1", "S2")]
    transaction, _ = transact(store, body_of(files), study_instance_uid=uid("study", "S1"))
    assert reasons(transaction) == [0, 0xA900]
    assert len(list(store.spooled())) == 1
    assert not list(store.folders.quarantine.iterdir())


def test_an_object_that_is_too_long_fails_alone(store: DicomStore) -> None:
    files = [part10(mr_image(instance=1, rows=64)), part10(mr_image(instance=2))]
    limits = {"maximum_object_bytes": 4096}
    transaction, refusal = transact(store, body_of(files), size=1000, dicom=limits)
    assert (refusal, reasons(transaction)) == (None, [0xA700, 0])


def test_a_sender_has_its_own_limit_and_a_quota(store: DicomStore) -> None:
    peer = {"ae_title": SENDER, "maximum_object_bytes": 100}
    transaction, _ = transact(store, body_of([part10(mr_image())]), dicom={"peers": [peer]})
    assert reasons(transaction) == [0xA700]
    quota = {"unfinished_bytes_per_peer": 1000}
    transaction, _ = transact(
        store, body_of([part10(mr_image(rows=64)), part10(mr_image())]), size=500, dicom=quota
    )
    assert reasons(transaction) == [0xA700, 0]


FILE = part10(mr_image())
HEADERS = b"Content-Type: application/dicom\r\n\r\n"
OPEN = b"--" + BOUNDARY + b"\r\n"
CLOSE = b"\r\n--" + BOUNDARY + b"--"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"nothing of the kind", 400),
        (b"--" + BOUNDARY + b"--", 400),
        (OPEN + HEADERS + FILE, 400),
        (OPEN + HEADERS + FILE + b"\r\n--" + BOUNDARY, 400),
        (OPEN + HEADERS + FILE + b"\r\n" + OPEN, 400),
        (OPEN + HEADERS + FILE + b"\r\n" + OPEN + b"\r\n" + CLOSE, 415),
        (OPEN + b"\r\n" + FILE + CLOSE, 415),
        (OPEN + b"Content-Type: text/plain\r\n\r\n" + FILE + CLOSE, 415),
        (OPEN + b"Content-Transfer-Encoding: base64\r\n" + HEADERS + FILE + CLOSE, 415),
        (OPEN + b"Content-Encoding: gzip\r\n" + HEADERS + FILE + CLOSE, 415),
        (OPEN + b"Content-Type: application/dicom\r\n" + HEADERS + FILE + CLOSE, 400),
        (OPEN + b"X: " + b"x" * 5000 + b"\r\n" + HEADERS + FILE + CLOSE, 400),
        (OPEN + b"".join(b"X%d: 1\r\n" % n for n in range(40)) + HEADERS + FILE + CLOSE, 400),
        (OPEN + b"no header\r\n" + HEADERS + FILE + CLOSE, 400),
    ],
)
@pytest.mark.parametrize("size", [1, 4096])
def test_a_malformed_body_is_refused_and_nothing_is_kept(
    store: DicomStore, body: bytes, status: int, size: int
) -> None:
    transaction, refusal = transact(store, body, size)
    assert refusal is not None
    assert refusal.status == status
    assert not transaction.outcomes
    assert not list(store.spooled())


def test_parts_before_a_break_stay_and_the_last_is_dropped(store: DicomStore) -> None:
    files = [part10(mr_image(instance=number)) for number in range(3)]
    _, refusal = transact(store, body_of(files)[: -len(CLOSE) - 2])
    assert refusal is not None
    assert len(list(store.spooled())) == 2


def test_a_boundary_in_the_data_stores_no_torn_object(store: DicomStore) -> None:
    """Its data would be cut there; no headers of a part follow, so nothing is taken for whole."""
    image = mr_image(rows=64)
    image.PixelData = image.PixelData[:4096] + b"\r\n" + OPEN + image.PixelData[4096:8000]
    _, refusal = transact(store, body_of([part10(image)]))
    assert refusal is not None
    assert not list(store.spooled())


def test_what_only_looks_like_a_boundary_is_data(store: DicomStore) -> None:
    image = mr_image(rows=64)
    lures = [
        b"--" + BOUNDARY + b"--",
        b"\r\n--" + BOUNDARY[:-1] + b"\r\n",
        b"\r\n\r\n--",
        b"\n" + OPEN + b"\n",
    ]
    image.PixelData = b"".join(lures) * 5 + b"\r" * 400 + b"\r\n--" + BOUNDARY + b"x"
    image.PixelData += bytes(len(image.PixelData) % 2)
    transaction, refusal = transact(store, body_of([part10(image)]))
    assert (refusal, reasons(transaction)) == (None, [0])
    (path,) = store.spooled()
    assert path.read_bytes().endswith(encode(image))


def test_a_final_boundary_in_the_data_stores_no_torn_object(store: DicomStore) -> None:
    image = mr_image(rows=64)
    image.PixelData = image.PixelData[:4096] + CLOSE + b"\r\n" + image.PixelData[4096:8000]
    body = body_of([part10(image)])
    for size in (1, 100, len(body)):
        _, refusal = transact(store, body, size)
        assert refusal is not None
        assert not list(store.spooled())


def test_blank_lines_around_and_padding_are_taken(store: DicomStore) -> None:
    padded = b"\r\n--" + BOUNDARY + b" \t\r\n"
    body = b"\r\n" + OPEN + HEADERS + FILE + padded + HEADERS + FILE + CLOSE + b"\r\n \r\n"
    transaction, refusal = transact(store, body)
    assert (refusal, reasons(transaction)) == (None, [0, 0])


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_preamble_is_passed_over_however_it_is_cut(store: DicomStore, size: int) -> None:
    body = b"\r\nThis is in parts.\r\n\0" + b"\r\n" + OPEN + HEADERS + FILE + CLOSE
    transaction, refusal = transact(store, body, size)
    assert (refusal, reasons(transaction)) == (None, [0])


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_body_that_has_no_boundary_is_refused_soon(store: DicomStore, size: int) -> None:
    _, refusal = transact(store, b"x" * 100_000, size)
    assert refusal is not None
    assert refusal.status == 400
    assert "does not begin with its boundary" in str(refusal)


def test_parts_are_counted(store: DicomStore) -> None:
    _, refusal = transact(store, body_of([FILE] * 3), maximum_parts=2)
    assert refusal is not None
    assert refusal.status == 413


def test_a_full_disk_keeps_nothing_of_an_object(
    store: DicomStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OutOfSpace("the store's file system is full")

    monkeypatch.setattr(store.intake, "check_room", full)
    transaction, refusal = transact(store, body_of([FILE]))
    assert refusal is None
    assert reasons(transaction) == [0xA700]
    assert transaction.ran_out_of_space


def test_nothing_is_taken_after_a_failed_disk(
    store: DicomStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise StorageFailed("the disk failed: EIO")

    monkeypatch.setattr(store.intake, "sync_spool", broken)
    shelf = Shelf(store.intake, DicomSettings(minimum_free_bytes=0))
    transaction = Transaction(shelf, SENDER, BOUNDARY)
    transaction.feed(body_of([FILE]))
    with pytest.raises(StorageFailed):
        transaction.finish()
    transaction.discard()
    assert not transaction.outcomes
    shelf.fail(StorageFailed("the disk failed: EIO"))
    again = Transaction(shelf, SENDER, BOUNDARY)
    with pytest.raises(StorageFailed):
        again.feed(body_of([FILE]))
    again.discard()


# Answers.


def test_the_status_speaks_of_all_some_or_none() -> None:
    good, bad = PartOutcome("1.2", "1.2.3"), PartOutcome("1.2", "1.2.4", 0xC000)
    assert status_of([good, good], ran_out_of_space=False) == 200
    assert status_of([good, bad], ran_out_of_space=True) == 202
    assert status_of([bad, bad], ran_out_of_space=False) == 409
    assert status_of([bad], ran_out_of_space=True) == 507


def test_the_response_reads_as_a_data_set() -> None:
    outcomes = [
        PartOutcome(MR, "1.2.3"),
        PartOutcome(MR, "1.2.4", 0xA900),
        PartOutcome("", "", 0xC000),
        PartOutcome(MR, "not a uid", 0xA900),
    ]
    found = Dataset.from_json(store_response(outcomes).decode())
    assert [item.ReferencedSOPInstanceUID for item in found.ReferencedSOPSequence] == ["1.2.3"]
    (failed,) = found.FailedSOPSequence
    assert (failed.ReferencedSOPClassUID, failed.ReferencedSOPInstanceUID) == (MR, "1.2.4")
    assert failed.FailureReason == 0xA900
    assert [item.FailureReason for item in found.OtherFailuresSequence] == [0xC000, 0xA900]

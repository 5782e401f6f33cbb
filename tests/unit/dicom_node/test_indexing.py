"""From spool files to rows: identities, conflicts, crashes, completeness."""

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from sqlmodel import Session, select

from dicom_node.database import Database
from dicom_node.headers import Unreadable, read_header
from dicom_node.indexing import IndexResult
from dicom_node.models import Instance, Patient, Quarantined, Series, Study
from dicom_node.settings import CallingPeer, DicomSettings
from dicom_node.storage import OutOfSpace, ReceivedObject, StorageFailed
from dicom_node.studies import (
    instances_of,
    is_frozen,
    is_image,
    status_counts,
    study_digest,
)
from tests.builders import mr_image, received, uid
from tests.index_room import NOW, Room, index_database, index_room

OTHER_PIXELS = bytes(128)
SR = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with index_database(tmp_path_factory.mktemp("index")) as database:
        yield database


@pytest.fixture
def room(database: Database) -> Iterator[Room]:
    with index_room(database) as room:
        yield room


def test_spooled_objects_become_rows_and_move_to_the_archive(room: Room) -> None:
    digests = {room.take(mr_image(instance=number)) for number in range(3)}
    room.take(mr_image(series="2"))

    result = room.index()

    assert (result.indexed, result.duplicates, result.quarantined) == (4, 0, 0)
    assert result.studies == {uid("study", "S1")}
    assert room.store.spooled() == []
    assert all(room.store.path(digest).parent.name == digest[:2] for digest in digests)
    study = room.study()
    assert (study.patient_id, study.patient_name, study.patient_sex) == ("P1", "Test^P1", "F")
    assert (study.accession_number, study.calling_ae_title) == ("A-S1", "SCANNER")
    with room.database.read() as session:
        assert status_counts(session) == {
            "instances": 4,
            "series": 2,
            "studies": 1,
            "patients": 1,
            "quarantined": 0,
        }
        assert {i.digest for i in instances_of(session, uid("study", "S1"))} >= digests
        series = session.exec(select(Series)).first()
        assert series is not None
        assert (series.modality, series.body_part_examined) == ("MR", "LSPINE")
        instance = session.exec(select(Instance)).first()
        assert instance is not None
        assert instance.called_ae_title == "RADLOOP"
        assert instance.received_at.tzinfo is not None


def test_indexing_twice_changes_nothing(room: Room) -> None:
    room.take(mr_image())
    room.index()
    room.now += dt.timedelta(minutes=5)
    room.take(mr_image())
    assert room.index() == IndexResult()
    assert room.study().last_received_at == NOW


def test_crash_between_row_and_rename_is_harmless(room: Room) -> None:
    digest = room.take(mr_image())
    spooled = room.store.spooled()[0]
    content = spooled.read_bytes()
    room.index()
    room.store.path(digest).unlink()
    spooled.write_bytes(content)

    result = room.index()

    assert (result.indexed, result.duplicates) == (0, 1)
    assert room.store.path(digest).read_bytes() == content
    assert room.store.spooled() == []


def test_error_of_the_linker_leaves_everything_for_the_next_run(room: Room) -> None:
    room.take(mr_image())

    def fail(_session: Session, _study: Study) -> None:
        raise RuntimeError("the linker failed")

    assert room.index(fail).left == 1
    with room.database.read() as session:
        assert set(status_counts(session).values()) == {0}
    assert room.store.spooled_count() == 1
    assert room.index().indexed == 1


def test_linker_that_fails_with_one_study_blocks_no_other(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    for study in ("A", "bad", "B"):
        for number in range(3):
            room.take(mr_image(study=study, patient=f"P-{study}", instance=number))

    def fail(_session: Session, study: Study) -> None:
        if study.patient_id == "P-bad":
            raise RuntimeError("P-bad")

    result = room.index(fail)

    assert (result.indexed, result.left) == (6, 3)
    assert result.studies == {uid("study", "A"), uid("study", "B")}
    assert room.store.spooled_count() == 3
    assert [record.getMessage() for record in caplog.records] == [
        "3 objects of one study wait in the spool: RuntimeError"
    ]
    assert room.index().indexed == 3


@pytest.mark.parametrize("error", [OSError("disk"), OutOfSpace("full"), StorageFailed("EIO")])
def test_what_would_fail_with_every_study_ends_the_run(room: Room, error: Exception) -> None:
    room.take(mr_image(study="A"))
    room.take(mr_image(study="B", patient="P2"))
    calls: list[str] = []

    def fail(_session: Session, study: Study) -> None:
        calls.append(study.study_instance_uid)
        raise error

    with pytest.raises(type(error)):
        room.index(fail)
    assert len(calls) == 1
    assert room.store.spooled_count() == 2


def test_linker_sees_each_grown_study_once_and_its_rows_are_kept_together(room: Room) -> None:
    room.take(mr_image(study="A", instance=1))
    room.take(mr_image(study="A", instance=2))
    room.take(mr_image(study="B", patient="P2"))
    seen: list[tuple[str, int]] = []

    def link(session: Session, study: Study) -> None:
        seen.append((study.patient_id, len(instances_of(session, study.study_instance_uid))))

    room.index(link)
    assert sorted(seen) == [("P1", 2), ("P2", 1)]


def test_same_uid_with_other_bytes_keeps_the_first_and_disputes_the_study(room: Room) -> None:
    first = room.take(mr_image())
    room.index()
    second = room.take(mr_image(PixelData=OTHER_PIXELS), calling="OTHER")

    result = room.index()

    assert result.quarantined == 1
    assert room.reasons() == [
        "another object with the same SOP Instance UID is stored already, with other content"
    ]
    assert room.store.path(first).exists()
    assert room.store.quarantined_path(second).exists()
    assert room.store.spooled() == []
    with room.database.read() as session:
        assert is_frozen(session, uid("study", "S1"))
        assert session.exec(select(Instance.digest)).all() == [first]
        row = session.exec(select(Quarantined)).one()
        assert (row.kind, row.digest, row.sender) == ("dicom", second, "OTHER")


def test_other_bytes_in_the_same_group_are_quarantined_too(room: Room) -> None:
    room.take(mr_image())
    room.take(mr_image(PixelData=OTHER_PIXELS))
    result = room.index()
    assert (result.indexed, result.quarantined) == (1, 1)


def test_other_patient_in_the_same_study_is_quarantined(room: Room) -> None:
    room.take(mr_image(instance=1))
    room.index()
    room.take(mr_image(instance=2, patient="P2"))
    assert room.index().quarantined == 1
    assert room.reasons() == ["its study belongs to another patient"]
    assert room.study().patient_id == "P1"


def test_other_issuer_in_the_same_study_is_quarantined(room: Room) -> None:
    room.take(mr_image(instance=1, IssuerOfPatientID="NORTH"))
    room.index()
    room.take(mr_image(instance=2, IssuerOfPatientID="SOUTH"))
    assert room.index().quarantined == 1


def test_series_of_another_study_is_quarantined(room: Room) -> None:
    room.take(mr_image(study="A"))
    room.index()
    room.take(mr_image(study="B", SeriesInstanceUID=uid("series", "A", "1")))
    assert room.index().quarantined == 1
    assert room.reasons() == ["its series belongs to another study"]


def test_first_instance_that_knows_its_patient_decides(room: Room) -> None:
    room.take(mr_image(instance=1, patient=""))
    room.index()
    assert room.study().patient_id == ""
    room.take(mr_image(instance=2))
    room.take(mr_image(instance=3, patient=""))
    assert room.index().indexed == 2
    assert room.study().patient_id == "P1"
    room.take(mr_image(instance=4, patient="P2"))
    assert room.index().quarantined == 1


def test_silent_issuers_are_assumed_by_peer_then_by_default(room: Room) -> None:
    peer = CallingPeer(
        ae_title="CT1", issuer_of_patient_id="NORTH", issuer_of_accession_number="RIS_N"
    )
    room.settings = DicomSettings(
        peers=(peer,),
        default_issuer_of_patient_id="HOSPITAL",
        default_issuer_of_accession_number="RIS",
    )
    room.take(mr_image(study="A"), calling="CT1")
    room.take(mr_image(study="B"), calling="OTHER")
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS_X"
    declared = mr_image(study="C", IssuerOfPatientID="WEST")
    declared.IssuerOfAccessionNumberSequence = Sequence([issuer])
    room.take(declared, calling="CT1")
    room.take(mr_image(study="D", patient="", AccessionNumber=""), calling="CT1")

    room.index()

    def issuers(name: str) -> tuple[str, bool, str, bool]:
        study = room.study(name)
        return (
            study.issuer_of_patient_id,
            study.issuer_assumed,
            study.issuer_of_accession_number,
            study.accession_issuer_assumed,
        )

    assert issuers("A") == ("NORTH", True, "RIS_N", True)
    assert issuers("B") == ("HOSPITAL", True, "RIS", True)
    assert issuers("C") == ("WEST", False, "RIS_X", False)
    assert issuers("D") == ("", False, "", False)
    with room.database.read() as session:
        patients = session.exec(select(Patient.issuer_of_patient_id, Patient.patient_id)).all()
    assert sorted(tuple(row) for row in patients) == [
        ("HOSPITAL", "P1"),
        ("NORTH", "P1"),
        ("WEST", "P1"),
    ]


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "山田^太郎"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_names_are_decoded_by_their_character_set(
    room: Room, charset: str | list[str], name: str
) -> None:
    image = mr_image()
    image.SpecificCharacterSet = charset
    image.PatientName = name
    room.take(image)
    room.index()
    assert room.study().patient_name == name


def test_name_in_no_declared_character_set_is_unknown_and_not_guessed(room: Room) -> None:
    image = mr_image(PatientName="Xxxxxx^Y")
    sent = received(image)
    data = bytes(sent.data).replace(b"Xxxxxx^Y", b"M\xfcller^Y")
    room.store.store(ReceivedObject(**{**sent.__dict__, "data": data}))
    room.index()
    assert room.study().patient_name == ""


def test_patient_id_in_no_declared_character_set_is_quarantined(room: Room) -> None:
    sent = received(mr_image(patient="PATIENT1"))
    data = bytes(sent.data).replace(b"PATIENT1", b"PATI\xc3NT1")
    room.store.store(ReceivedObject(**{**sent.__dict__, "data": data}))
    assert room.index().quarantined == 1
    assert room.reasons() == ["patient_id is not text in its declared character set"]


def _nested(depth: int) -> bytes:
    start = b"\x08\x00\x05\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    return start * depth + end * depth


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[: len(data) // 4], "no element"),
        (lambda data: data.replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0b\x00UI"), "missing"),
        (lambda data: data.replace(b"\x10\x00\x20\x00LO\x02\x00", b"\x10\x00\x20\x00LO\xff\xff"),
         ""),
        (lambda data: data.replace(b"\x08\x00\x20\x00DA", _nested(5000) + b"\x08\x00\x20\x00DA"),
         "nested deeper"),
        (lambda data: data[:60] + b"\xff" * 400, ""),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_quarantined_with_a_reason(
    room: Room, change: Any, reason: str
) -> None:
    sent = received(mr_image())
    room.store.store(ReceivedObject(**{**sent.__dict__, "data": change(bytes(sent.data))}))
    room.take(mr_image(study="good"))

    result = room.index()

    assert (result.indexed, result.quarantined) == (1, 1)
    assert reason in room.reasons()[0]
    assert room.store.spooled() == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_uid_that_is_none_is_quarantined(room: Room, keyword: str) -> None:
    image = mr_image()
    setattr(image, keyword, "../../x")
    room.take(image)
    assert room.index().quarantined == 1
    assert "not a UID" in room.reasons()[0]


def test_data_set_of_another_object_is_quarantined(room: Room) -> None:
    sent = received(mr_image())
    room.store.store(ReceivedObject(**{**sent.__dict__, "sop_instance_uid": "1.2.3"}))
    room.index()
    assert room.reasons() == ["the data set is not the object that the command named"]


def test_receivers_quarantine_is_recorded_once(room: Room) -> None:
    digest = room.store.quarantine(received(mr_image()), "a reason")
    assert room.index().quarantined == 1
    assert room.index().quarantined == 0
    room.store.quarantine(received(mr_image()), "a reason")
    room.index()
    assert room.reasons() == ["a reason"]
    assert room.store.quarantined_path(digest).exists()


def test_study_digest_follows_images_only(room: Room) -> None:
    def digest() -> str:
        with room.database.read() as session:
            return study_digest(session, uid("study", "S1"))

    room.take(mr_image(instance=1))
    room.index()
    one = digest()
    room.take(mr_image(series="sr", instance=9, SOPClassUID=SR, Modality="SR"))
    room.index()
    assert digest() == one
    room.take(mr_image(instance=2))
    room.index()
    assert digest() != one


def test_classes_that_are_images() -> None:
    root = "1.2.840.10008.5.1.4.1.1."
    assert all(is_image(root + end) for end in ("4", "4.1", "2", "1.1", "6.1", "128", "481.1"))
    others = ("88.34", "88.59", "11.1", "104.1", "66", "66.4", "9.1.1", "481.3")
    assert not any(is_image(root + end) for end in others)


def test_header_error_names_no_value(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"secret^name" * 40)
    with pytest.raises(Unreadable) as error:
        read_header(path)
    assert "secret" not in str(error.value)


def test_odd_files_end_in_a_header_or_a_reason(shared_dicom_files: list[Path]) -> None:
    for path in shared_dicom_files:
        with contextlib.suppress(Unreadable):
            read_header(path)


@pytest.fixture
def shared_dicom_files() -> list[Path]:
    root = Path(os.environ.get("RADLOOP_SHARED", Path(__file__).parents[4] / "shared"))
    files = [path for path in (root / "data" / "dicom_odd").rglob("*") if path.is_file()]
    if not files:
        pytest.skip("the shared data folder is not here (RADLOOP_SHARED)")
    return files[:150]

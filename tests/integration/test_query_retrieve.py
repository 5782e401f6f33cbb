"""C-FIND, C-MOVE and C-GET against archives over real sockets: what is found, what arrives."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicom_node.errors import Permanent, Transient
from dicom_node.file_meta import RETRIEVED
from dicom_node.headers import read_header
from dicom_node.receiver import Receivers
from dicom_node.retrieval.archive import Away, Stopped
from dicom_node.retrieval.fetching import get_study, move_study, storage_contexts
from dicom_node.retrieval.finding import finder
from dicom_node.retrieval.receiving import Receiving
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from dicom_node.storage_scu import send_instances
from plugin.simulation.ports import free_ports
from plugin.simulation.retrieval import Habits
from tests import peers
from tests.builders import COMPRESSED_SYNTAX, compressed_image, mr_image, uid, write_file
from tests.retrieval_builders import Address, archive, fill, running_dcmqrscp

MR = "1.2.840.10008.5.1.4.1.1.4"
S1 = uid("study", "S1")
IMAGES = [
    *(mr_image(series="1", instance=number) for number in (1, 2)),
    mr_image(series="2", instance=3),
    mr_image(study="S2", instance=1, AccessionNumber="A-S2", StudyDate="20250102"),
    mr_image(patient="P2", study="S3", instance=1, AccessionNumber="A-S10"),
]
KINDS = [
    "double",
    pytest.param("orthanc", marks=pytest.mark.peer),
    pytest.param("dcmqrscp", marks=pytest.mark.peer),
]


@dataclass
class Place:
    """An archive with studies and a node that receives."""

    pacs: Any
    store: DicomStore

    def stored(self) -> dict[str, str]:
        headers = [read_header(path) for path in self.store.spooled()]
        return {each.sop_instance_uid: each.way for each in headers}

    def receiving(self, expected: frozenset[str] | None = None, **limits: int) -> Receiving:
        return Receiving(self.store.intake, "PACS", "RADLOOP", expected, **limits)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    (port,) = free_ports(1)
    with ExitStack() as stack:
        us = ("127.0.0.1", port)
        if request.param == "double":
            pacs: Any = stack.enter_context(peers.running_pacs(tmp_path / "pacs"))
            pacs.habits.destinations = {"RADLOOP": us}
        elif request.param == "orthanc":
            options = {
                "DicomModalities": {"radloop": ["RADLOOP", *us]},
                "DicomAlwaysAllowMove": True,
                "DicomAlwaysAllowGet": True,
            }
            pacs = stack.enter_context(peers.running_orthanc(tmp_path / "pacs", **options))
        else:
            pacs = stack.enter_context(running_dcmqrscp(tmp_path / "pacs", {"RADLOOP": us}))
        fill(pacs, tmp_path / "sent", IMAGES)
        yield Place(pacs, _received(stack, tmp_path / "node", port))


def _received(stack: ExitStack, root: Path, port: int) -> DicomStore:
    store = DicomStore(root)
    store.recover()
    settings = DicomSettings(
        port=port, receiver_processes=1, minimum_free_bytes=0, accept_unknown_peers=True
    )
    receivers = Receivers(settings, root)
    receivers.start()
    stack.callback(receivers.stop)
    receivers.wait_until_ready()
    return store


def test_a_study_is_found_by_each_key_and_with_all_that_it_holds(place: Place) -> None:
    with finder(archive(place.pacs)) as asked:
        (by_uid,) = asked.studies(study_instance_uid=S1)
        (by_accession,) = asked.studies(accession_number="A-S1")
        of_patient = asked.studies(patient_id="P1")
        content = asked.content(by_uid, 100)
        assert asked.studies(accession_number="A-S") == []
        assert len(asked.content(by_uid, 1)) == 2
    assert by_uid.study_instance_uid == by_accession.study_instance_uid == S1
    assert (by_uid.patient_id, by_uid.patient_birth_date) == ("P1", "19700101")
    assert {each.study_date for each in of_patient} == {"20260102", "20250102"}
    assert {each.sop_instance_uid for each in content} == {
        str(each.SOPInstanceUID) for each in IMAGES[:3]
    }
    assert {each.sop_class_uid for each in content} <= {MR, ""}


def test_a_moved_study_arrives_at_the_receivers(place: Place) -> None:
    ended = move_study(archive(place.pacs), S1)
    assert ended.all_done
    assert (ended.completed, ended.failed, ended.remaining) == (3, 0, 0)
    assert set(place.stored()) == {str(each.SOPInstanceUID) for each in IMAGES[:3]}


def test_a_study_that_is_got_is_kept_and_says_so(place: Place) -> None:
    wanted = frozenset(str(each.SOPInstanceUID) for each in IMAGES[:3])
    receiving = place.receiving(wanted)
    ended = get_study(archive(place.pacs), S1, receiving, [MR])
    assert (ended.completed, ended.failed, receiving.kept, receiving.refused) == (3, 0, 3, 0)
    assert place.stored() == dict.fromkeys(wanted, RETRIEVED)


def test_what_was_not_asked_for_is_not_taken(place: Place) -> None:
    first = str(IMAGES[0].SOPInstanceUID)
    ended = get_study(archive(place.pacs), S1, place.receiving(frozenset({first})), [MR])
    assert ended.failed == 2
    assert not ended.all_done
    assert set(place.stored()) == {first}


def test_more_than_a_study_may_hold_ends_it(place: Place) -> None:
    with pytest.raises(Transient, match="larger than it may be"):
        get_study(archive(place.pacs), S1, place.receiving(maximum_bytes=1500), [MR])
    assert len(place.stored()) < 3


@pytest.mark.parametrize("value", ["A*", "A-S?", "A\\B", "", " ", "A\n", "x" * 65])
def test_a_value_that_would_match_others_is_not_asked_for(tmp_path: Path, value: str) -> None:
    with (
        peers.running_pacs(tmp_path) as pacs,
        finder(archive(pacs)) as asked,
        pytest.raises(Permanent, match=r"is not asked for|characters|control|asked for by"),
    ):
        asked.studies(accession_number=value)


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Any]:
    with peers.running_pacs(tmp_path / "pacs") as pacs:
        fill(pacs, tmp_path / "sent", IMAGES)
        yield pacs


def stray(**values: str) -> Dataset:
    answer = Dataset()
    for keyword, value in values.items():
        setattr(answer, keyword, value)
    return answer


def test_answers_about_other_studies_and_nonsense_are_ignored(double: Any) -> None:
    double.habits.strays = [
        stray(StudyInstanceUID="1.2.3", AccessionNumber="A-S9"),
        stray(StudyInstanceUID="1.2.4"),
        stray(PatientID="P9"),
    ]
    with finder(archive(double)) as asked:
        (found,) = asked.studies(accession_number="A-S1")
        assert found.study_instance_uid == S1
        assert asked.ignored == 3


def test_an_archive_with_patient_root_alone_needs_the_patient(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    habits = Habits(study_root=False, destinations={"RADLOOP": ("127.0.0.1", port)})
    with ExitStack() as stack:
        pacs = stack.enter_context(peers.running_pacs(tmp_path / "pacs", habits=habits))
        fill(pacs, tmp_path / "sent", IMAGES)
        store = _received(stack, tmp_path / "node", port)
        with finder(archive(pacs)) as asked:
            assert asked.patient_root
            with pytest.raises(Permanent, match="Patient Root only"):
                asked.studies(accession_number="A-S1")
            (found,) = asked.studies(accession_number="A-S1", patient_id="P1")
            assert len(asked.content(found, 10)) == 3
        ended = move_study(archive(pacs), S1, "P1", patient_root=True)
        assert (ended.status, ended.completed) == (0, 3)
        assert len(list(store.spooled())) == 3


def test_an_unknown_destination_is_told_as_that(double: Any) -> None:
    with pytest.raises(Permanent, match="does not know our AE title"):
        move_study(archive(double), S1)


def test_objects_that_fail_are_named(tmp_path: Path, double: Any) -> None:
    missing = str(IMAGES[1].SOPInstanceUID)
    double.habits.withheld = {missing}
    store = DicomStore(tmp_path / "node")
    store.recover()
    receiving = Receiving(store.intake, "PACS", "RADLOOP", None)
    ended = get_study(archive(double), S1, receiving, [MR])
    assert (ended.status, ended.completed, ended.failed) == (0xB000, 2, 1)
    assert ended.failed_uids == (missing,)


def test_an_archive_that_is_away_is_told_as_that() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Away), finder(archive(Address(port))):
        pass


def test_stopping_cancels_at_the_archive(tmp_path: Path, double: Any) -> None:
    stopping = threading.Event()
    sent: list[int] = []

    def before_sending() -> None:
        sent.append(1)
        stopping.set()

    double.habits.before_sending = before_sending
    more = [mr_image(series="5", instance=100 + number) for number in range(40)]
    fill(double, tmp_path / "more", more)
    store = DicomStore(tmp_path / "node")
    store.recover()
    receiving = Receiving(store.intake, "PACS", "RADLOOP", None)
    with pytest.raises(Stopped):
        get_study(archive(double, stopping=stopping.is_set), S1, receiving, [MR])
    assert len(sent) < 43
    assert len(list(store.spooled())) < 43


def test_more_answers_than_may_be_are_refused(tmp_path: Path, double: Any) -> None:
    images = [mr_image(study=f"T{number}", AccessionNumber="MANY") for number in range(12)]
    fill(double, tmp_path / "many", images)
    with (
        pytest.raises(Permanent, match="more than 5 times"),
        finder(archive(double, most_answers=5)) as asked,
    ):
        asked.studies(accession_number="MANY")


def test_a_flood_in_one_message_ends_the_association(tmp_path: Path) -> None:
    def flood(_event: Any) -> Iterator[tuple[int, Dataset]]:
        answer = stray(StudyInstanceUID=S1, AccessionNumber="A-S1")
        answer.TextValue = "x" * 5_000_000
        yield 0xFF00, answer

    entity = AE(ae_title="PACS")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, flood)]
    )
    try:
        address = Address(server.server_address[1])
        with pytest.raises(Transient, match="did not answer"), finder(archive(address)) as asked:
            asked.studies(accession_number="A-S1")
    finally:
        server.shutdown()


@pytest.mark.peer
def test_compressed_images_come_as_they_lie(tmp_path: Path) -> None:
    with peers.running_orthanc(tmp_path / "pacs", DicomAlwaysAllowGet=True) as pacs:
        path = write_file(tmp_path / "c.dcm", compressed_image(), COMPRESSED_SYNTAX)
        assert all(each.delivered for each in send_instances(pacs, "TEST", [path]))
        store = DicomStore(tmp_path / "node")
        store.recover()
        receiving = Receiving(store.intake, "PACS", "RADLOOP", None)
        assert get_study(archive(pacs), S1, receiving, [MR]).completed == 1
        (kept,) = store.spooled()
        assert read_header(kept).transfer_syntax_uid == COMPRESSED_SYNTAX


def test_many_sop_classes_share_their_contexts() -> None:
    assert len(storage_contexts([MR], 127)) == 10
    many = [f"1.2.3.{number}" for number in range(200)]
    assert len(storage_contexts(many, 127)) == 127

"""Sending to real archives over real sockets: what arrives, and what each failure means."""

import hashlib
import io
import itertools
import shutil
import socket
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from dicom_node.dicom_files import find_dicom_files
from dicom_node.errors import Permanent, Transient
from dicom_node.query_scu import find_study_identity
from dicom_node.requestor import Timeouts
from dicom_node.send_outcomes import Outcome, outcome_of
from dicom_node.sr.building import build_structured_report, encode
from dicom_node.sr.identity import identity_conflicts
from dicom_node.storage_scu import StorageSender, send_instances
from dicom_node.verification_scu import echo
from plugin.simulation.pacs import PacsDouble
from tests import peers
from tests import sr_builders as given_study

QUICK = Timeouts(connection=5, association=5, response=5, network=5)


@dataclass(frozen=True)
class Address:
    port: int
    ae_title: str = "PACS"
    host: str = "127.0.0.1"


@pytest.fixture(params=["double", pytest.param("orthanc", marks=pytest.mark.peer)])
def pacs(request, tmp_path):
    with peers.running(request.param, tmp_path / "pacs") as running:
        yield running


@pytest.fixture
def double(tmp_path):
    with peers.running_pacs(tmp_path / "pacs") as running:
        yield running


def write_images(folder, count=3, **values):
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(given_study.images(count, **values)):
        image.Rows = image.Columns = 16
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.SamplesPerPixel, image.PixelRepresentation = 1, 0
        image.PhotometricInterpretation = "MONOCHROME2"
        image.PixelData = bytes(16 * 16 * 2)
        image.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    return sorted(folder.glob("*.dcm"))


def write_report(path):
    document = build_structured_report(
        given_study.images(),
        given_study.findings(),
        given_study.ALGORITHM,
        given_study.DEVICE,
        given_study.MRI,
        given_study.ANALYSED_AT,
        ("weights", "study"),
    )
    path.write_bytes(encode(document))
    return document


def answering(status, contexts=((MRImageStorage, ExplicitVRLittleEndian),), handlers=()):
    """Start a peer that answers every C-STORE with one status."""
    entity = AE(ae_title="PACS")
    for abstract_syntax, transfer_syntax in contexts:
        entity.add_supported_context(abstract_syntax, transfer_syntax)
    handlers = [
        (evt.EVT_C_STORE, lambda event: status(event) if callable(status) else status),
        *handlers,
    ]
    return entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)


@pytest.fixture
def serve():
    servers = []

    def start(status=0x0000, **options):
        servers.append(answering(status, **options))
        return Address(servers[-1].server_address[1])

    yield start
    for server in servers:
        server.shutdown()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_report_joins_its_study_and_sent_twice_is_one_instance(pacs, tmp_path):
    images = write_images(tmp_path / "images")
    assert all(result.delivered for result in send_instances(pacs, "NODE", images))
    before = pacs.holdings()
    document = write_report(tmp_path / "report.dcm")
    for _ in range(2):
        (result,) = send_instances(pacs, "NODE", [tmp_path / "report.dcm"])
        assert (result.outcome, result.status) == (Outcome.DELIVERED, 0x0000)
        assert result.sop_instance_uid == document.SOPInstanceUID
    (received,) = pacs.received()
    assert received.study_instance_uid == "1.2.3.4"
    assert received.sop_class_uid == Comprehensive3DSRStorage
    assert received.series_description == "AI RESEARCH: 1 of 4"
    after = pacs.holdings()
    assert (after.patients, after.studies) == (before.patients, before.studies) == (1, 1)
    assert (after.series, after.instances) == (before.series + 1, before.instances + 1)


def test_identity_is_found_by_query(pacs, tmp_path):
    echo(pacs, "NODE", QUICK)
    paths = write_images(tmp_path / "images", 1)
    assert find_study_identity(pacs, "NODE", "1.2.3.4").studies == ()
    assert all(result.delivered for result in send_instances(pacs, "NODE", paths))
    answer = find_study_identity(pacs, "NODE", "1.2.3.4")
    assert answer.supported
    (study,) = answer.studies
    document = write_report(tmp_path / "report.dcm")
    assert identity_conflicts(document, study) == ()
    document.PatientID = "P0002"
    assert identity_conflicts(document, study) == ("PatientID",)


def test_echo_and_a_wrong_ae_title(double):
    echo(double, "NODE", QUICK)
    with pytest.raises(Transient):
        echo(Address(double.port, "WRONG"), "NODE", QUICK)


def test_files_arrive_as_they_lie(double, tmp_path):
    """Compressed data sets are neither decoded nor encoded again; order is kept."""
    paths = write_images(tmp_path / "images", 2)
    for syntax in (JPEG2000Lossless, RLELossless):
        image = pydicom.dcmread(paths[0])
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{syntax}.1"
        image.file_meta.TransferSyntaxUID = syntax
        image.PixelData = pydicom.encaps.encapsulate([b"not even pixels "])
        image["PixelData"].is_undefined_length = True
        paths.append(tmp_path / "images" / f"{syntax}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    results = list(send_instances(double, "NODE", paths))
    assert [result.path for result in results] == paths
    assert all(result.delivered for result in results)
    for result in results:
        sent, kept = pydicom.dcmread(result.path), double.fetch(result.sop_instance_uid)
        again = pydicom.dcmread(io.BytesIO(kept))
        assert again.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert again.PixelData == sent.PixelData
        assert kept.endswith(result.path.read_bytes()[-400:])


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Outcome.DELIVERED),
        (0xB000, Outcome.DELIVERED),
        (0xB006, Outcome.DELIVERED),
        (0xB007, Outcome.DELIVERED),
        (0xA700, Outcome.TRANSIENT),
        (0xA7FF, Outcome.TRANSIENT),
        (0xA900, Outcome.PERMANENT),
        (0xC000, Outcome.PERMANENT),
        (0xCFFF, Outcome.PERMANENT),
        (0x0122, Outcome.PERMANENT),
        (0x0111, Outcome.NEEDS_REVIEW),
        (0x1234, Outcome.NEEDS_REVIEW),
    ],
)
def test_what_a_status_means(status, outcome):
    assert outcome_of(status)[0] is outcome


@pytest.mark.parametrize("status", [0xB007, 0xA700, 0xA900])
def test_a_status_comes_back_with_its_outcome(status, serve, tmp_path):
    (path,) = write_images(tmp_path / "images", 1)
    (result,) = send_instances(serve(status), "NODE", [path])
    assert (result.status, result.outcome) == (status, outcome_of(status)[0])


def test_a_peer_that_is_away_is_asked_once(tmp_path):
    paths = write_images(tmp_path / "images")
    results = list(send_instances(Address(closed_port()), "NODE", paths, QUICK))
    assert {result.outcome for result in results} == {Outcome.TRANSIENT}
    assert {result.status for result in results} == {None}
    with pytest.raises(Transient):
        echo(Address(closed_port()), "NODE", QUICK)
    with pytest.raises(Transient):
        find_study_identity(Address(closed_port()), "NODE", "1.2.3", QUICK)


def test_a_peer_that_says_nothing_is_transient(tmp_path):
    (path,) = write_images(tmp_path / "images", 1)
    silent = Timeouts(connection=1, association=0.3, response=0.3, network=1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = Address(listener.getsockname()[1])
        (result,) = send_instances(peer, "NODE", [path], silent)
    assert (result.outcome, result.status) == (Outcome.TRANSIENT, None)


def test_an_abort_in_the_middle_spares_the_next_file(serve, tmp_path):
    paths = write_images(tmp_path / "images", 3)
    calls = []

    def abort_second(event):
        calls.append(event.request.AffectedSOPInstanceUID)
        if len(calls) == 2:
            event.assoc.abort()
        return 0x0000

    results = list(send_instances(serve(abort_second), "NODE", paths, QUICK))
    assert [result.outcome for result in results] == [
        Outcome.DELIVERED,
        Outcome.TRANSIENT,
        Outcome.DELIVERED,
    ]


def test_a_refused_sop_class_is_permanent_and_asked_for_once(serve, tmp_path):
    """Alone it ends the association, beside an accepted one only itself."""
    (image,) = write_images(tmp_path / "images", 1)
    write_report(tmp_path / "report.dcm")
    report = tmp_path / "report.dcm"
    peer = serve()
    with StorageSender(peer, "NODE", timeouts=QUICK) as sender:
        results = [sender.send(path) for path in (report, report, image, report)]
    assert [result.outcome for result in results] == [
        Outcome.PERMANENT,
        Outcome.PERMANENT,
        Outcome.DELIVERED,
        Outcome.PERMANENT,
    ]
    outcomes = [result.outcome for result in send_instances(peer, "NODE", [report, image])]
    assert outcomes == [Outcome.PERMANENT, Outcome.DELIVERED]


def test_more_kinds_than_an_association_can_offer(serve, tmp_path):
    (source,) = write_images(tmp_path / "images", 1)
    paths = []
    syntaxes = (ExplicitVRLittleEndian, JPEG2000Lossless)
    kinds = [context.abstract_syntax for context in AllStoragePresentationContexts[:70]]
    content = source.read_bytes()
    for number, (kind, syntax) in enumerate(itertools.product(kinds, syntaxes)):
        image = pydicom.dcmread(io.BytesIO(content))
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = kind
        image.file_meta.TransferSyntaxUID = syntax
        del image.PixelData
        paths.append(tmp_path / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    opened = []
    peer = serve(
        contexts=itertools.product(kinds, syntaxes),
        handlers=[(evt.EVT_ACCEPTED, lambda event: opened.append(event))],
    )
    results = list(send_instances(peer, "NODE", paths))
    assert len(results) == 140
    assert all(result.delivered for result in results)
    assert len(opened) == 2


def test_query_that_is_not_supported_and_query_that_fails(serve):
    entity_without_query = serve()
    assert not find_study_identity(entity_without_query, "NODE", "1.2.3", QUICK).supported
    with pytest.raises(Permanent):
        echo(entity_without_query, "NODE", QUICK)
    echo(serve(contexts=[(Verification, ExplicitVRLittleEndian)]), "NODE", QUICK)


def test_double_keeps_what_it_holds(tmp_path):
    (path,) = write_images(tmp_path / "images", 1)
    with peers.running_pacs(tmp_path / "pacs") as pacs:
        assert all(result.delivered for result in send_instances(pacs, "NODE", [path]))
    with peers.running_pacs(tmp_path / "pacs") as pacs:
        assert pacs.holdings().instances == 1
        assert [i.modality for i in pacs.received("MR")] == ["MR"]
    names = [stored.name for stored in (tmp_path / "pacs").iterdir()]
    assert names == [f"{hashlib.sha256(b'1.2.3.4.9.1').hexdigest()}.dcm"]


def test_double_stores_many_at_once(double, tmp_path):
    paths = write_images(tmp_path / "images", 12)
    results = []

    def send(share):
        results.extend(send_instances(double, "NODE", share))

    threads = [threading.Thread(target=send, args=(paths[start::3],)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.delivered for result in results) == 12
    assert double.holdings().instances == 12


def test_files_in_a_folder_and_why_some_are_none(tmp_path):
    (good,) = write_images(tmp_path / "images", 1)
    shutil.copy(good, tmp_path / "images" / "nested-name-without-suffix")
    (tmp_path / "images" / "note.txt").write_text("no image")
    (tmp_path / "images" / "cut.dcm").write_bytes(good.read_bytes()[:140])
    hostile = good.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"../../../etc/passwd\0")
    (tmp_path / "images" / "hostile.dcm").write_bytes(hostile)
    (tmp_path / "images" / "gone.dcm").symlink_to(tmp_path / "nowhere")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom remarks on the hostile UID
        found = {path.name: reason for path, reason in find_dicom_files(tmp_path / "images")}
    assert "a UID that is none" in found["hostile.dcm"]
    assert found["000.dcm"] == found["nested-name-without-suffix"] == ""
    assert "no DICM" in found["note.txt"]
    assert found["cut.dcm"]
    assert "cannot be read" in found["gone.dcm"]
    assert list(find_dicom_files(good)) == [(good, "")]
    results = list(send_instances(Address(closed_port()), "NODE", [tmp_path / "images/note.txt"]))
    assert [result.outcome for result in results] == [Outcome.PERMANENT]


def test_double_refuses_what_it_cannot_read(double, tmp_path):
    with pytest.raises(KeyError):
        double.fetch("1.2.3")
    (path,) = write_images(tmp_path / "images", 1)
    broken = pydicom.dcmread(path)
    del broken.StudyInstanceUID, broken.SOPInstanceUID
    target = Path(tmp_path / "broken.dcm")
    broken.save_as(target)
    (result,) = send_instances(double, "NODE", [target])
    assert (result.status, result.outcome) == (0xC000, Outcome.PERMANENT)
    assert isinstance(double, PacsDouble)


def test_no_answer_is_taken_by_the_association_itself(double, tmp_path, monkeypatch):
    """Without its pauses, pynetdicom's own thread races the sender for every answer."""
    monkeypatch.setattr(
        "pynetdicom.association.Association._is_paused",
        property(lambda _self: True, lambda _self, _value: None),
        raising=False,
    )
    monkeypatch.setattr("threading.Event.clear", lambda _self: None)
    paths = write_images(tmp_path / "images", 40)
    results = list(send_instances(double, "NODE", paths, QUICK))
    assert all(result.delivered for result in results)

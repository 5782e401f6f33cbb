"""Orthanc's DICOMweb plugin both ways: it stores into us, and it takes what we send."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicom_node.archive_settings import PacsPeer
from dicom_node.dicomweb.qido_client import find_study_identity
from dicom_node.dicomweb.stow_client import store_file
from dicom_node.sr.building import build_structured_report
from dicom_node.sr.building import encode as encode_report
from dicom_node.sr.identity import identity_conflicts
from plugin.simulation.orthanc import OrthancPacs
from tests import sr_builders as given_study
from tests.builders import compressed_image, encode, mr_image, uid
from tests.dicomweb_room import HOST, SENDER, TOKEN, StowRoom, part10, running_room
from tests.peers import absent, running_orthanc

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@contextmanager
def running_web_orthanc(folder: Path, **servers: Any) -> Iterator[OrthancPacs]:
    """Run Orthanc with its plugin; skip or fail the test where one is not installed."""
    if not PLUGIN.exists():
        absent("orthanc-dicomweb")
    settings = {"Enable": True, "Root": "/dicom-web/", "Servers": servers}
    with running_orthanc(folder, Plugins=[str(PLUGIN)], DicomWeb=settings) as orthanc:
        yield orthanc


def asked(orthanc: OrthancPacs, path: str, body: bytes) -> Any:
    connection = http.client.HTTPConnection(HOST, orthanc.http_port, timeout=60)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return json.loads(content)
    finally:
        connection.close()


@pytest.mark.peer
def test_orthanc_stores_into_us(tmp_path: Path) -> None:
    with running_room(tmp_path / "node") as room:
        server = {
            "Url": f"http://{HOST}:{room.port}/",
            "HttpHeaders": {"Authorization": f"Bearer {TOKEN}"},
            "ChunkedTransfers": True,
        }
        whole = server | {"ChunkedTransfers": False}
        stranger = server | {"HttpHeaders": {"Authorization": "Bearer nobody"}}
        with running_web_orthanc(
            tmp_path / "orthanc", chunked=server, whole=whole, stranger=stranger
        ) as orthanc:
            images = [mr_image(study="orthanc", instance=n, rows=64) for n in range(12)]
            images.append(compressed_image(patient="P1", study="orthanc", instance=50))
            syntaxes = ["1.2.840.10008.1.2.1"] * 12 + ["1.2.840.10008.1.2.4.90"]
            held = [
                asked(orthanc, "/instances", part10(image, syntax))["ID"]
                for image, syntax in zip(images, syntaxes, strict=True)
            ]
            assert _ends(orthanc, "chunked", held) == "Success"
            assert len(room.spooled()) == 13
            assert _ends(orthanc, "whole", held) == "Success"
            assert _ends(orthanc, "stranger", held) == "Failure"
        _check(room, images)


def _ends(orthanc: OrthancPacs, server: str, instances: list[str]) -> str:
    """Have Orthanc send instances to a server; return how its job ended."""
    order = {"Resources": instances, "Synchronous": False}
    job = asked(orthanc, f"/dicom-web/servers/{server}/stow", json.dumps(order).encode())["ID"]
    connection = http.client.HTTPConnection(HOST, orthanc.http_port, timeout=60)
    try:
        while True:
            connection.request("GET", f"/jobs/{job}")
            state = str(json.loads(connection.getresponse().read())["State"])
            if state in ("Success", "Failure"):
                return state
    finally:
        connection.close()


def _check(room: StowRoom, images: list[Any]) -> None:
    found = {str(dcmread(path).SOPInstanceUID): path for path in room.spooled()}
    assert set(found) == {str(image.SOPInstanceUID) for image in images}
    for image in images[:12]:
        assert found[str(image.SOPInstanceUID)].read_bytes().endswith(encode(image)[-4096:])
    for path in found.values():
        assert dcmread(path).file_meta.SendingApplicationEntityTitle == SENDER


@pytest.mark.peer
def test_orthanc_takes_our_report(tmp_path: Path) -> None:
    report = build_structured_report(
        evidence=given_study.images(),
        findings=given_study.findings(),
        algorithm=given_study.ALGORITHM,
        device=given_study.DEVICE,
        procedure=given_study.MRI,
        content_datetime=given_study.ANALYSED_AT,
        uid_parts=("weights", "study"),
    )
    path = tmp_path / "report.dcm"
    path.write_bytes(encode_report(report))
    ours = dcmread(path)
    with running_web_orthanc(tmp_path / "orthanc") as orthanc:
        peer = PacsPeer(stow_url=f"http://{HOST}:{orthanc.http_port}/dicom-web")
        before = find_study_identity(peer, str(ours.StudyInstanceUID))
        assert (before.supported, before.studies) == (True, ())
        result = store_file(peer, path)
        assert result.delivered, result.reason
        assert store_file(peer, path).delivered
        (held,) = orthanc.received()
        assert held.sop_instance_uid == ours.SOPInstanceUID
        kept = dcmread(BytesIO(orthanc.fetch(held.sop_instance_uid)))
        assert kept.ContentSequence == ours.ContentSequence
        (theirs,) = find_study_identity(peer, str(ours.StudyInstanceUID)).studies
        assert identity_conflicts(ours, theirs) == ()
        ours.PatientID = "SOMEBODY ELSE"
        assert identity_conflicts(ours, theirs) == ("PatientID",)
        assert not find_study_identity(peer, uid("study", "nobody's")).studies

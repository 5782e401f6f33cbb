"""The DICOMweb process on a real socket: objects, refusals, slow and hostile clients, kill -9."""

import http.client
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicom_node.dicomweb.process import StowReceiver
from dicom_node.dicomweb.senders import token_digest
from dicom_node.dicomweb_settings import DicomwebSettings
from dicom_node.errors import InvalidSettings
from dicom_node.receiver import Receivers
from dicom_node.settings import DicomSettings
from dicom_node.tls import fingerprint
from tests.builders import encode, mr_image, uid
from tests.certificates import CertificateOffice
from tests.dicomweb_room import (
    BOUNDARY,
    HOST,
    OTHER,
    SENDER,
    STORED,
    TOKEN,
    StowRoom,
    body_of,
    part10,
    raw_request,
    request_headers,
    running_room,
    web_client,
)
from tests.raw_dicom import EXPLICIT, RawAssociation

MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDS = 20.0


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StowRoom]:
    dicom = {"network_timeout_seconds": 1.0, "maximum_object_bytes": 1 << 20}
    limits = {"maximum_request_bytes": 4 << 20, "maximum_parts": 50}
    with running_room(tmp_path_factory.mktemp("stow"), dicom, **limits) as made:
        yield made


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("the condition did not come true in time")
        threading.Event().wait(0.02)


def test_a_web_client_stores_studies(room: StowRoom) -> None:
    client = web_client(room.port)
    images = [mr_image(study="client", instance=number) for number in range(4)]
    sent = [dcmread_of(part10(image)) for image in images]
    answer = client.store_instances(sent)
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
        image.SOPInstanceUID for image in images
    ]
    again = client.store_instances(sent, study_instance_uid=uid("study", "client"))
    assert len(again.ReferencedSOPSequence) == 4
    found = [dcmread(path) for path in room.spooled()]
    kept = [each for each in found if each.StudyInstanceUID == uid("study", "client")]
    assert len(kept) == 4
    assert {each.file_meta.SendingApplicationEntityTitle for each in kept} == {SENDER}
    assert {each.file_meta.ReceivingApplicationEntityTitle for each in kept} == {"RADLOOP"}


def dcmread_of(file: bytes) -> Any:
    return dcmread(BytesIO(file))


def test_the_same_object_by_both_ways_is_one(tmp_path: Path) -> None:
    image = mr_image(rows=64)
    with running_room(tmp_path) as room:
        assert room.post(body_of([part10(image)])).status == 200
        receivers = Receivers(
            DicomSettings(
                port=0, minimum_free_bytes=0, accept_unknown_peers=True, receiver_processes=1
            ),
            tmp_path,
        )
        receivers.start()
        try:
            with RawAssociation(receivers.address, [(MR, EXPLICIT)]) as association:
                assert association.store(MR, image.SOPInstanceUID, encode(image)) == 0
        finally:
            receivers.stop()
        (path,) = room.spooled()
        assert path.read_bytes().endswith(encode(image))


@pytest.mark.parametrize("chunked", [False, True])
def test_some_all_or_none(room: StowRoom, chunked: bool) -> None:
    def send(*files: bytes) -> Any:
        body = body_of(files)
        pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
        return room.post(pieces if chunked else body)

    good, bad = part10(mr_image(study="some")), part10(mr_image(), sop_instance="1.2.3")
    assert send(good).status == 200
    some = send(good, bad, b"no file")
    assert some.status == 202
    assert some.uids(STORED) == [uid("instance", "some", "1", 1)]
    assert (some.reasons(), some.reasons(OTHER)) == ([0xA900], [0xC000])
    none = send(bad)
    assert (none.status, none.reasons()) == (409, [0xA900])


def test_a_study_takes_its_own_objects_alone(room: StowRoom) -> None:
    before = room.spooled()
    answer = room.post(body_of([part10(mr_image(study="S9"))]), path="/studies/1.2.3.4")
    assert (answer.status, answer.reasons()) == (409, [0xA900])
    assert room.spooled() == before
    path = "/studies/" + uid("study", "S9")
    assert room.post(body_of([part10(mr_image(study="S9"))]), path=path).status == 200


def test_what_is_refused_by_its_head(room: StowRoom) -> None:
    body = body_of([part10(mr_image(study="head"))])
    before = room.spooled()
    metadata = 'multipart/related; type="application/dicom+json"; boundary=x'
    cases: list[tuple[int, dict[str, Any]]] = [
        (401, {"Authorization": ""}),
        (401, {"Authorization": "Bearer nobody"}),
        (401, {"Authorization": "Basic dXNlcjpwYXNz"}),
        (404, {"path": "/"}),
        (404, {"path": "/studies/"}),
        (404, {"path": "/studies/1.2.3/series"}),
        (404, {"path": "/dicom-web/studies"}),
        (400, {"path": "/studies/no-uid"}),
        (405, {"method": "GET"}),
        (405, {"method": "PUT"}),
        (406, {"Accept": "application/dicom+xml"}),
        (415, {"Content_Type": "application/dicom"}),
        (415, {"Content_Type": "application/dicom+json"}),
        (415, {"Content_Type": metadata}),
        (415, {"Content_Encoding": "gzip"}),
        (400, {"Content_Type": 'multipart/related; type="application/dicom"'}),
    ]
    for status, changes in cases:
        answer = room.post(body, **changes)
        assert answer.status == status, changes
        assert (status == 401) == ("www-authenticate" in answer.headers)
        assert (status == 405) == (answer.headers.get("allow") == "POST")
    assert room.spooled() == before


def test_requests_are_bounded(room: StowRoom) -> None:
    before = room.spooled()
    announced = raw_request(b"", Content_Length=str(1 << 40))
    assert room.raw(announced).startswith(b"HTTP/1.1 413 ")
    part = part10(mr_image(study="bounds"))
    endless = (part for _ in range(10**6))
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        room.post(_endless_body(endless))
    assert room.post(body_of([part] * 51)).status == 413
    too_long = room.post(body_of([part10(mr_image(study="long", rows=1024))]))
    assert (too_long.status, too_long.reasons()) == (409, [0xA700])
    assert len(room.spooled()) <= len(before) + 1
    assert not room.temporary()


def _endless_body(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield body_of([next(parts)])[: -len(BOUNDARY) - 6]
    yield from (bytes(1 << 16) for _ in range(10_000))


def test_lying_lengths_and_lost_clients_store_nothing(room: StowRoom) -> None:
    file = part10(mr_image(study="lies"))
    body = body_of([file])
    before = room.spooled()
    short = room.raw(raw_request(body, Content_Length=str(len(body) - 20)))
    assert short.startswith(b"HTTP/1.1 400 ")
    # Longer than what comes: the client falls silent, and is told so.
    assert room.raw(raw_request(body, Content_Length=str(len(body) + 20))).startswith(
        b"HTTP/1.1 408 "
    )
    with socket.create_connection((HOST, room.port), timeout=SECONDS) as connection:
        connection.sendall(raw_request(body)[: -len(body) // 2])
    torn = raw_request(b"", Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"")
    assert room.raw(torn + b"zz\r\n").startswith(b"HTTP/1.1 400 ")
    until(lambda: not room.temporary())
    assert room.spooled() == before


def test_a_slow_client_is_cut_off_and_others_are_served(room: StowRoom) -> None:
    body = body_of([part10(mr_image(study="slow"))])
    with socket.create_connection((HOST, room.port), timeout=SECONDS) as slow:
        slow.sendall(raw_request(body)[: -len(body)])
        assert room.post(body_of([part10(mr_image(study="quick"))])).status == 200
        assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_what_is_no_http_is_refused(room: StowRoom) -> None:
    assert room.raw(b"\x01\x00\x00\x00\x00\xcd" + b"RADLOOP\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    endless = b"POST /studies HTTP/1.1\r\nX: " + b"x" * (1 << 17)
    assert room.raw(endless).startswith(b"HTTP/1.1 400 ")
    twice = raw_request(b"").replace(b"Accept", b"Authorization: Bearer x\r\nAccept")
    assert room.raw(twice).startswith(b"HTTP/1.1 400 ")


def test_a_connection_serves_many_requests(room: StowRoom) -> None:
    connection = http.client.HTTPConnection(HOST, room.port, timeout=SECONDS)
    try:
        for number in range(5):
            body = body_of([part10(mr_image(study="kept", instance=number))])
            connection.request("POST", "/studies", body, request_headers(Expect="100-continue"))
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
    finally:
        connection.close()


def test_one_sender_does_not_take_all_places(tmp_path: Path) -> None:
    token = "another-token-of-more-than-32-characters"
    senders = [
        {"ae_title": SENDER, "token_sha256": token_digest(TOKEN)},
        {"ae_title": "OTHER", "token_sha256": token_digest(token)},
    ]
    body = body_of([part10(mr_image())])
    limits = {"maximum_requests": 2, "requests_per_sender": 1, "senders": senders}
    with running_room(tmp_path, **limits) as room:
        with socket.create_connection((HOST, room.port)) as held:
            held.sendall(raw_request(b"", Content_Length="1000"))
            until(lambda: room.post(body).status == 503)
            assert room.post(body).headers["retry-after"] == "5"
            assert room.post(body, Authorization=f"Bearer {token}").status == 200
        until(lambda: room.post(body).status == 200)


def test_one_address_does_not_take_all_connections(tmp_path: Path) -> None:
    body = body_of([part10(mr_image())])
    with running_room(tmp_path, connections_per_address=1) as room:
        with socket.create_connection((HOST, room.port)) as held:
            held.sendall(raw_request(b"", Content_Length="1000"))
            until(lambda: _ends(room))
        until(lambda: not _ends(room))
        with socket.create_connection((HOST, room.port)) as silent:
            # Who asks nothing gives way to who does.
            until(lambda: _is_stored(room, body))
            silent.settimeout(SECONDS)
            assert _is_closed(silent)


def _is_stored(room: StowRoom, body: bytes) -> bool:
    try:
        return bool(room.post(body).status == 200)
    except (ConnectionError, http.client.HTTPException):
        return False


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def _ends(room: StowRoom) -> bool:
    """Tell whether a new connection is closed at once."""
    with socket.create_connection((HOST, room.port)) as connection:
        connection.settimeout(0.3)
        try:
            return connection.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True


def test_a_full_disk_is_answered_so(tmp_path: Path) -> None:
    with running_room(tmp_path, {"minimum_free_bytes": 1 << 60}) as room:
        answer = room.post(body_of([part10(mr_image())]))
        assert answer.status == 507
        assert not room.spooled()
        assert not room.temporary()


def test_nothing_acknowledged_is_lost_however_often_it_is_killed(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    with running_room(tmp_path) as room:
        for round_ in range(3):
            killed = room.receiver.process_id
            number = 0
            while room.receiver.process_id == killed:
                study = f"{round_}-{number}"
                images = [mr_image(study=study, instance=each, rows=64) for each in range(5)]
                try:
                    answer = room.post(body_of([part10(image) for image in images]))
                except (ConnectionError, http.client.HTTPException):
                    break
                assert answer.status == 200
                acknowledged += answer.uids(STORED)
                if not number:
                    # While it stores, and not while it starts.
                    delay = 0.1 + 0.1 * round_
                    threading.Timer(delay, os.kill, (killed, signal.SIGKILL)).start()
                number += 1
            until(lambda killed=killed: room.receiver.process_id not in (0, killed))
        kept = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in room.spooled()}
        assert len(acknowledged) > 10
        assert set(acknowledged) <= kept
        # Half-written objects have no name, and are no objects.
        assert all(len(path.stem) == 64 for path in room.spooled())


def test_a_failed_disk_ends_it_for_good(tmp_path: Path) -> None:
    with running_room(tmp_path) as room:
        # A folder that is gone makes the rename fail with an error that does not pass.
        room.store.folders.spool.rmdir()
        answer = room.post(body_of([part10(mr_image())]))
        assert answer.status == 503
        until(lambda: bool(room.receiver.failure))
        assert room.receiver.process_id == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, room.port))


def test_tls_and_certificates(tmp_path: Path) -> None:
    office = CertificateOffice(tmp_path / "office")
    authority = office.authority("authority")
    node, client = office.issue(authority, "node"), office.issue(authority, "client")
    stranger = office.issue(office.authority("elsewhere"), "stranger")
    tls = node.settings(authority).model_dump() | {"client_certificates": "accepted"}
    bound = {
        "ae_title": SENDER,
        "token_sha256": token_digest(TOKEN),
        "certificates": [fingerprint(client.der)],
    }
    with running_room(tmp_path / "data", plain=False, tls=tls, senders=[bound]) as room:
        port = room.receiver.addresses["tls"][1]
        body = body_of([part10(mr_image())])

        def status(*shown: Any) -> int:
            context = ssl.create_default_context(cafile=str(authority.certificate))
            for each in shown:
                context.load_cert_chain(each.certificate, each.key)
            connection = http.client.HTTPSConnection(HOST, port, timeout=SECONDS, context=context)
            try:
                connection.request("POST", "/studies", body, request_headers())
                return connection.getresponse().status
            finally:
                connection.close()

        assert status(client) == 200
        assert status() == 403
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            status(stranger)
        with socket.create_connection((HOST, port), timeout=SECONDS) as plain:
            plain.sendall(raw_request(body))
            assert not plain.recv(16).startswith(b"HTTP")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"host": "0.0.0.0"}, "without TLS only a host on loopback"),
        ({"plain": False}, "nothing would be listened on"),
        ({"senders": []}, "at least 1"),
        ({"senders": [{"ae_title": "A"}]}, "token_sha256 or token_variable"),
        (
            {"senders": [{"ae_title": "A", "token_sha256": "a" * 64, "certificates": ["b" * 64]}]},
            "need .dicomweb.tls",
        ),
    ],
)
def test_settings_that_are_not_safe_are_refused(values: dict[str, Any], reason: str) -> None:
    sender = {"ae_title": SENDER, "token_sha256": token_digest(TOKEN)}
    with pytest.raises(ValueError, match=reason):
        DicomwebSettings.model_validate({"senders": [sender]} | values)


def test_what_cannot_work_fails_at_the_start(tmp_path: Path) -> None:
    missing = {"ae_title": SENDER, "token_variable": "NO_SUCH_VARIABLE"}
    settings = DicomwebSettings.model_validate({"port": 0, "senders": [missing]})
    with pytest.raises(InvalidSettings, match="NO_SUCH_VARIABLE"):
        StowReceiver(settings, DicomSettings(), tmp_path)

"""Sending by STOW-RS: what archives answer, and what becomes of it."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicom_node.archive_settings import PacsPeer
from dicom_node.dicomweb.qido_client import find_study_identity
from dicom_node.dicomweb.stow_client import store_file
from dicom_node.dicomweb.web_call import MAXIMUM_ANSWER_BYTES, WebTimeouts
from dicom_node.errors import InvalidSettings, Transient
from dicom_node.send_outcomes import Outcome, SendResult
from dicom_node.sr.identity import identity_conflicts
from dicom_node.tls import fingerprint, https_client_context
from tests.builders import mr_image, uid
from tests.certificates import CertificateOffice
from tests.dicomweb_room import SENDER, TOKEN, part10, running_room
from tests.dicomweb_room import token_digest as digest_of
from tests.stow_archive import Scripted, reference, scripted_archive, sequence

MR = "1.2.840.10008.5.1.4.1.1.4"
IMAGE = mr_image()
UID = str(IMAGE.SOPInstanceUID)
OURS = reference(UID, MR)
OTHERS = reference("1.2.3.4", MR)
SHORT = WebTimeouts(connection=2.0, network=1.0, total=2.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "object.dcm"
    path.write_bytes(part10(IMAGE))
    return path


def failed(code: int) -> dict[str, Any]:
    return reference(UID, MR, T00081197=code)


def send(archive: Scripted, file: Path, **values: Any) -> SendResult:
    return store_file(PacsPeer(stow_url=archive.url, **values), file, timeouts=SHORT)


STORED, FAILED, OTHER = "00081199", "00081198", "0008119A"


@pytest.mark.parametrize(
    ("status", "content", "outcome", "code"),
    [
        (200, {STORED: sequence(OURS)}, Outcome.DELIVERED, 0),
        (200, [{STORED: sequence(OTHERS, OURS)}], Outcome.DELIVERED, 0),
        (202, {STORED: sequence(reference(UID, MR, T00081196=0xB000))}, Outcome.DELIVERED, 0),
        (200, {STORED: sequence(OURS), FAILED: {"vr": "SQ"}}, Outcome.DELIVERED, 0),
        (409, {FAILED: sequence(failed(0xA700))}, Outcome.TRANSIENT, 0xA700),
        (202, {FAILED: sequence(failed(0xC000))}, Outcome.PERMANENT, 0xC000),
        (200, {FAILED: sequence(failed(0xA900))}, Outcome.PERMANENT, 0xA900),
        (409, {FAILED: sequence(failed(0xC122))}, Outcome.PERMANENT, 0xC122),
        (409, {FAILED: sequence(failed(0x0110))}, Outcome.TRANSIENT, 0x0110),
        (409, {FAILED: sequence(failed(0x0111))}, Outcome.NEEDS_REVIEW, 0x0111),
        (409, {FAILED: sequence(failed(0xB000))}, Outcome.NEEDS_REVIEW, 0xB000),
        (409, {FAILED: sequence(OURS)}, Outcome.NEEDS_REVIEW, None),
        (409, {OTHER: sequence({"00081197": {"vr": "US", "Value": [0xC000]}})},
         Outcome.PERMANENT, 0xC000),
        (200, {}, Outcome.NEEDS_REVIEW, None),
        (200, [], Outcome.NEEDS_REVIEW, None),
        (200, {STORED: sequence(OTHERS)}, Outcome.NEEDS_REVIEW, None),
        (200, {STORED: sequence(reference(UID, "1.2.3"))}, Outcome.NEEDS_REVIEW, None),
        (200, {STORED: sequence(OURS), FAILED: sequence(failed(0xA700))},
         Outcome.NEEDS_REVIEW, None),
        (409, {STORED: sequence(OURS)}, Outcome.NEEDS_REVIEW, None),
        (200, [{STORED: sequence(OURS)}] * 2, Outcome.NEEDS_REVIEW, None),
        (200, {STORED: OURS}, Outcome.NEEDS_REVIEW, None),
        (200, {STORED: {"vr": "SQ", "Value": [UID]}}, Outcome.NEEDS_REVIEW, None),
        (200, b"", Outcome.NEEDS_REVIEW, None),
        (200, b"{", Outcome.NEEDS_REVIEW, None),
        (200, b"[" * 100_000, Outcome.NEEDS_REVIEW, None),
        (200, b'{"00081199": {}, "00081199": {}}', Outcome.NEEDS_REVIEW, None),
        (200, b" " * (MAXIMUM_ANSWER_BYTES + 1), Outcome.NEEDS_REVIEW, None),
        (204, b"", Outcome.NEEDS_REVIEW, None),
        (302, b"", Outcome.PERMANENT, None),
        (400, b"", Outcome.PERMANENT, None),
        (401, b"", Outcome.PERMANENT, None),
        (413, b"", Outcome.PERMANENT, None),
        (429, b"", Outcome.TRANSIENT, None),
        (500, b"", Outcome.TRANSIENT, None),
        (501, b"", Outcome.PERMANENT, None),
        (503, b"", Outcome.TRANSIENT, None),
        (507, b"", Outcome.TRANSIENT, None),
    ],
)  # fmt: skip
def test_what_an_answer_means(
    file: Path, status: int, content: Any, outcome: Outcome, code: int | None
) -> None:
    with scripted_archive() as archive:
        archive.says(status, content, Location="http://127.0.0.1:1/elsewhere")
        result = send(archive, file)
        assert (result.outcome, result.status) == (outcome, code), result.reason
        assert result.sop_instance_uid == UID
        assert len(archive.asked) == 1
        assert UID not in result.reason


@pytest.mark.parametrize(
    ("media_type", "headers"),
    [
        ("application/dicom+xml", {}),
        ("text/html", {}),
        ("application/dicom+json", {"Content_Encoding": "gzip"}),
    ],
)
def test_an_answer_of_another_kind_is_no_success(
    file: Path, media_type: str, headers: dict[str, str]
) -> None:
    with scripted_archive() as archive:
        archive.says(200, {STORED: sequence(OURS)}, media_type, **headers)
        assert send(archive, file).outcome is Outcome.NEEDS_REVIEW


def test_the_request_is_whole(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVE_TOKEN", "a-token")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with scripted_archive() as archive:
        archive.says(200, {STORED: sequence(OURS)})
        assert send(archive, file, token_variable="ARCHIVE_TOKEN").delivered
        (asked,) = archive.asked
        assert (asked.method, asked.path) == ("POST", "/web/studies")
        assert asked.headers["Authorization"] == "Bearer a-token"
        assert asked.headers["Accept"] == "application/dicom+json"
        kind, _, boundary = asked.headers["Content-Type"].partition("; boundary=")
        assert kind == 'multipart/related; type="application/dicom"'
        head, _, rest = asked.body.partition(b"\r\n\r\n")
        assert head.startswith(f"--{boundary}\r\nContent-Type: application/dicom".encode())
        assert rest == file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        monkeypatch.setenv("PASSWORD", "secret")
        send(archive, file, user="radloop", password_variable="PASSWORD")
        assert archive.asked[-1].headers["Authorization"] == "Basic cmFkbG9vcDpzZWNyZXQ="
    monkeypatch.delenv("ARCHIVE_TOKEN")
    with pytest.raises(InvalidSettings, match="ARCHIVE_TOKEN"):
        send(archive, file, token_variable="ARCHIVE_TOKEN")


def test_a_busy_archive_says_when(file: Path) -> None:
    with scripted_archive() as archive:
        archive.says(503, b"", Retry_After="120")
        assert send(archive, file).retry_after == 120.0
        archive.says(503, b"", Retry_After="Fri, 31 Dec 1999 23:59:59 GMT")
        assert send(archive, file).retry_after is None


def test_who_is_not_there_is_asked_again(file: Path) -> None:
    with scripted_archive() as archive:
        pass
    result = send(archive, file)
    assert (result.outcome, result.status) == (Outcome.TRANSIENT, None)
    missing = store_file(PacsPeer(stow_url=archive.url), file.with_name("missing"), timeouts=SHORT)
    assert missing.outcome is Outcome.PERMANENT


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "ae_title and port, or stow_url"),
        ({"stow_url": "http://pacs/web"}, "must be https"),
        ({"stow_url": "ftp://127.0.0.1/web"}, "no http or https"),
        ({"stow_url": "https://user:word@pacs/web"}, "no credentials"),
        ({"stow_url": "https://pacs/web?x=1"}, "no query"),
        ({"stow_url": "https://pacs/web", "user": "u"}, "belong together"),
        ({"stow_url": "https://pacs/web", "port": 104}, "belong together"),
        ({"stow_url": "https://pacs/web", "commitment": True}, "they go by DIMSE"),
        ({"stow_url": "https://pacs/web", "retrieve": "get"}, "they go by DIMSE"),
        ({"ae_title": "A", "port": 104, "token_variable": "T"}, "need stow_url"),
    ],
)
def test_archives_that_cannot_be_meant(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PacsPeer.model_validate(values)


# Whose study it is.


def study(**values: str) -> dict[str, Any]:
    tags = {"uid": "0020000D", "patient": "00100020", "birth": "00100030", "sex": "00100040"}
    return {tags[name]: {"vr": "LO", "Value": [value]} for name, value in values.items()}


def test_the_archive_is_asked_whose_study_it_is() -> None:
    ours = dcmread(BytesIO(part10(IMAGE)))
    name = uid("study", "S1")
    with scripted_archive() as archive:
        peer = PacsPeer(stow_url=archive.url)

        def conflicts(status: int, content: Any) -> list[tuple[str, ...]]:
            archive.says(status, content)
            answer = find_study_identity(peer, name, timeouts=SHORT)
            return [identity_conflicts(ours, theirs) for theirs in answer.studies]

        assert conflicts(200, [study(uid=name, patient="P1", sex="F")]) == [()]
        assert archive.asked[0].path.startswith(
            f"/web/studies?StudyInstanceUID={name}&includefield"
        )
        assert conflicts(200, [study(uid=name, patient="P2", birth="19700101")]) == [("PatientID",)]
        assert conflicts(200, [study(uid="1.2.3", patient="P2")]) == []
        assert conflicts(204, b"") == conflicts(200, []) == []
        assert not find_answer(archive, peer, 404).supported
        assert not find_answer(archive, peer, 501).supported
        for status, content in ((500, b""), (503, b""), (200, b"{"), (200, ["x"]), (302, b"")):
            archive.says(status, content)
            with pytest.raises(Transient):
                find_study_identity(peer, name, timeouts=SHORT)


def find_answer(archive: Scripted, peer: PacsPeer, status: int) -> Any:
    archive.says(status, b"")
    return find_study_identity(peer, "1.2.3", timeouts=SHORT)


# TLS.


def test_https_is_checked_both_ways(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIVE_TOKEN", TOKEN)
    office = CertificateOffice(tmp_path / "office")
    authority = office.authority("authority")
    archive = office.issue(authority, "archive")
    node, other = (office.issue(authority, name) for name in ("node", "other"))
    nameless = office.issue(authority, "nameless", names="DNS:elsewhere.example")
    sender = {"ae_title": SENDER, "token_sha256": digest_of(TOKEN)}

    def outcome(shown: Any, **values: Any) -> SendResult:
        tls = shown.settings(authority).model_dump()
        folder = tmp_path / shown.certificate.stem
        with running_room(folder, plain=False, tls=tls, senders=[sender]) as room:
            url = f"https://127.0.0.1:{room.receiver.addresses['tls'][1]}"
            peer = PacsPeer(stow_url=url, token_variable="ARCHIVE_TOKEN", **values)
            context = https_client_context(peer, node.settings(authority))
            return store_file(peer, file, tls=context, timeouts=SHORT)

    assert outcome(archive, tls=True).delivered
    pinned = [fingerprint(archive.der)]
    assert outcome(archive, tls=True, certificates=pinned).delivered
    assert outcome(nameless, tls=True, check_host_name=False).delivered
    for shown, values in (
        (other, {"tls": True, "certificates": pinned}),
        (nameless, {"tls": True}),
        (archive, {}),  # by the authorities of the operating system
    ):
        result = outcome(shown, **values)
        assert result.outcome is Outcome.TRANSIENT
        assert "certificate" in result.reason

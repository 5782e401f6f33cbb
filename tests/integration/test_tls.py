import socket
import ssl
import threading
from pathlib import Path

import pytest

from dicom_node.archive_settings import PacsPeer
from dicom_node.errors import InvalidSettings
from dicom_node.receiver import Receivers
from dicom_node.settings import DicomSettings, TlsSettings
from dicom_node.tls import client_context, fingerprint, peer_context, server_context
from tests.certificates import CertificateOffice, Identity

pytestmark = pytest.mark.peer

Shaken = tuple[str, str]


class Room:
    """An authority, a node that it knows, and one that a stranger issued."""

    def __init__(self, folder: Path) -> None:
        self.office = CertificateOffice(folder)
        self.authority = self.office.authority("authority")
        self.node = self.office.issue(self.authority, "node")
        self.stranger = self.office.authority("stranger")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("certificates"))


def shake(server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost") -> Shaken:
    """Connect two contexts over loopback; return version and cipher suite, or the first failure."""
    failures: list[OSError] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    with server.wrap_socket(connection, server_side=True) as secured:
                        secured.sendall(b"x")
                except OSError as error:
                    failures.append(error)

        thread = threading.Thread(target=accept)
        thread.start()
        found = ("", "")
        try:
            with (
                socket.create_connection(listener.getsockname(), 10) as plain,
                client.wrap_socket(plain, server_hostname=host) as secured,
            ):
                if secured.recv(1):
                    found = (secured.version() or "", (secured.cipher() or ("",))[0])
        except OSError as error:
            failures.insert(0, error)
        thread.join()
    if failures:
        raise failures[0]
    return found


def test_both_sides_meet_with_the_newest_version(room: Room) -> None:
    tls = room.node.settings(room.authority)
    version, suite = shake(server_context(tls), client_context(tls))
    assert version == "TLSv1.3"
    assert suite.startswith("TLS_")


def test_tls_1_2_is_met_with_forward_secrecy_and_authenticated_encryption(room: Room) -> None:
    tls = room.node.settings(room.authority)
    client = client_context(tls)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    version, suite = shake(server_context(tls), client)
    assert version == "TLSv1.2"
    for context in (client, server_context(tls)):
        names = [each["name"] for each in context.get_ciphers() if each["protocol"] == "TLSv1.2"]
        assert suite in names
        assert all(name.startswith("ECDHE-") for name in names)
        assert all("GCM" in name or "CHACHA20" in name for name in names)
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION


def test_a_host_name_and_a_fingerprint_are_checked(room: Room) -> None:
    tls = room.node.settings(room.authority)
    server = server_context(tls)
    own = fingerprint(room.node.der)
    assert shake(server, client_context(tls, certificates=[own]))[0]
    assert shake(server, client_context(tls, check_host_name=False), "elsewhere")[0]
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(server, client_context(tls), "elsewhere")
    with pytest.raises(ssl.SSLCertVerificationError, match="not one of those expected"):
        shake(server, client_context(tls, certificates=["0" * 64]))


def test_no_session_is_resumed(room: Room) -> None:
    tls = room.node.settings(room.authority)
    context = server_context(tls)
    assert context.num_tickets == 0
    assert context.options & ssl.OP_NO_TICKET


def test_an_encrypted_key_is_opened_by_the_environment(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = room.office.encrypt_key(room.node, "secret word")
    tls = locked.settings(room.authority, key_password_variable="RADLOOP_TEST_KEY")
    monkeypatch.delenv("RADLOOP_TEST_KEY", raising=False)
    with pytest.raises(InvalidSettings, match=r"\$RADLOOP_TEST_KEY is not set"):
        server_context(tls)
    monkeypatch.setenv("RADLOOP_TEST_KEY", "wrong")
    with pytest.raises(InvalidSettings, match="not opened") as caught:
        server_context(tls)
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv("RADLOOP_TEST_KEY", "secret word")
    server_context(tls)
    with pytest.raises(InvalidSettings, match="key_password_variable"):
        server_context(locked.settings(room.authority))


def test_what_cannot_work_is_named_at_the_start(room: Room, tmp_path: Path) -> None:
    office, authority, node = room.office, room.authority, room.node
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n")
    absent = tmp_path / "absent.pem"
    only_calls = office.issue(authority, "only-calls", usage="clientAuth")
    only_serves = office.issue(authority, "only-serves", usage="serverAuth")
    expired = office.issue(authority, "expired", days=-1)
    cases: list[tuple[TlsSettings, str]] = [
        (Identity(absent, node.key).settings(authority), r"dicom\.tls\.certificate: .*No such"),
        (Identity(node.certificate, absent).settings(authority), r"dicom\.tls\.key: .*No such"),
        (Identity(tmp_path, node.key).settings(authority), r"dicom\.tls\.certificate: .*Is a dir"),
        (node.settings(Identity(absent, absent)), r"dicom\.tls\.authorities: .*No such"),
        (Identity(node.key, node.key).settings(authority), r"dicom\.tls\.certificate: .*no PEM"),
        (node.settings(Identity(node.key, node.key)), r"dicom\.tls\.authorities: .*no PEM"),
        (node.settings(Identity(damaged, damaged)), r"dicom\.tls\.authorities holds no readable"),
        (Identity(damaged, node.key).settings(authority), "is damaged"),
        (Identity(node.certificate, authority.key).settings(authority), "does not belong"),
        (expired.settings(authority), "certificate has expired"),
        (only_calls.settings(authority), "for receiving: unsuitable"),
    ]
    for tls, message in cases:
        with pytest.raises(InvalidSettings, match=message):
            server_context(tls)
    with pytest.raises(InvalidSettings, match="for sending: unsuitable"):
        client_context(only_serves.settings(authority))
    client_context(only_calls.settings(authority))
    server_context(only_serves.settings(authority))


def test_receivers_do_not_start_with_what_cannot_work(room: Room, tmp_path: Path) -> None:
    expired = room.office.issue(room.authority, "too-old", days=-1).settings(room.authority)
    with pytest.raises(InvalidSettings, match="certificate has expired"):
        Receivers(DicomSettings(port=0, tls=expired), tmp_path)
    storage_commitment = DicomSettings(port=0, private_sop_classes=("1.2.840.10008.1.20.1",))
    with pytest.raises(InvalidSettings, match="private_sop_classes"):
        Receivers(storage_commitment, tmp_path)


def test_an_archive_says_whether_it_is_called_with_tls(room: Room) -> None:
    tls = room.node.settings(room.authority)
    assert peer_context(PacsPeer(ae_title="PACS", port=104), tls) is None
    secured = PacsPeer(ae_title="PACS", port=2762, tls=True, check_host_name=False)
    context = peer_context(secured, tls)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.check_hostname
    with pytest.raises(InvalidSettings, match=r"\[dicom\.tls\]"):
        peer_context(secured, None)

"""Who knocks at a TLS port and who answers there: the identities and programs of the TLS matrix."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import Permanent, Transient
from dicom_node.requestor import Timeouts
from dicom_node.verification_scu import echo
from plugin.simulation.ports import free_ports
from tests.certificates import CertificateOffice, Identity
from tests.peers import find_program, run_program
from tests.raw_dicom import VERIFICATION, associate_request, echo_command, fragment

LOOPBACK = "127.0.0.1"
QUICK = Timeouts(connection=10, association=10, response=10, network=10)
_START_SECONDS = 20.0
_EVERY_CIPHER = "ALL:@SECLEVEL=0"

GOOD, NONE, EXPIRED, WRONG_CA, PLAIN = "good", "none", "expired", "wrong CA", "plain"
OLD_VERSIONS = {"TLS 1.0": ssl.TLSVersion.TLSv1, "TLS 1.1": ssl.TLSVersion.TLSv1_1}
NEW_VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True)
class Address:
    """A peer for our own requestor."""

    port: int
    ae_title: str = "RADLOOP"
    host: str = LOOPBACK


class Cast:
    """An authority that everybody trusts and the identities that knock or answer."""

    def __init__(self, folder: Path) -> None:
        office = CertificateOffice(folder)
        self.folder = folder
        self.authority = office.authority("authority")
        stranger = office.authority("stranger")
        self.node = office.issue(self.authority, "node")
        self.elsewhere = office.issue(self.authority, "elsewhere", names="DNS:pacs.example")
        self.identities = {
            GOOD: office.issue(self.authority, "good"),
            EXPIRED: office.issue(self.authority, "expired", days=-1),
            WRONG_CA: office.issue(stranger, "foreign"),
        }

    def context(
        self,
        who: str = GOOD,
        *,
        server_side: bool = False,
        version: ssl.TLSVersion | None = None,
        weak_cipher: str = "",
    ) -> ssl.SSLContext:
        """Return a context of somebody careless, who judges nobody and permits every version."""
        side = ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(side)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if version in OLD_VERSIONS.values():
            context.set_ciphers(_EVERY_CIPHER)
        if weak_cipher:
            context.set_ciphers(f"{weak_cipher}:@SECLEVEL=0")
            version = ssl.TLSVersion.TLSv1_2
        if version is not None:
            with _old_versions_allowed():
                context.minimum_version = context.maximum_version = version
        if who in self.identities:
            identity = self.identities[who]
            context.load_cert_chain(identity.certificate, identity.key)
        return context

    def context_of(self, identity: Identity, *, server_side: bool = False) -> ssl.SSLContext:
        """Return a careless context that shows one more identity."""
        context = self.context(NONE, server_side=server_side)
        context.load_cert_chain(identity.certificate, identity.key)
        return context

    def dcmtk(self, who: str) -> list[str]:
        """Return the options of a dcmtk program that make it ``who``."""
        trust = ["+cf", str(self.authority.certificate)]
        if who == PLAIN:
            return []
        if who == NONE:
            return ["+tla", *trust]
        identity = self.identities[who]
        return ["+tls", str(identity.key), str(identity.certificate), *trust]

    def orthanc(self, identity: Identity) -> dict[str, object]:
        """Return the settings by which Orthanc serves and calls with TLS."""
        return {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(identity.certificate),
            "DicomTlsPrivateKey": str(identity.key),
            "DicomTlsTrustedCertificates": str(self.authority.certificate),
            "DicomTlsRemoteCertificateRequired": True,
        }


@contextmanager
def _old_versions_allowed() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def raw_echo(address: tuple[str, int], context: ssl.SSLContext | None) -> bool:
    """Speak TLS and DICOM by hand; tell whether a C-ECHO was answered."""
    try:
        with socket.create_connection(address, 10) as plain:
            if context is None:
                return _echoes(plain)
            with context.wrap_socket(plain, server_hostname=LOOPBACK) as secured:
                return _echoes(secured)
    except OSError:
        return False


def _echoes(connection: socket.socket) -> bool:
    contexts = [(VERIFICATION, "1.2.840.10008.1.2")]
    connection.sendall(associate_request("RADLOOP", "SCANNER", contexts))
    if _pdu_type(connection) != 2:
        return False
    connection.sendall(fragment(1, 3, echo_command()))
    return _pdu_type(connection) == 4


def _pdu_type(connection: socket.socket) -> int:
    header = _exactly(connection, 6)
    if len(header) < 6:
        return 0
    _exactly(connection, int.from_bytes(header[2:], "big"))
    return header[0]


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def library_echo(address: tuple[str, int], context: ssl.SSLContext | None) -> bool:
    """Let pynetdicom, through our requestor, verify a peer; tell whether it answered."""
    try:
        echo(Address(address[1]), "SCANNER", QUICK, context)
    except (Transient, Permanent):
        return False
    return True


def dcmtk_echo(address: tuple[str, int], options: list[str]) -> bool:
    """Let echoscu verify a peer; tell whether it answered."""
    status, _ = run_program(
        "echoscu", *options, "-to", "10", "-aet", "SCANNER", "-aec", "RADLOOP", *map(str, address)
    )
    return status == 0


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[tuple[tuple[str, int], Callable[[], int]]]:
    """Accept one TLS connection after the other; yield where, and how many handshakes held."""
    entered: list[int] = []
    with socket.create_server((LOOPBACK, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    _welcome(connection, context, entered)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname(), lambda: len(entered)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _welcome(connection: socket.socket, context: ssl.SSLContext, entered: list[int]) -> None:
    try:
        with context.wrap_socket(connection, server_side=True) as secured:
            if secured.recv(1):  # a byte of the association request
                entered.append(1)
                secured.sendall(b"x")
    except OSError:
        return


@contextmanager
def running_storescp(folder: Path, options: list[str]) -> Iterator[Address]:
    """Run dcmtk's storescp with TLS options while the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    with (folder / "storescp.log").open("wb") as log:
        process = subprocess.Popen(
            [find_program("storescp"), *options, "-od", str(folder), "-aet", "PACS", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for_port(port, process)
        yield Address(port, "PACS")
    finally:
        process.terminate()
        process.wait()


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("storescp does not listen")

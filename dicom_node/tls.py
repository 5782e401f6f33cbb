"""TLS by the BCP 195 RFC 8996 profile of PS3.15 B.12: TLS 1.2 or later, certificates on both sides.

There is no fall-back: no older version, no cipher suite without forward secrecy and authenticated
encryption, no compression, no renegotiation, no resumption without a new look at the certificate.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

from dicom_node.archive_settings import PacsPeer
from dicom_node.dicomweb_settings import DicomwebTlsSettings
from dicom_node.errors import InvalidSettings
from dicom_node.settings import TlsSettings

# RFC 9325 section 4.2; TLS 1.3 has no others (RFC 8446 B.4). Level 2: 112 bits or more.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
_PROVE_ROUNDS = 8  # a handshake needs four flights at most

_WRONG_FILES = {
    "KEY_VALUES_MISMATCH": "dicom.tls.key does not belong to dicom.tls.certificate",
    "KEY_TYPE_MISMATCH": "dicom.tls.key does not belong to dicom.tls.certificate",
    "EE_KEY_TOO_SMALL": "the key of dicom.tls.certificate is too short to be safe",
    "CA_MD_TOO_WEAK": "dicom.tls.certificate is signed with a digest that is not safe",
}


class CheckedSocket(ssl.SSLSocket):
    """A TLS connection that remembers why its handshake failed and knows pinned certificates."""

    failure: ssl.SSLError | None = None
    shaken: bool = False

    def do_handshake(self, block: bool = False) -> None:
        """Perform the handshake, then compare the certificate with those that are pinned."""
        try:
            super().do_handshake(block)
            self._check_pins()
            self.shaken = True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.failure = error
            raise

    def _check_pins(self) -> None:
        pins = self.context.pins if isinstance(self.context, PinningContext) else frozenset()
        if pins and fingerprint(self.getpeercert(binary_form=True) or b"") not in pins:
            raise ssl.SSLCertVerificationError("the certificate is not one of those expected")


class PinningContext(ssl.SSLContext):
    """A context that trusts only certificates of given fingerprints, if there are any."""

    sslsocket_class = CheckedSocket
    pins: frozenset[str] = frozenset()


def fingerprint(der: bytes) -> str:
    """Return SHA-256 over a certificate's DER form in lower-case hexadecimal."""
    return hashlib.sha256(der).hexdigest()


def server_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return the context of an acceptor: every peer shows a certificate of our authorities.

    Raises:
        InvalidSettings: a file is missing, unreadable, no PEM or of another kind, the key is not
            the certificate's, or the certificate cannot serve now; the message names the setting.
    """
    context = _context(tls, ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would not look at the certificate again; with TLS 1.3 and 1.2 alike.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _prove(tls, is_server=True)
    return context


def https_server_context(tls: DicomwebTlsSettings) -> ssl.SSLContext:
    """Return the context of the DICOMweb service; it may take clients without a certificate.

    Raises:
        InvalidSettings: as for :func:`server_context`.
    """
    try:
        context = server_context(tls)
    except InvalidSettings as error:
        raise InvalidSettings(str(error).replace("dicom.tls", "dicomweb.tls")) from None
    if tls.client_certificates == "accepted":
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(
    tls: TlsSettings, *, check_host_name: bool = True, certificates: Iterable[str] = ()
) -> ssl.SSLContext:
    """Return the context of a requestor, which shows our certificate and checks the peer's.

    Args:
        tls: our certificate and key, and the authorities that may issue the peer's.
        check_host_name: whether the peer's certificate must name the host that is called.
        certificates: fingerprints of which the peer's certificate must have one; none: any.

    Raises:
        InvalidSettings: as for :func:`server_context`.
    """
    context = _context(tls, ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_host_name
    context.pins = frozenset(certificates)
    _prove(tls, is_server=False)
    return context


def peer_context(peer: PacsPeer, tls: TlsSettings | None) -> ssl.SSLContext | None:
    """Return the context for calling an archive; None where it is called without TLS.

    Raises:
        InvalidSettings: it is to be called with TLS and there is no [dicom.tls], or as for
            :func:`server_context`.
    """
    if not peer.tls:
        return None
    if tls is None:
        raise InvalidSettings("a [[pacs]] with tls = true needs [dicom.tls]")
    return client_context(tls, check_host_name=peer.check_host_name, certificates=peer.certificates)


def https_client_context(peer: PacsPeer, tls: TlsSettings | None) -> ssl.SSLContext | None:
    """Return the context for an archive's ``stow_url``; None where that is http.

    With ``tls = true`` we show our certificate and trust the authorities of [dicom.tls]; else we
    show none and trust the authorities of the operating system.

    Raises:
        InvalidSettings: as for :func:`peer_context`.
    """
    if not peer.stow_url.startswith("https:"):
        return None
    if peer.tls:
        return peer_context(peer, tls)
    context = _bare(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.check_hostname = peer.check_host_name
    context.pins = frozenset(peer.certificates)
    return context


def _context(tls: TlsSettings, protocol: int) -> PinningContext:
    context = _bare(protocol)
    _load_own(context, tls)
    _read(tls.authorities, "authorities", "CERTIFICATE-----")
    try:
        context.load_verify_locations(cafile=tls.authorities)
    except ssl.SSLError:
        raise InvalidSettings("dicom.tls.authorities holds no readable certificate") from None
    return context


def _bare(protocol: int) -> PinningContext:
    context = PinningContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    return context


def _load_own(context: ssl.SSLContext, tls: TlsSettings) -> None:
    _read(tls.certificate, "certificate", "CERTIFICATE-----")
    _read(tls.key, "key", "PRIVATE KEY-----")
    try:
        context.load_cert_chain(tls.certificate, tls.key, _password(tls))
    except ssl.SSLError as error:
        reason = error.reason or ""
        if tls.key_password_variable and reason not in _WRONG_FILES:
            wrong = f"dicom.tls.key is damaged or not opened by ${tls.key_password_variable}"
        else:
            wrong = "dicom.tls.certificate or dicom.tls.key is damaged"
        raise InvalidSettings(_WRONG_FILES.get(reason, wrong)) from None


def _password(tls: TlsSettings) -> Callable[[], str]:
    """Return what OpenSSL asks where the key is encrypted; without it, it would ask a terminal."""

    def password() -> str:
        variable = tls.key_password_variable
        if not variable:
            raise InvalidSettings(
                "dicom.tls.key is encrypted: name the environment variable that holds its "
                "password in dicom.tls.key_password_variable"
            )
        if variable not in os.environ:
            raise InvalidSettings(f"dicom.tls.key_password_variable: ${variable} is not set")
        return os.environ[variable]

    return password


def _read(path: Path, setting: str, kind: str) -> None:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidSettings(f"dicom.tls.{setting}: {path}: {error.strerror}") from None
    if kind.encode() not in text:
        raise InvalidSettings(f"dicom.tls.{setting}: {path} is no PEM file of this kind")


def _prove(tls: TlsSettings, *, is_server: bool) -> None:
    """Shake hands with ourselves, so that a certificate that cannot serve fails at the start.

    One side shows our certificate in the role it will have, the other trusts nothing else: what
    can go wrong is its time of validity and its purpose.
    """
    shows = _bare(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    judges = _bare(ssl.PROTOCOL_TLS_CLIENT if is_server else ssl.PROTOCOL_TLS_SERVER)
    _load_own(shows, tls)
    judges.load_verify_locations(cafile=tls.certificate)
    judges.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    judges.check_hostname = False
    judges.verify_mode = ssl.CERT_REQUIRED
    if not is_server:
        _load_own(judges, tls)  # a server cannot do without a certificate
        shows.check_hostname = False
        shows.verify_mode = ssl.CERT_NONE
    server, client = (shows, judges) if is_server else (judges, shows)
    try:
        _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        role = "receiving" if is_server else "sending"
        raise InvalidSettings(
            f"dicom.tls.certificate cannot be used for {role}: {error.verify_message}"
        ) from None
    except ssl.SSLError as error:
        raise InvalidSettings(f"dicom.tls.certificate cannot be used: {error.reason}") from None


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Let two contexts shake hands in memory.

    Raises:
        ssl.SSLError: one refuses the other.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    waiting = [
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_PROVE_ROUNDS):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)

"""One HTTP request to an archive's DICOMweb service, bounded in time and in what is read back.

No redirect is followed, no proxy of the environment is used and nothing is tried twice: the caller
decides, from the error or the status.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from dicom_node.archive_settings import PacsPeer
from dicom_node.errors import InvalidSettings, Transient

MAXIMUM_ANSWER_BYTES = 1024**2
_PIECE_BYTES = 64 * 1024
_LONGEST_RETRY_SECONDS = 86_400

Body = Iterable[bytes]


@dataclass(frozen=True)
class WebTimeouts:
    """How long to wait, in seconds: to connect, for any byte to move, for all of it."""

    connection: float = 10.0
    network: float = 60.0
    total: float = 600.0


@dataclass(frozen=True)
class WebAnswer:
    """What came back.

    Attributes:
        status: HTTP status.
        media_type: of the content, in lower case, without parameters.
        content: at most :data:`MAXIMUM_ANSWER_BYTES`; empty where it was longer or compressed.
        retry_after: seconds after which to try again; None where nothing is said.
    """

    status: int
    media_type: str
    content: bytes
    retry_after: float | None = None


def call(
    peer: PacsPeer,
    method: str,
    resource: str,
    headers: Mapping[str, str],
    body: Body | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    timeouts: WebTimeouts | None = None,
) -> WebAnswer:
    """Send one request to ``peer.stow_url`` and return the answer.

    Args:
        peer: whose service it is.
        method: GET or POST.
        resource: what comes behind the service's URL, such as ``/studies``.
        headers: besides those of the peer's credentials.
        body: pieces of the body; a Content-Length is among the headers then.
        tls: how to secure the connection, of :func:`dicom_node.tls.https_client_context`.
        timeouts: how long to wait for the peer.

    Raises:
        Transient: the peer cannot be reached, is not the one it should be, or does not answer.
        InvalidSettings: the variable that should hold the credentials does not.
    """
    timeouts = timeouts or WebTimeouts()
    sent = {**headers, **_credentials(peer), "Accept-Encoding": "identity", "Connection": "close"}
    connection = _connection(peer, tls, timeouts)
    path = urlsplit(peer.stow_url).path.rstrip("/") + resource
    try:
        connection.connect()
        if connection.sock is None:
            raise Transient("the peer cannot be reached")
        connection.sock.settimeout(timeouts.network)
        with _ending_after(timeouts.total, connection.sock):
            # A peer that refuses may answer, and close, before it has read the body.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    method, path, body, sent, preload_content=False, decode_content=False
                )
            return _read(connection.getresponse())
    except ssl.SSLCertVerificationError as error:
        reason = getattr(error, "verify_message", "") or str(error)
        raise Transient(f"the peer's certificate is not accepted: {reason}") from error
    except ssl.SSLError as error:
        raise Transient(f"the connection by TLS failed: {error.reason}") from error
    except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
        name = type(error).__name__
        raise Transient(f"the peer cannot be reached or did not answer ({name})") from error
    finally:
        connection.close()


def _connection(
    peer: PacsPeer, tls: ssl.SSLContext | None, timeouts: WebTimeouts
) -> HTTPConnection:
    url = urlsplit(peer.stow_url)
    host = url.hostname or ""
    if url.scheme != "https":
        return HTTPConnection(host, url.port, timeout=timeouts.connection)
    if tls is None:
        raise InvalidSettings("an https stow_url needs a TLS context")
    return HTTPSConnection(
        host,
        url.port,
        timeout=timeouts.connection,
        ssl_context=tls,
        assert_hostname=None if tls.check_hostname else False,
    )


def _credentials(peer: PacsPeer) -> dict[str, str]:
    if peer.token_variable:
        return {"Authorization": f"Bearer {_secret(peer.token_variable)}"}
    if peer.user:
        pair = f"{peer.user}:{_secret(peer.password_variable)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
    return {}


def _secret(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value or not value.isascii() or not value.isprintable():
        raise InvalidSettings(f"${variable} must hold the credentials for stow_url")
    return value


@contextmanager
def _ending_after(seconds: float, connection: socket.socket) -> Iterator[None]:
    """End a connection that takes too long, however steadily its bytes drip."""

    def end() -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read(response: urllib3.BaseHTTPResponse) -> WebAnswer:
    content = bytearray()
    if response.headers.get("content-encoding", "identity").strip().lower() == "identity":
        while len(content) <= MAXIMUM_ANSWER_BYTES:
            piece = response.read(_PIECE_BYTES, decode_content=False)
            if not piece:
                break
            content += piece
    if len(content) > MAXIMUM_ANSWER_BYTES:
        content.clear()
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return WebAnswer(response.status, kind, bytes(content), _retry_after(response))


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    """Return the seconds of Retry-After; a date is not read (RFC 9110 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        return None
    return float(min(int(value), _LONGEST_RETRY_SECONDS))

"""The instances of an Orthanc, by its REST interface: listed page by page, read in pieces."""

from __future__ import annotations

import ipaddress
import json
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from dicom_node.errors import Permanent, Transient
from dicom_node.imports.candidates import PIECE_BYTES, Candidate, Gone, Unavailable, mark_of

_PAGE = 500
_LONGEST_LIST = 4 * 1024**2
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
# A server that restarts is worth a moment; whoever asks for another address is not followed.
_RETRIES = urllib3.Retry(
    total=3,
    backoff_factor=0.3,
    status_forcelist=(502, 503, 504),
    redirect=False,
    raise_on_status=False,
)
_FAILURES_IN_A_ROW = 20
_LONGEST_SECONDS = 1800.0  # for one answer, however steadily it drips


@dataclass(frozen=True)
class Access:
    """How an Orthanc is reached.

    Args:
        url: of its REST interface.
        user, password: HTTP basic authentication; empty: none.
        authorities: PEM file of those who may have issued its certificate; None: the system's.

    Raises:
        Permanent: this is no such address, or patients' data would travel in the clear.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    authorities: Path | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Permanent("an Orthanc is named by its address, http://HOST:PORT or https://...")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise Permanent("user and password are options of their own and no part of the address")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise Permanent("another host is asked by https only: by http everybody could read it")


class OrthancSource:
    """All instances of an Orthanc; use it once the address answered (:meth:`check`)."""

    kind = "Orthanc"

    def __init__(self, access: Access) -> None:
        self._url = access.url.rstrip("/")
        self._failures = 0
        self._answering: _Answer | None = None
        self._aborted = False
        self._pool = urllib3.PoolManager(
            maxsize=1,
            timeout=_TIMEOUT,
            retries=_RETRIES,
            headers=_headers(access),
            ssl_context=_context(access),
        )

    def check(self) -> None:
        """Ask who is there.

        Raises:
            Permanent: it is no Orthanc, or does not let us in.
            Transient: nobody answers.
        """
        found = self._json("/system")
        if not (isinstance(found, dict) and "DatabaseVersion" in found):
            raise Permanent("what answers there is no Orthanc")

    def abort(self) -> None:
        """End the answer that another thread reads, and ask nothing more."""
        self._aborted = True
        answer = self._answering
        if answer is not None:
            answer.abort()

    def candidates(self) -> Iterator[Candidate]:
        """Yield every instance; what comes or goes meanwhile may hide others from this run."""
        since = 0
        while True:
            page = self._json(f"/instances?since={since}&limit={_PAGE}")
            if not isinstance(page, list) or not all(_is_id(each) for each in page):
                raise Permanent("what answers there is no Orthanc")
            for each in page:
                yield _Instance(self, each)
            if not page:
                return
            since += len(page)

    def mark(self, identifier: str) -> str:
        """Return a digest of which instance it is and of the MD5 that Orthanc holds of it."""
        path = f"/instances/{identifier}/attachments/dicom/md5"
        try:
            content = self._read(path, 64, of_one=True).decode("latin-1").strip()
        except Unavailable:
            return ""  # StoreMD5ForAttachments is off: nothing tells whether it has changed
        return mark_of(self._url, identifier, content) if _MD5.fullmatch(content) else ""

    def pieces(self, identifier: str) -> Iterator[bytes]:
        """Yield the file of an instance.

        Raises:
            Unavailable: it is gone, or Orthanc cannot read it.
            Transient: the answer breaks off, or one instance after the other cannot be had; the
                object must not be taken.
        """
        url = f"{self._url}/instances/{identifier}/file"
        try:
            with self._ask(url, of_one=True) as answer:
                self._failures = 0
                yield from answer.pieces()
        except Unavailable as error:
            self._failures += 1
            if self._failures >= _FAILURES_IN_A_ROW:
                raise Transient(f"{self._failures} instances in a row cannot be had") from error
            raise

    def _json(self, path: str) -> Any:
        try:
            return json.loads(self._read(path, _LONGEST_LIST))
        except (ValueError, RecursionError):
            raise Permanent("what answers there is no Orthanc") from None

    @contextmanager
    def _ask(self, url: str, *, of_one: bool) -> Iterator[_Answer]:
        if self._aborted:
            raise Transient("the import was stopped")
        with _Answer(self._pool, url, of_one=of_one) as answer:
            self._answering = answer
            try:
                yield answer
            finally:
                self._answering = None

    def _read(self, path: str, longest: int, *, of_one: bool = False) -> bytes:
        found = bytearray()
        with self._ask(self._url + path, of_one=of_one) as answer:
            for piece in answer.pieces():
                found += piece
                if len(found) > longest:
                    raise Permanent("what answers there is no Orthanc")
        return bytes(found)


@dataclass(frozen=True)
class _Instance:
    source: OrthancSource
    identifier: str

    @property
    def name(self) -> str:
        return self.identifier

    @property
    def mark(self) -> str:
        return self.source.mark(self.identifier)

    def pieces(self) -> Iterator[bytes]:
        return self.source.pieces(self.identifier)


class _Answer:
    """A successful answer to a GET; use it as a context manager.

    Args:
        pool: connections.
        url: what is asked for.
        of_one: whether it is about one instance, of which others are independent.
    """

    def __init__(self, pool: urllib3.PoolManager, url: str, *, of_one: bool) -> None:
        self._pool, self._url, self._of_one = pool, url, of_one
        self._ends = time.monotonic() + _LONGEST_SECONDS
        self._response: urllib3.BaseHTTPResponse | None = None
        self._whole = False

    def __enter__(self) -> _Answer:
        try:
            self._response = self._pool.request(
                "GET", self._url, preload_content=False, decode_content=False
            )
        except (HTTPError, OSError) as error:
            if isinstance(getattr(error, "reason", error), SSLError):
                raise Permanent("the certificate of the Orthanc is not trusted") from None
            raise Transient(f"the Orthanc does not answer ({type(error).__name__})") from None
        try:
            _judge(self._response.status, of_one=self._of_one)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._response is not None:
            if not self._whole:
                self._response.close()
            self._response.release_conn()

    def abort(self) -> None:
        """Let the thread that reads find the end of what came so far: an answer cut short."""
        if self._response is not None:
            # It may have ended a moment ago: then there is nothing left to end.
            with suppress(OSError, ValueError, RuntimeError):
                self._response.shutdown()

    def pieces(self) -> Iterator[bytes]:
        """Yield the body; urllib3 sees to it that it is as long as was said."""
        response = self._response
        if response is None:
            raise Transient("the Orthanc was not asked")
        try:
            while piece := response.read(PIECE_BYTES):
                if time.monotonic() > self._ends:
                    raise Transient("the Orthanc takes too long for one answer")
                yield piece
        except (HTTPError, OSError) as error:
            raise Transient(f"the Orthanc breaks off its answer ({type(error).__name__})") from None
        self._whole = True


def _judge(status: int, *, of_one: bool) -> None:
    if status in (401, 403):
        raise Permanent("the Orthanc does not let this user in")
    if of_one and status == 404:
        raise Gone("the Orthanc does not hold it any more")
    if of_one and status >= 500:
        raise Unavailable(f"the Orthanc cannot read it (status {status})")
    if status == 404:
        raise Permanent("what answers there has no such resource: is the address right?")
    if status >= 500 or status == 429:
        raise Transient(f"the Orthanc cannot answer now (status {status})")
    if status != 200:
        raise Permanent(f"the Orthanc answers with status {status}")


def _headers(access: Access) -> dict[str, str]:
    plain = {"accept-encoding": "identity"}
    if access.user:
        plain |= urllib3.make_headers(basic_auth=f"{access.user}:{access.password}")
    return plain


def _context(access: Access) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=access.authorities)
    except (OSError, ssl.SSLError):
        raise Permanent("the file of authorities cannot be read as PEM") from None


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

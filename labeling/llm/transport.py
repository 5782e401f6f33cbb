"""JSON over HTTP to a model server: bounded, patient, and to the checked address only.

No redirect is followed, no proxy of the environment is used, no compressed answer is taken. What a
server says is never quoted in an error, since it may repeat a report.
"""

from __future__ import annotations

import json
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError

from labeling.llm.addresses import ServerAddress
from labeling.llm.interface import ModelUnavailable, UnusableLanguageModel

MAXIMUM_ANSWER = 1 << 20
"""Bytes of an answer to which nothing longer was asked."""

_ATTEMPTS = 4
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_CONNECT_SECONDS = 10.0
_CHUNK = 1 << 16
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED_KEY = frozenset({401, 403})


class Refused(UnusableLanguageModel):
    """The server does not take a request: a status of 4xx. ``said`` is not for messages."""

    def __init__(self, message: str, status: int, said: str) -> None:
        super().__init__(message)
        self.status = status
        self.said = said


class Broken(ModelUnavailable):
    """The server says, time and again, that it failed within (status 500)."""


class _TryAgain(Exception):
    """An attempt failed in a way that may pass; ``wait`` is what the server asks for."""

    def __init__(self, reason: str, wait: float | None = None, status: int = 0) -> None:
        super().__init__(reason)
        self.wait = wait
        self.status = status


@dataclass
class Pauses:
    """How long to wait between attempts: twice as long each time, with chance, or as asked.

    ``sleep`` is told the seconds; tests replace it.
    """

    sleep: Callable[[float], object] = time.sleep
    chance: random.Random = field(default_factory=random.Random)

    def after(self, attempt: int, asked: float | None) -> None:
        """Wait after a failed attempt; the first is 0."""
        usual = _FIRST_WAIT * 2**attempt * self.chance.uniform(0.5, 1.0)
        self.sleep(min(max(usual, asked or 0.0), _LONGEST_WAIT))


class Transport:
    """Asks one server; several threads may ask at once.

    Args:
        address: checked; a connection goes to its numbers only.
        key: sent as bearer token; empty: none. Kept from ``repr`` and from all errors.
        timeout: seconds for a whole answer, and for each silence within it.
        connections: how many are kept open.
        pauses: between attempts.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        address: ServerAddress,
        *,
        key: str = "",
        timeout: float = 120.0,
        connections: int = 1,
        pauses: Pauses | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if key and not (key.isascii() and key.isprintable()):
            raise UnusableLanguageModel("the key of the model server holds unusable characters")
        self._address, self._timeout, self._clock = address, timeout, clock
        self._pauses = pauses or Pauses()
        self._headers = {
            "Host": address.authority,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "radloop",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }
        self._pools = [self._pool(number, connections) for number in address.numbers]
        self._lock = threading.Lock()

    def get(self, path: str) -> Any:
        """Return the JSON at a path of the server, which begins with a slash.

        Raises:
            Refused: the server has no such path, or does not take the key.
            UnusableLanguageModel: the answer is of no use.
            ModelUnavailable: trying again later may succeed.
        """
        return self._asked("GET", path, None, MAXIMUM_ANSWER)

    def post(self, path: str, body: Mapping[str, Any], longest: int = MAXIMUM_ANSWER) -> Any:
        """Return the JSON that the server answers; ``longest`` in bytes. Raises as ``get``."""
        sent = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        return self._asked("POST", path, sent, longest)

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools:
            pool.close()

    def _asked(self, method: str, path: str, body: bytes | None, longest: int) -> Any:
        failure = _TryAgain("was never asked")
        for attempt in range(_ATTEMPTS):
            try:
                return self._try_numbers(method, path, body, longest)
            except _TryAgain as error:
                failure = error
                if attempt + 1 < _ATTEMPTS:
                    self._pauses.after(attempt, error.wait)
        error_class = Broken if failure.status == 500 else ModelUnavailable
        raise error_class(f"the model server {failure}") from None

    def _try_numbers(self, method: str, path: str, body: bytes | None, longest: int) -> Any:
        with self._lock:
            pools = list(self._pools)
        for pool in pools:
            try:
                return self._once(pool, method, path, body, longest)
            except NewConnectionError:
                with self._lock:  # the others are tried first from now on
                    self._pools.sort(key=lambda each, last=pool: each is last)  # type: ignore[misc]
        raise _TryAgain("takes no connection")

    def _once(
        self,
        pool: urllib3.HTTPConnectionPool,
        method: str,
        path: str,
        body: bytes | None,
        longest: int,
    ) -> Any:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        ends = self._clock() + self._timeout
        try:
            response = pool.urlopen(
                method, path, body=body, headers=headers, retries=False, redirect=False,
                preload_content=False, decode_content=False, assert_same_host=False,
            )  # fmt: skip
        except SSLError:
            raise UnusableLanguageModel(
                "the model server's certificate is not trusted or of another name"
            ) from None
        except NewConnectionError:
            raise
        except (HTTPError, OSError) as error:
            raise _TryAgain(f"does not answer ({type(error).__name__})") from None
        whole = False
        try:
            content = b"".join(self._parts(response, ends, longest))
            whole = True
        except (HTTPError, OSError, ValueError) as error:
            raise _TryAgain(f"breaks off its answer ({type(error).__name__})") from None
        finally:
            if not whole:
                response.close()
            response.release_conn()
        return _judged(response, content)

    def _parts(
        self, response: urllib3.BaseHTTPResponse, ends: float, longest: int
    ) -> Iterator[bytes]:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise UnusableLanguageModel("the model server compresses its answers unasked")
        read = 0
        while part := response.read1(_CHUNK):
            read += len(part)
            if read > longest:
                raise UnusableLanguageModel(
                    f"the model server answers with more than {longest} bytes"
                )
            yield part
            if self._clock() > ends:
                raise _TryAgain(f"takes longer than {self._timeout:g} s for an answer")

    def _pool(self, number: str, connections: int) -> urllib3.HTTPConnectionPool:
        seconds = urllib3.Timeout(connect=min(_CONNECT_SECONDS, self._timeout), read=self._timeout)
        shared: dict[str, Any] = {"maxsize": connections, "timeout": seconds, "block": False}
        if self._address.scheme == "http":
            return urllib3.HTTPConnectionPool(number, self._address.port, **shared)
        return urllib3.HTTPSConnectionPool(
            number,
            self._address.port,
            ssl_context=ssl.create_default_context(),
            assert_hostname=self._address.host,
            server_hostname=self._address.host,
            **shared,
        )


def _judged(response: urllib3.BaseHTTPResponse, content: bytes) -> Any:
    """Return the JSON of an answer, or raise what its status means."""
    status = response.status
    if status in _BUSY:
        reason = f"is busy or broken (status {status})"
        raise _TryAgain(reason, _retry_after(response), status)
    if 300 <= status < 400:
        raise UnusableLanguageModel(
            "the model server redirects, which is never followed: give its final address as url"
        )
    if status != 200:
        said = content[:4096].decode("utf-8", "replace")
        raise Refused(_refusal(status), status, said)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise _TryAgain("answers with something that is not JSON") from None


def _refusal(status: int) -> str:
    if status in _REFUSED_KEY:
        return f"the model server refuses the key (status {status}): see RADLOOP_LLM_API_KEY"
    if status == 404:
        return "the model server has no such path or model (status 404): url often ends in /v1"
    return f"the model server does not take the request (status {status})"


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    """Return the seconds that the server asks for; a date is left, the usual wait will do."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None

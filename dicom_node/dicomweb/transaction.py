"""The body of a store request: parts stream into the store while they come (PS3.18 10.5.1.2).

A part is committed once what follows it proves that it ended there: another part with its headers,
or the final boundary with nothing behind it. Where data held the boundary by chance, or the body
breaks off, the part in question is discarded; parts before it stay, and are the same objects when
they are sent again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from dicom_node.dicomweb.incoming_part import IncomingPart
from dicom_node.dicomweb.media_types import DICOM, parse_media_type
from dicom_node.dicomweb.outcome import PartOutcome
from dicom_node.dicomweb.refusal import Refusal
from dicom_node.dicomweb.shelf import Shelf

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_LONGEST_PREAMBLE = 4096
_HEADERS_PER_PART = 16
_HEADER_BYTES = 4096
_PLAIN_ENCODINGS = frozenset(("", "binary", "8bit", "7bit"))


class Transaction:
    """Stores the parts of one request.

    Methods may be called from different threads, one after the other; :meth:`discard` at any time.

    Args:
        shelf: where objects go.
        sender: the AE title that the request's token stands for.
        boundary: of the parts.
        study_instance_uid: of which all objects must be; empty: of any.
        maximum_parts: how many a request may have.

    Attributes:
        outcomes: of the parts that were committed or have failed.
        ran_out_of_space: a part failed because the disk is full.
    """

    def __init__(
        self,
        shelf: Shelf,
        sender: str,
        boundary: bytes,
        *,
        study_instance_uid: str = "",
        maximum_parts: int = 10_000,
    ) -> None:
        self.outcomes: list[PartOutcome] = []
        self.ran_out_of_space = False
        self._shelf = shelf
        self._sender = sender
        self._study = study_instance_uid
        self._maximum_parts = maximum_parts
        self._lock = threading.Lock()
        self._part: IncomingPart | None = None
        self._ended_part: IncomingPart | None = None
        self._count = 0
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()
        self._complete = self._closed = False
        self._final = b"\r\n--" + boundary + b"--"
        self._tail = b""
        self._preamble: bytearray | None = bytearray()  # None: the first boundary has come
        self._parser = MultipartParser(
            boundary,
            self._callbacks(),
            max_header_count=_HEADERS_PER_PART,
            max_header_size=_HEADER_BYTES,
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            Refusal: the body is malformed or has too many parts.
            StorageFailed: the disk failed.
        """
        with self._lock:
            if self._closed:
                return
            if self._complete:
                _check_blank(data)
                return
            data = self._without_preamble(data)
            try:
                self._parser.write(data)
            except FormParserError:
                raise Refusal(400, "the body is not in the form of its boundary") from None
            if self._complete:
                _check_blank((self._tail + data).partition(self._final)[2])
            # Shorter than the final boundary, so that this one is found whole only once.
            self._tail = (self._tail + data[1 - len(self._final) :])[1 - len(self._final) :]

    def _without_preamble(self, data: bytes) -> bytes:
        """Return what comes from the first boundary on (RFC 2046 5.1.1), nothing before it came.

        The parser passes over a preamble where it comes in one piece with the boundary, only.
        """
        if self._preamble is None:
            return data
        self._preamble += data
        first = self._final[2:-2]
        at = 0 if self._preamble.startswith(first) else self._preamble.find(b"\r\n" + first)
        if at >= 0:
            found = bytes(self._preamble[at:])
            self._preamble = None
            return found.removeprefix(b"\r\n")
        if len(self._preamble) > _LONGEST_PREAMBLE:
            raise Refusal(400, "the body does not begin with its boundary")
        return b""

    def finish(self) -> None:
        """Say that the body has ended; commit its last part.

        Raises:
            Refusal: it has no part, or no final boundary.
            StorageFailed: the disk failed.
        """
        if not self._complete:
            raise Refusal(400, "the body ends before its final boundary")
        with self._lock:
            self._commit()
        if not self.outcomes:
            raise Refusal(400, "the body has no part")

    def discard(self) -> None:
        """Forget what was not committed."""
        with self._lock:
            self._closed = True
            for part in (self._part, self._ended_part):
                if part is not None:
                    part.discard()
            self._part = self._ended_part = None

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take,
            "on_part_end": self._end,
            "on_end": self._end_body,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._maximum_parts:
            raise Refusal(413, "the request has more parts than this node takes at a time")
        self._headers.clear()

    def _end_header(self) -> None:
        name = bytes(self._name).strip().lower()
        if name in self._headers:
            raise Refusal(400, "a part has a header twice")
        self._headers[name] = bytes(self._value).strip()
        self._name.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        kind = parse_media_type(self._headers.get(b"content-type", b"").decode("latin-1"))[0]
        if kind != DICOM:
            raise Refusal(415, f"a part is not {DICOM}")
        encoding = self._headers.get(b"content-transfer-encoding", b"").decode("latin-1").lower()
        if encoding not in _PLAIN_ENCODINGS or b"content-encoding" in self._headers:
            raise Refusal(415, "a part is encoded")
        self._commit()
        self._part = IncomingPart(self._shelf, self._sender, self._study)

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._part is not None:
            self._part.feed(data if end - start == len(data) else data[start:end])

    def _end(self) -> None:
        self._ended_part, self._part = self._part, None

    def _end_body(self) -> None:
        self._complete = True

    def _commit(self) -> None:
        """Keep the part before, now that it is proven to have ended."""
        part, self._ended_part = self._ended_part, None
        if part is None:
            return
        self.outcomes.append(part.commit())
        self.ran_out_of_space = self.ran_out_of_space or part.ran_out_of_space


def _check_blank(epilogue: bytes) -> None:
    """Let an empty epilogue pass: more could be the rest of data that held the final boundary."""
    if epilogue.strip():
        raise Refusal(400, "something follows the final boundary")

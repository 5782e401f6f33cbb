"""How a process and its confined child talk: frames over a socket, descriptors beside them.

A frame is a kind (one byte), a length (four bytes, little endian) and that many bytes. The parent
states how long an answer may be before it reads it.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

JSON, BINARY = b"J", b"B"
LARGEST_REQUEST = 64 * 1024
MOST_DESCRIPTORS = 32
"""Files of one request; the kernel passes at most 253 descriptors at once."""

_HEAD = struct.Struct("<cL")


class Disconnected(Exception):
    """The other side is gone."""


class OutOfTime(Exception):
    """The other side did not answer before the deadline."""


class Nonsense(Exception):
    """The other side sent what it must not send."""


def send(sock: socket.socket, kind: bytes, payload: bytes | memoryview) -> None:
    """Send one frame.

    Raises:
        Disconnected: the other side is gone.
    """
    try:
        sock.sendall(_HEAD.pack(kind, len(payload)))
        sock.sendall(payload)
    except OSError:
        raise Disconnected from None


def send_json(sock: socket.socket, value: Any, descriptors: Sequence[int] = ()) -> None:
    """Send a value as JSON, in one piece with descriptors that the other side receives as copies.

    Raises:
        Disconnected: the other side is gone.
    """
    payload = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    message = _HEAD.pack(JSON, len(payload)) + payload
    try:
        sent = socket.send_fds(sock, [message], descriptors) if descriptors else 0
        sock.sendall(message[sent:])
    except OSError:
        raise Disconnected from None


def receive_request(sock: socket.socket) -> tuple[Any, list[int]]:
    """Wait for a request and its descriptors; only for requests of a trusted parent.

    Raises:
        Disconnected: the parent is gone.
    """
    message, descriptors, _, _ = socket.recv_fds(sock, LARGEST_REQUEST, MOST_DESCRIPTORS)
    while len(message) < _HEAD.size or len(message) < _HEAD.size + _HEAD.unpack_from(message)[1]:
        more = sock.recv(LARGEST_REQUEST)
        if not more:
            raise Disconnected
        message += more
    return json.loads(message[_HEAD.size :]), descriptors


def receive(sock: socket.socket, largest: int, deadline: float) -> tuple[bytes, bytearray]:
    """Receive one frame of an untrusted side: kind and payload.

    Args:
        sock: connected to the other side.
        largest: bytes; what is announced to be longer is not read.
        deadline: on the clock of :func:`time.monotonic`, for the whole frame.

    Raises:
        Disconnected, OutOfTime, Nonsense: see there.
    """
    kind, length = receive_head(sock, deadline)
    if length > largest:
        raise Nonsense
    payload = bytearray(length)
    receive_into(sock, memoryview(payload), deadline)
    return kind, payload


def receive_head(sock: socket.socket, deadline: float) -> tuple[bytes, int]:
    """Receive kind and length of a frame whose payload the caller takes."""
    head = bytearray(_HEAD.size)
    receive_into(sock, memoryview(head), deadline)
    kind, length = _HEAD.unpack(head)
    if kind not in (JSON, BINARY):
        raise Nonsense
    return kind, length


def receive_into(sock: socket.socket, target: memoryview, deadline: float) -> None:
    """Fill ``target`` from the socket before the deadline."""
    while target:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise OutOfTime
        sock.settimeout(remaining)
        try:
            count = sock.recv_into(target)
        except TimeoutError:
            raise OutOfTime from None
        except OSError:
            raise Disconnected from None
        if not count:
            raise Disconnected
        target = target[count:]

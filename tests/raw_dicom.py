"""A DICOM requestor of a few lines that sends exactly the bytes it is told to (PS3.8 9.3, PS3.7 6).

It exists to misbehave where a library would refuse, and to be so cheap in the benchmarks that the
receiver is what is measured.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_IMPLEMENTATION = "1.2.826.0.1.3680043.10.1337.99"


def associate_request(
    called: str | bytes,
    calling: str | bytes,
    contexts: Sequence[tuple[str, str]],
    maximum_pdu: int = 131072,
    roles: tuple[int, int] | None = None,
) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU; context ids are 1, 3, 5... in the order given.

    ``roles`` are SCU and SCP role for the first abstract syntax.
    """
    items = _item(0x10, _APPLICATION_CONTEXT.encode())
    for number, (abstract, transfer) in enumerate(contexts):
        parts = _item(0x30, abstract.encode()) + _item(0x40, transfer.encode())
        items += _item(0x20, bytes((2 * number + 1, 0, 0, 0)) + parts)
    user = _item(0x51, struct.pack(">L", maximum_pdu)) + _item(0x52, _IMPLEMENTATION.encode())
    if roles is not None:
        user += role_selection(contexts[0][0], *roles)
    items += _item(0x50, user)
    titles = _title(called) + _title(calling)
    return pdu(1, struct.pack(">HH", 1, 0) + titles + bytes(32) + items)


def role_selection(sop_class: str, user: int, provider: int) -> bytes:
    """Return an SCP/SCU role selection sub-item (PS3.7 D.3.3.4)."""
    name = sop_class.encode()
    return _item(0x54, struct.pack(">H", len(name)) + name + bytes((user, provider)))


def accepted_contexts(body: bytes) -> dict[int, int]:
    """Return the result of each context id in the body of an A-ASSOCIATE-AC PDU."""
    results = {}
    position = 68
    while position + 4 <= len(body):
        kind, length = struct.unpack_from(">BxH", body, position)
        if kind == 0x21:
            results[body[position + 4]] = body[position + 6]
        position += 4 + length
    return results


def pdu(kind: int, body: bytes) -> bytes:
    """Return a PDU with its header."""
    return struct.pack(">BxL", kind, len(body)) + body


def fragment(context: int, control: int, data: bytes) -> bytes:
    """Return a P-DATA-TF PDU with one presentation data value."""
    return pdu(4, struct.pack(">LBB", len(data) + 2, context, control) + data)


def store_command(sop_class: bytes, sop_instance: bytes, message_id: int = 1) -> bytes:
    """Return a C-STORE-RQ command set; the UIDs go in as they are."""
    return _command(
        [
            (0x0002, _even(sop_class)),
            (0x0100, struct.pack("<H", 0x0001)),
            (0x0110, struct.pack("<H", message_id)),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 0x0000)),
            (0x1000, _even(sop_instance)),
        ]
    )


def notice_command(
    *,
    field: int = 0x0130,
    sop_class: str = "1.2.840.10008.1.20.1",
    instance: str = "1.2.840.10008.1.20.1.1",
    type_id: int = 1,
    has_data_set: bool = True,
) -> bytes:
    """Return an N-ACTION-RQ, or with ``field`` 0x0100 an N-EVENT-REPORT-RQ, command set."""
    report = field == 0x0100
    return _command(
        sorted(
            [
                (0x0002 if report else 0x0003, _even(sop_class.encode())),
                (0x0100, struct.pack("<H", field)),
                (0x0110, struct.pack("<H", 1)),
                (0x0800, struct.pack("<H", 0x0000 if has_data_set else 0x0101)),
                (0x1000 if report else 0x1001, _even(instance.encode())),
                (0x1002 if report else 0x1008, struct.pack("<H", type_id)),
            ]
        )
    )


def echo_command(message_id: int = 1) -> bytes:
    """Return a C-ECHO-RQ command set."""
    return _command(
        [
            (0x0002, _even(VERIFICATION.encode())),
            (0x0100, struct.pack("<H", 0x0030)),
            (0x0110, struct.pack("<H", message_id)),
            (0x0800, struct.pack("<H", 0x0101)),
        ]
    )


class RawAssociation:
    """An open association; ``answer`` is the PDU type of the peer's reply (2 is accepted)."""

    def __init__(
        self,
        address: tuple[str, int],
        contexts: Sequence[tuple[str, str]] = ((VERIFICATION, "1.2.840.10008.1.2"),),
        *,
        called: str | bytes = "RADLOOP",
        calling: str | bytes = "SCANNER",
        timeout: float = 30.0,
        source: str = "",
        roles: tuple[int, int] | None = None,
    ) -> None:
        self.socket = socket.create_connection(
            address, timeout, source_address=(source, 0) if source else None
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.sendall(associate_request(called, calling, contexts, roles=roles))
            self.answer, self.body = self.read_pdu()
        except OSError:
            self.socket.close()
            raise
        self.maximum_pdu = 16384
        if self.answer == 2:
            position = self.body.index(b"\x51\x00\x00\x04") + 4
            stated = struct.unpack_from(">L", self.body, position)[0]
            self.maximum_pdu = min(stated or 131072, 131072)

    def __enter__(self) -> RawAssociation:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def accepted(self) -> dict[int, int]:
        """Results of the negotiation by context id; 0 is acceptance (PS3.8 table 9-18)."""
        return accepted_contexts(self.body) if self.answer == 2 else {}

    def echo(self) -> int:
        """Send a C-ECHO on context 1 and return the status."""
        self.socket.sendall(fragment(1, 3, echo_command()))
        return self.read_status()

    def store(
        self, sop_class: str, sop_instance: str | bytes, data: bytes, context: int = 1
    ) -> int:
        """Send a C-STORE and return the status."""
        named = sop_instance if isinstance(sop_instance, bytes) else sop_instance.encode()
        self.socket.sendall(b"".join(self.store_pdus(sop_class, named, data, context)))
        return self.read_status()

    def store_pdus(
        self, sop_class: str, sop_instance: bytes, data: bytes, context: int = 1
    ) -> list[bytes]:
        """Return the PDUs of a C-STORE request."""
        size = self.maximum_pdu - 6
        pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
        last = len(pieces) - 1
        return [
            fragment(context, 3, store_command(sop_class.encode(), sop_instance)),
            *(fragment(context, 2 * (n == last), piece) for n, piece in enumerate(pieces)),
        ]

    def release(self) -> None:
        """Release the association and close."""
        self.socket.sendall(pdu(5, bytes(4)))
        self.read_pdu()
        self.socket.close()

    def read_status(self) -> int:
        """Read a response and return its status.

        Raises:
            ConnectionError: the peer answered something else or closed.
        """
        # DCMTK answers in two segments; without this each costs a delayed acknowledgement.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        kind, body = self.read_pdu()
        if kind != 4:
            raise ConnectionError(f"PDU type {kind} instead of a response")
        position = 6
        while position + 8 <= len(body):
            _, element, length = struct.unpack_from("<HHL", body, position)
            if element == 0x0900:
                return int(struct.unpack_from("<H", body, position + 8)[0])
            position += 8 + length
        raise ConnectionError("a response without a status")

    def read_pdu(self) -> tuple[int, bytes]:
        """Read one PDU; type 0 means that the peer closed."""
        header = self._read(6)
        if len(header) < 6:
            return 0, b""
        return header[0], self._read(int.from_bytes(header[2:], "big"))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return data
            if not piece:
                return data
            data += piece
        return data


def _title(ae_title: str | bytes) -> bytes:
    encoded = ae_title if isinstance(ae_title, bytes) else ae_title.encode()
    return encoded.ljust(16)


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _command(elements: Sequence[tuple[int, bytes]]) -> bytes:
    body = b"".join(struct.pack("<HHL", 0, number, len(v)) + v for number, v in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _even(value: bytes) -> bytes:
    return value + b"\0" if len(value) % 2 else value

"""A peer that holds the node's attempts inside a PDU holds neither its stop nor an erasure."""

import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dicom_node.negotiation import agree, decode_request
from plugin.demo.node import wait_until
from tests.commitment_room import Asker, asker, missing
from tests.integration.test_commitment import address, rows, send
from tests.nodes import radloop, running_node


@contextmanager
def holding_peer() -> Iterator[tuple[int, threading.Event]]:
    """Take associations, answer with half a PDU and hold the line; tells port and first hold."""
    held, over = threading.Event(), threading.Event()

    def exactly(connection: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += connection.recv(size - len(data)) or bytes(size)
        return data

    def hold(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = exactly(connection, 6)
            body = exactly(connection, struct.unpack(">L", head[2:])[0])
            answer, _ = agree(decode_request(head + body), (), (), 16384)
            connection.sendall(answer)
            exactly(connection, 6)
            connection.sendall(struct.pack(">BxL", 4, 1000) + b"x" * 10)
            held.set()
            over.wait(300)

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=hold, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        try:
            yield server.getsockname()[1], held
        finally:
            over.set()


def test_the_node_erases_serves_others_and_stops(tmp_path: Path) -> None:
    with holding_peer() as (port, held), asker("HONEST") as honest:
        settings = "".join(
            f'''
[[dicom.peers]]
ae_title = "{title}"
commitment_host = "127.0.0.1"
commitment_port = {where}
'''
            for title, where in (("HOSTILE", port), ("HONEST", honest.port))
        )
        with running_node(tmp_path, settings) as node:
            send(node, tmp_path, "P", 1)
            wait_until(lambda: bool(rows(node, "SELECT * FROM instance")), 60, "the index")
            hostile = Asker("HOSTILE")
            for number in range(3):
                assert hostile.ask(address(node), f"2.25.{number}", [missing(number)]) == 0
            assert held.wait(60)
            assert honest.ask(address(node), "2.25.9", [missing(9)]) == 0
            assert len(honest.wait(1)) == 1
            running = (
                "SELECT count(*) FROM commitment_request WHERE running != '' AND peer = 'HOSTILE'"
            )
            assert rows(node, running) == [(1,)]
            config = ("--config", str(node.config))
            radloop(
                "erase", "--patient-id", "P", "--issuer", "", "--by", "me",
                "--reason", "asked", "--yes", *config,
            )  # fmt: skip
            held.clear()
            assert held.wait(60)  # the next attempt has begun
            os.kill(node.pid, signal.SIGTERM)
            wait_until(lambda: not _lives(node.pid), 60, "the end of the node")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

"""HL7 messages per second over MLLP, beside python-hl7's and hl7apy's servers in the same run.

    python -m tests.benchmarks.hl7 [--rounds 5] [--connections 4]

radloop parses, versions, links and commits with ``synchronous=FULL`` before each answer. The two
other servers only parse and answer; ``hl7 + commit`` is python-hl7's server with the same durable
SQLite commit of the bytes before its answer. hl7apy's server closes after each message, so its
client connects anew each time. Rounds are interleaved; only the ratios mean something on a shared
machine. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing as mp
import socket
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from dicom_node.mllp.client import send_messages
from dicom_node.mllp.framing import frame
from dicom_node.mllp.listener import MllpListener
from tests.hl7_builders import HL7, clock, database, oru, receive

HOST = "127.0.0.1"
LINES = ["The intervertebral disc space is narrowed with a small central herniation."] * 17


def _radloop(folder: Path, ready: Connection) -> None:
    made = database(folder)
    settings = HL7.model_copy(update={"port": 0})
    listener = MllpListener(settings, lambda content: receive(made, content)[0], clock=clock)
    listener.start()
    ready.send(listener.port)
    ready.recv()


def _python_hl7(folder: Path, ready: Connection, durable: bool = False) -> None:
    import hl7
    from hl7.mllp import start_hl7_server

    connection = sqlite3.connect(folder / "messages.sqlite")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE message (content TEXT)")

    async def converse(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        try:
            while True:
                message = await reader.readmessage()
                if durable:
                    connection.execute("INSERT INTO message VALUES (?)", (str(message),))
                    connection.commit()
                writer.writemessage(message.create_ack())
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    async def run() -> None:
        server = await start_hl7_server(converse, HOST, 0, encoding="utf-8", limit=1 << 20)
        ready.send(server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, ready.recv)

    asyncio.run(run())


def _python_hl7_durable(folder: Path, ready: Connection) -> None:
    _python_hl7(folder, ready, durable=True)


def _hl7apy(folder: Path, ready: Connection) -> None:
    import threading

    from hl7apy.mllp import AbstractHandler, MLLPServer
    from hl7apy.parser import parse_message

    class Handler(AbstractHandler):  # type: ignore[misc]
        def reply(self) -> str:
            control_id = parse_message(self.incoming_message).msh.msh_10.to_er7()
            text = f"MSH|^~\\&|||||||ACK||P|2.5.1\rMSA|AA|{control_id}\r"
            return f"\x0b{text}\x1c\r"

    server = MLLPServer(HOST, 0, {"ORU^R01^ORU_R01": (Handler,)})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ready.send(server.server_address[1])
    ready.recv()


Server = Callable[[Path, Connection], None]
SERVERS: dict[str, tuple[Server, int]] = {
    "radloop": (_radloop, 200),
    "python-hl7": (_python_hl7, 800),
    "python-hl7 + commit": (_python_hl7_durable, 400),
    "hl7apy": (_hl7apy, 40),
}


def _messages(count: int, round_: int, lane: int) -> list[bytes]:
    keys = [f"{round_}-{lane}-{number}" for number in range(count)]
    return [
        oru(control_id=key, filler=key, accession=key, patient=f"{key}^^^HOSP", lines=LINES)
        for key in keys
    ]


def _keep_sending(port: int, messages: list[bytes]) -> None:
    for result in send_messages(HOST, port, messages):
        if result.code != "AA":
            raise RuntimeError(f"not accepted: {result}")


def _send_singly(port: int, messages: list[bytes]) -> None:
    for message in messages:
        with socket.create_connection((HOST, port)) as connection:
            connection.sendall(frame(message))
            answer = b""
            while more := connection.recv(65536):
                answer += more
        if b"MSA|AA|" not in answer:
            raise RuntimeError("not accepted")


def _rate(name: str, port: int, count: int, round_: int, connections: int) -> float:
    lanes = [_messages(count // connections, round_, lane) for lane in range(connections)]
    send = _send_singly if name == "hl7apy" else _keep_sending
    with ThreadPoolExecutor(connections) as pool:
        began = time.perf_counter()
        for done in [pool.submit(send, port, lane) for lane in lanes]:
            done.result()
    return sum(len(lane) for lane in lanes) / (time.perf_counter() - began)


def measure(rounds: int, connections: int) -> dict[str, list[float]]:
    """Return each server's messages per second, round by round."""
    context = mp.get_context("spawn")
    rates: dict[str, list[float]] = {name: [] for name in SERVERS}
    with tempfile.TemporaryDirectory() as root:
        ports, pipes, processes = {}, [], []
        for name, (server, _) in SERVERS.items():
            folder = Path(root) / name
            folder.mkdir()
            ours, theirs = context.Pipe()
            process = context.Process(target=server, args=(folder, theirs), daemon=True)
            process.start()
            ports[name] = ours.recv()
            pipes.append(ours)
            processes.append(process)
        for name, (_, count) in SERVERS.items():
            _rate(name, ports[name], max(connections, count // 10), -1, connections)
        for round_ in range(rounds):
            for name, (_, count) in SERVERS.items():
                rates[name].append(_rate(name, ports[name], count, round_, connections))
        for process in processes:
            process.terminate()
            process.join()
    return rates


def main() -> None:
    """Measure, print a table, and the ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    rates = measure(options.rounds, options.connections)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    size = len(_messages(1, 0, 0)[0])
    print(f"ORU^R01 of {size} bytes, {options.connections} connections, messages per second")
    print(f"{'server':22}{'median':>9}{'lowest':>9}{'highest':>9}{'radloop / it':>14}")
    for name, found in rates.items():
        ratio = medians["radloop"] / medians[name]
        print(f"{name:22}{medians[name]:9.0f}{min(found):9.0f}{max(found):9.0f}{ratio:14.2f}")
    result = {
        "benchmark": "hl7",
        "bytes": size,
        "connections": options.connections,
        "rounds": options.rounds,
        "messages_per_second": {name: round(value, 1) for name, value in medians.items()},
        "ratios": {
            f"radloop / {name}": round(medians["radloop"] / value, 3)
            for name, value in medians.items()
            if name != "radloop"
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

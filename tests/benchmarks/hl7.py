"""HL7 messages per second over MLLP, beside python-hl7's and hl7apy's servers in the same run.

    python -m tests.benchmarks.hl7 [--rounds 5] [--count 1200]

radloop answers AA after the message is in its journal and synced (one sync for all that waits), and
after its content was checked. The two other servers parse and answer and store nothing; hl7apy's
closes after each message, so its client connects anew each time. One client, with plain sockets and
one selector, sends to all of them and accepts only AA for the right control id. Rounds are
interleaved; only the ratios mean something on a shared machine. Last, the journal of the run is
filed, to show how fast filing follows. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing as mp
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from dicom_node.mllp.framing import END
from dicom_node.mllp.journal import Record, read_records
from dicom_node.mllp.process import JOURNAL_FOLDER, MessageReceiver
from dicom_node.settings import Hl7Settings
from tests.raw_mllp import HOST, Order, send_in_lanes

LINE = "The intervertebral disc space is narrowed with a small central herniation."
SMALL, LARGE = 17, 200  # lines: about 2 KB and 20 KB
FILED_AT_ONCE = 500
MOST_FILED = 2000


def message(key: str, lines: int) -> bytes:
    """Return an ORU^R01 with an OBX for each line."""
    segments = [
        f"MSH|^~\\&|RIS|HOSPITAL|RADLOOP|LAB|20260301120000||ORU^R01^ORU_R01|{key}|P|2.5.1",
        f"PID|1||{key}^^^HOSP^MR||DOE^JANE||19700101|F",
        f"ORC|RE|O{key}|F{key}",
        f"OBR|1|O{key}|F{key}|MRSPINE^MR lumbar spine^L|||20260228101500|||||||||||{key}"
        "||||20260301115900||MR|F",
        *(f"OBX|{number}|TX|&GDT||{LINE}||||||F" for number in range(1, lines + 1)),
    ]
    return "\r".join([*segments, ""]).encode()


def _python_hl7(ready: Connection) -> None:
    import hl7
    from hl7.mllp import start_hl7_server

    async def converse(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        try:
            while True:
                found = await reader.readmessage()
                writer.writemessage(found.create_ack())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await start_hl7_server(converse, HOST, 0, encoding="utf-8", limit=1 << 20)
        ready.send(server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, ready.recv)

    asyncio.run(run())


def _hl7apy(ready: Connection) -> None:
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


@contextmanager
def _other(server: Callable[[Connection], None]) -> Iterator[int]:
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=server, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


@contextmanager
def _radloop(folder: Path) -> Iterator[int]:
    settings = Hl7Settings(
        port=0, maximum_connections=128, connections_per_address=128, minimum_free_bytes=0
    )
    receiver = MessageReceiver(settings, folder)
    receiver.start()
    receiver.wait_until_ready()
    try:
        yield receiver.port
    finally:
        receiver.stop()


@dataclass(frozen=True)
class Cell:
    """One measurement: a server, a size, a number of connections, a number of messages."""

    server: str
    lines: int
    connections: int
    share: float  # of the messages that radloop gets

    @property
    def name(self) -> str:
        return f"{self.server} {2 if self.lines == SMALL else 20} KB x {self.connections}"


CELLS = (
    Cell("radloop", SMALL, 8, 1.0),
    Cell("python-hl7", SMALL, 8, 0.25),
    Cell("radloop", SMALL, 64, 1.0),
    Cell("python-hl7", SMALL, 64, 0.25),
    Cell("radloop", LARGE, 8, 0.5),
    Cell("radloop", LARGE, 64, 0.5),
    # Its listening socket queues five connections and it wants one for each message: with more at a
    # time the retries of TCP would be measured. Its rate is the same from one connection on.
    Cell("hl7apy", SMALL, 4, 0.02),
)
GOALS = (
    ("radloop 2 KB x 8", "python-hl7 2 KB x 8", 1.3),
    ("radloop 2 KB x 64", "python-hl7 2 KB x 64", 4.0),
    ("radloop 2 KB x 8", "hl7apy 2 KB x 4", 60.0),
    ("radloop 2 KB x 64", "hl7apy 2 KB x 4", 60.0),
    ("radloop 20 KB x 8", "radloop 2 KB x 8", 0.5),
    ("radloop 20 KB x 64", "radloop 2 KB x 64", 0.5),
)


def _send_singly(port: int, lanes: list[list[Order]]) -> float:
    """Send as hl7apy's server wants it, with a connection for each message, one thread a lane."""
    from concurrent.futures import ThreadPoolExecutor

    def send(orders: list[Order]) -> None:
        for order in orders:
            with socket.create_connection((HOST, port), timeout=60) as connection:
                connection.sendall(order.wire)
                answer = b""
                while not answer.endswith(END) and (more := connection.recv(65536)):
                    answer += more
            if order.expected not in answer:
                raise RuntimeError("not accepted")

    with ThreadPoolExecutor(len(lanes)) as pool:
        began = time.perf_counter()
        for done in [pool.submit(send, lane) for lane in lanes]:
            done.result()
    return time.perf_counter() - began


def _rate(cell: Cell, port: int, count: int, round_: int) -> float:
    each = max(1, round(count * cell.share / cell.connections))
    lanes = [
        [
            Order.of(message(f"{cell.lines}-{cell.connections}-{round_}-{lane}-{n}", cell.lines))
            for n in range(each)
        ]
        for lane in range(cell.connections)
    ]
    if cell.server == "hl7apy":
        seconds = _send_singly(port, lanes)
    else:
        seconds = send_in_lanes(port, lanes)[0]
    return each * cell.connections / seconds


def measure(rounds: int, count: int) -> tuple[dict[str, list[float]], float]:
    """Return messages per second of each cell, round by round, and those that filing takes."""
    rates: dict[str, list[float]] = {cell.name: [] for cell in CELLS}
    with tempfile.TemporaryDirectory() as root:
        with ExitStack() as stack:
            ports = {
                "radloop": stack.enter_context(_radloop(Path(root))),
                "python-hl7": stack.enter_context(_other(_python_hl7)),
                "hl7apy": stack.enter_context(_other(_hl7apy)),
            }
            for cell in CELLS:
                _rate(cell, ports[cell.server], count // 10, -1)
            for round_ in range(rounds):
                for cell in CELLS:
                    rate = _rate(cell, ports[cell.server], count, round_)
                    rates[cell.name].append(rate)
        records = [record for _, record in read_records(Path(root) / JOURNAL_FOLDER)]
        _check_complete(records, rounds, count)
        return rates, _filing_rate(Path(root), records[:MOST_FILED])


def _check_complete(records: list[Record], rounds: int, count: int) -> None:
    """Every message that was answered AA must be in the journal."""
    expected = sum(
        max(1, round(number * cell.share / cell.connections)) * cell.connections
        for cell in CELLS
        if cell.server == "radloop"
        for number in (count // 10, *[count] * rounds)
    )
    if len(records) != expected:
        raise RuntimeError(f"{expected} messages were answered, {len(records)} are in the journal")


def _filing_rate(folder: Path, records: list[Record]) -> float:
    from dicom_node.feeds.registry import Profiles
    from dicom_node.linking.links import Linking
    from dicom_node.messages import file_records
    from tests.hl7_builders import clock, database

    made = database(folder)
    settings = Hl7Settings(default_issuer_of_accession_number="SITE", accept_unknown_feeds=True)
    profiles = Profiles(settings)
    began = time.perf_counter()
    for at in range(0, len(records), FILED_AT_ONCE):
        file_records(
            made,
            records[at : at + FILED_AT_ONCE],
            profiles=profiles,
            linking=Linking(profiles=profiles),
            clock=clock,
        )
    seconds = time.perf_counter() - began
    made.close()
    return len(records) / seconds


def main() -> None:
    """Measure, print a table, and the ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=2400)
    options = parser.parse_args()
    rates, filing = measure(options.rounds, options.count)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    sizes = {f"{kb} KB": len(message("0-0-0-0", n)) for kb, n in ((2, SMALL), (20, LARGE))}
    print(f"ORU^R01, {sizes} bytes, {options.rounds} interleaved rounds, messages per second")
    print(f"{'server, size x connections':32}{'median':>9}{'lowest':>9}{'highest':>9}")
    for name, found in rates.items():
        print(f"{name:32}{medians[name]:9.0f}{min(found):9.0f}{max(found):9.0f}")
    print(f"{'filing, derived and linked':32}{filing:9.0f}")
    ratios = {}
    print(f"\n{'ratio':48}{'found':>9}{'goal':>9}")
    for one, other, goal in GOALS:
        ratio = ratios[f"{one} / {other}"] = round(medians[one] / medians[other], 3)
        reached = "" if ratio >= goal else "  MISSED"
        print(f"{one + ' / ' + other:48}{ratio:9.2f}{goal:9.2f}{reached}")
    print(
        json.dumps(
            {
                "benchmark": "hl7",
                "bytes": sizes,
                "rounds": options.rounds,
                "messages_per_second": {name: round(each, 1) for name, each in medians.items()},
                "filed_per_second": round(filing, 1),
                "ratios": ratios,
                "goals_reached": all(
                    ratios[f"{one} / {other}"] >= goal for one, other, goal in GOALS
                ),
            }
        )
    )


if __name__ == "__main__":
    main()

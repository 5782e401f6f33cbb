"""C-STORE ingest: instances per second of the receivers beside other receivers, on one machine.

    python -m tests.benchmarks.ingest [--rounds 5] [--objects 60] [--associations 1 4]

One sender for all, with requests that are encoded beforehand. Every round sends fresh objects to
every receiver in turn, so that a busy machine slows all of them alike; figures are medians over
the rounds. What a receiver promises by its answer differs: only ``radloop`` has synced file and
folder before it answers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dicom_node.receiver import Receivers
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from tests.builders import encode, mr_image
from tests.raw_dicom import EXPLICIT, RawAssociation

MR = "1.2.840.10008.5.1.4.1.1.4"
ROWS = 320
_READY_SECONDS = 30.0

Objects = Sequence[tuple[bytes, bytes]]
"""SOP Instance UIDs with their encoded data sets."""

_RAW_HANDLER = """
import sys
from pathlib import Path
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification
_config.LOG_HANDLER_LEVEL = "none"
folder, port, number = Path(sys.argv[1]), int(sys.argv[2]), 0
def store(event):
    global number
    number += 1
    (folder / str(number)).write_bytes(event.request.DataSet.getvalue())
    return 0
ae = AE("RADLOOP")
ae.maximum_pdu_size = 131072
ae.supported_contexts = AllStoragePresentationContexts
ae.add_supported_context(Verification)
ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])
"""


@contextmanager
def radloop(folder: Path) -> Iterator[tuple[str, int]]:
    """Run our receivers: several processes, every object durable before it is acknowledged."""
    DicomStore(folder).recover()
    settings = DicomSettings(port=0, minimum_free_bytes=0, accept_unknown_peers=True)
    receivers = Receivers(settings, folder)
    receivers.start()
    try:
        yield receivers.address
    finally:
        receivers.stop()


@contextmanager
def _program(command: Callable[[int], Sequence[str]]) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        command(port),
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield "127.0.0.1", port
    finally:
        # The whole session: storescp forks one process for each association.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def raw_handler(folder: Path) -> Callable[[int], list[str]]:
    """Return the command of pynetdicom alone: raw bytes to a file, nothing synced."""
    return lambda port: [sys.executable, "-c", _RAW_HANDLER, str(folder), str(port)]


def storescp(folder: Path) -> Callable[[int], list[str]]:
    """Return the command of DCMTK's storescp, which syncs nothing."""
    return lambda port: [
        "storescp", "--fork", "--max-pdu", "131072", "--output-directory", str(folder), str(port)
    ]  # fmt: skip


def orthanc(folder: Path, *, sync: bool) -> Callable[[int], list[str]]:
    """Return the command of Orthanc, with or without a sync of each file."""

    def command(port: int) -> list[str]:
        settings = {
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "HttpServerEnabled": False,
            "DicomAet": "RADLOOP",
            "DicomPort": port,
            "DicomAlwaysAllowStore": True,
            "SyncStorageArea": sync,
            "Plugins": [],
        }
        path = folder / "orthanc.json"
        path.write_text(json.dumps(settings))
        return [shutil.which("Orthanc") or "Orthanc", str(path)]

    return command


def start(stack: ExitStack, root: Path) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Start every receiver that is installed; return addresses by name, and who is absent."""
    folders = {name: root / name for name in ("radloop", "raw", "dcmtk", "sync", "nosync")}
    for folder in folders.values():
        folder.mkdir()
    running = {"radloop": stack.enter_context(radloop(folders["radloop"]))}
    absent = []
    others: dict[str, tuple[str, Callable[[int], Sequence[str]]]] = {
        "pynetdicom raw handler": (sys.executable, raw_handler(folders["raw"])),
        "dcmtk storescp --fork": ("storescp", storescp(folders["dcmtk"])),
        "Orthanc": ("Orthanc", orthanc(folders["sync"], sync=True)),
        "Orthanc, no sync": ("Orthanc", orthanc(folders["nosync"], sync=False)),
    }
    for name, (program, command) in others.items():
        if shutil.which(program) is None:
            absent.append(name)
        else:
            running[name] = stack.enter_context(_program(command))
    for address in running.values():
        _wait_until_ready(address)
    return running, absent


def _wait_until_ready(address: tuple[str, int]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            with RawAssociation(address, calling="BENCH") as association:
                if association.answer == 2 and association.echo() == 0:
                    association.release()
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise
        threading.Event().wait(0.1)


def make_objects(label: str, count: int) -> Objects:
    """Return objects that nobody has seen yet, so that none is recognised and skipped."""
    images = [mr_image(study=label, instance=number, rows=ROWS) for number in range(count)]
    return [(str(image.SOPInstanceUID).encode(), encode(image)) for image in images]


def rate(address: tuple[str, int], objects: Objects, associations: int) -> float:
    """Send the objects over several associations at once; return instances per second."""
    opened = [
        RawAssociation(address, [(MR, EXPLICIT)], calling="BENCH") for _ in range(associations)
    ]
    shares = [
        [b"".join(each.store_pdus(MR, uid, data)) for uid, data in objects[n::associations]]
        for n, each in enumerate(opened)
    ]
    failures: list[str] = []

    def send(association: RawAssociation, requests: Sequence[bytes]) -> None:
        for request in requests:
            association.socket.sendall(request)
            status = association.read_status()
            if status:
                failures.append(f"status {status:04x}")

    threads = [
        threading.Thread(target=send, args=pair) for pair in zip(opened, shares, strict=True)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    for association in opened:
        association.release()
    if failures:
        raise RuntimeError(f"{len(failures)} objects were refused, first: {failures[0]}")
    return len(objects) / seconds


def measure(
    running: dict[str, tuple[str, int]], rounds: int, objects: int, associations: Sequence[int]
) -> dict[str, dict[str, list[float]]]:
    """Return rates by receiver and number of associations, one for each round."""
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in running}
    for turn in range(-1, rounds):
        names = list(running)
        # Another one goes first in each round; round -1 only warms up.
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            for number in associations:
                fresh = make_objects(f"{name} {turn} {number}", objects if turn >= 0 else 4)
                result = rate(running[name], fresh, number)
                if turn >= 0:
                    rates[name].setdefault(str(number), []).append(result)
    return rates


def report(
    rates: dict[str, dict[str, list[float]]], absent: Sequence[str], options: argparse.Namespace
) -> None:
    """Print a table, then everything in one line of JSON."""
    medians = {
        name: {n: statistics.median(values) for n, values in by_number.items()}
        for name, by_number in rates.items()
    }
    ours = medians["radloop"]
    table = Table(title=f"C-STORE ingest, {ROWS}x{ROWS} MR, median of {options.rounds} rounds")
    table.add_column("receiver")
    for number in ours:
        table.add_column(f"instances/s, {number} assoc.", justify="right")
        table.add_column("radloop is", justify="right")
    for name, values in medians.items():
        cells = [(f"{values[n]:.1f}", f"{ours[n] / values[n]:.2f}x") for n in ours]
        table.add_row(name, *(cell for pair in cells for cell in pair))
    for name in absent:
        table.add_row(name, *(["not installed", ""] * len(ours)))
    Console().print(table)
    summary = {
        "benchmark": "ingest",
        "rounds": options.rounds,
        "objects": options.objects,
        "object_bytes": ROWS * ROWS * 2,
        "instances_per_second": medians,
        "spread": {
            name: {n: [min(v), max(v)] for n, v in by_number.items()}
            for name, by_number in rates.items()
        },
        "radloop_ratio": {
            name: {n: ours[n] / values[n] for n in ours}
            for name, values in medians.items()
            if name != "radloop"
        },
        "absent": list(absent),
    }
    print(json.dumps(summary))


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objects", type=int, default=60, help="objects in each measurement")
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running, absent = start(stack, Path(folder))
        rates = measure(running, options.rounds, options.objects, options.associations)
        report(rates, absent, options)


if __name__ == "__main__":
    main()

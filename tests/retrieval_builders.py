"""Archives to ask: dcmqrscp with a configuration, studies put into archives."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.errors import Transient
from dicom_node.retrieval.archive import Archive
from dicom_node.storage_scu import StorageSender
from dicom_node.verification_scu import echo
from plugin.simulation.ports import free_ports
from tests.builders import write_file
from tests.peers import find_program, running_orthanc


@dataclass(frozen=True)
class Address:
    """Where a peer listens."""

    port: int
    ae_title: str = "PACS"
    host: str = "127.0.0.1"


@contextmanager
def running_dcmqrscp(
    folder: Path, destinations: Mapping[str, tuple[str, int]] | None = None
) -> Iterator[Address]:
    """Run dcmtk's image archive while the block lasts; skip or fail where it is not installed."""
    program = find_program("dcmqrscp")
    storage = folder / "images"
    storage.mkdir(parents=True)
    (port,) = free_ports(1)
    hosts = [
        f"peer{number} = ({title}, {host}, {its_port})"
        for number, (title, (host, its_port)) in enumerate((destinations or {}).items())
    ]
    configuration = folder / "dcmqrscp.cfg"
    lines = [
        f"NetworkTCPPort = {port}",
        "MaxPDUSize = 16384",
        "MaxAssociations = 16",
        "HostTable BEGIN",
        *hosts,
        "HostTable END",
        "VendorTable BEGIN",
        "VendorTable END",
        "AETable BEGIN",
        f"PACS {storage} RW (1000, 1024mb) ANY",
        "AETable END",
    ]
    configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (folder / "dcmqrscp.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-c", str(configuration), "--log-level", "warn"],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = Address(port)
    try:
        _wait_for(address)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(address: Address) -> None:
    for _ in range(100):
        try:
            echo(address, "TEST")
        except Transient:
            time.sleep(0.1)
        else:
            return
    raise Transient("the archive did not start")


def fill(peer: Any, folder: Path, data_sets: Iterable[Dataset]) -> None:
    """Store objects in an archive."""
    folder.mkdir(parents=True, exist_ok=True)
    with StorageSender(peer, "TEST") as sender:
        for number, data_set in enumerate(data_sets):
            path = write_file(folder / f"{number}.dcm", data_set)
            result = sender.send(path)
            assert result.delivered, result.reason


def archive(peer: Any, **values: Any) -> Archive:
    """Return an archive to ask, with short waits."""
    quick = {"response_seconds": 20.0, "total_seconds": 60.0}
    return Archive(peer, "RADLOOP", **{**quick, **values})


def real_archive(kind: str, folder: Path, us: tuple[str, int]) -> AbstractContextManager[Any]:
    """Run ``orthanc`` or ``dcmqrscp``; it knows where RADLOOP listens, and gives by both ways."""
    if kind == "dcmqrscp":
        return running_dcmqrscp(folder, {"RADLOOP": us})
    return running_orthanc(
        folder,
        DicomModalities={"node": ["RADLOOP", *us]},
        DicomAlwaysAllowMove=True,
        DicomAlwaysAllowGet=True,
    )

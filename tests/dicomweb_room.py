"""The DICOMweb process on a free port with an empty store, and clients that say what they like."""

from __future__ import annotations

import http.client
import json
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.dicomweb.process import StowReceiver
from dicom_node.dicomweb.senders import token_digest
from dicom_node.dicomweb_settings import DicomwebSettings
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from tests.builders import encode

TOKEN = "t0ken-of-the-tests-with-more-than-32-characters"
SENDER = "WEBSENDER"
BOUNDARY = b"a-boundary-of-the-tests"
HOST = "127.0.0.1"
STORED, FAILED, OTHER = "00081199", "00081198", "0008119A"


def part10(
    data_set: Dataset,
    syntax: str = ExplicitVRLittleEndian,
    preamble: bytes = bytes(128),
    **meta: str,
) -> bytes:
    """Return a PS3.10 file as another system writes it; ``meta`` is what it says wrongly."""
    file_meta = FileMetaDataset()
    file_meta.MediaStorageSOPClassUID = meta.get("sop_class", data_set.SOPClassUID)
    file_meta.MediaStorageSOPInstanceUID = meta.get("sop_instance", data_set.SOPInstanceUID)
    file_meta.TransferSyntaxUID = UID(meta.get("stated_syntax", syntax))
    file_meta.ImplementationClassUID = UID("1.2.3.4")
    file_meta.SourceApplicationEntityTitle = "SOMEBODY"
    head = DicomBytesIO()
    write_file_meta_info(head, file_meta)
    return preamble + b"DICM" + bytes(head.getvalue()) + encode(data_set, UID(syntax))


def body_of(
    parts: Iterable[bytes],
    boundary: bytes = BOUNDARY,
    headers: bytes = b"Content-Type: application/dicom\r\n",
) -> bytes:
    """Return a request's body."""
    made = b"".join(
        b"--" + boundary + b"\r\n" + headers + b"\r\n" + part + b"\r\n" for part in parts
    )
    return made + b"--" + boundary + b"--\r\n"


def request_headers(**others: str) -> dict[str, str]:
    """Return the headers of a good request; ``others`` win, with _ for - in their names."""
    return {
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": (
            f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'
        ),
        "Accept": "application/dicom+json",
    } | {name.replace("_", "-"): value for name, value in others.items()}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def uids(self, sequence: str) -> list[str]:
        """Return the SOP Instance UIDs of a sequence."""
        items = json.loads(self.content).get(sequence, {}).get("Value", [])
        return [item["00081155"]["Value"][0] for item in items]

    def reasons(self, sequence: str = FAILED) -> list[int]:
        """Return the Failure Reasons of a sequence."""
        items = json.loads(self.content).get(sequence, {}).get("Value", [])
        return [item["00081197"]["Value"][0] for item in items]


def web_client(port: int) -> Any:
    """Return a client of another make that knows our token."""
    with warnings.catch_warnings():
        # It imports names of pydicom that will be gone one day.
        warnings.simplefilter("ignore", DeprecationWarning)
        from dicomweb_client.api import DICOMwebClient
    return DICOMwebClient(f"http://{HOST}:{port}", headers={"Authorization": f"Bearer {TOKEN}"})


class StowRoom:
    """A running process with its store.

    Args:
        folder: root of the store.
        dicom: values of [dicom].
        values: values of [dicomweb].
    """

    def __init__(self, folder: Path, dicom: Mapping[str, Any] | None = None, **values: Any) -> None:
        self.store = DicomStore(folder)
        self.store.recover()
        sender = {"ae_title": SENDER, "token_sha256": token_digest(TOKEN)}
        self.dicom = DicomSettings.model_validate({"minimum_free_bytes": 0} | dict(dicom or {}))
        self.settings = DicomwebSettings.model_validate({"port": 0, "senders": [sender]} | values)
        self.receiver = StowReceiver(self.settings, self.dicom, folder)

    @property
    def port(self) -> int:
        """The port without TLS."""
        return self.receiver.port

    def post(
        self,
        body: bytes | Iterable[bytes],
        path: str = "/studies",
        method: str = "POST",
        **headers: str,
    ) -> Answer:
        """Send one request."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            chunked = not isinstance(body, bytes)
            connection.request(
                method, path, body, request_headers(**headers), encode_chunked=chunked
            )
            found = connection.getresponse()
            return Answer(found.status, dict(found.getheaders()), found.read())
        finally:
            connection.close()

    def raw(self, data: bytes, seconds: float = 30.0) -> bytes:
        """Send bytes as they are and return everything that comes back until the end."""
        with socket.create_connection((HOST, self.port), timeout=seconds) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: _received(connection), b""))

    def temporary(self) -> list[Path]:
        """Return the files that are not finished."""
        return list(self.store.folders.temporary.iterdir())

    def spooled(self) -> list[Path]:
        """Return the objects that were kept."""
        return sorted(self.store.folders.spool.glob("*.dcm"))

    def quarantined(self) -> list[Path]:
        """Return the objects that were set aside."""
        return sorted(self.store.folders.quarantine.glob("*.dcm"))


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def raw_request(body: bytes, path: str = "/studies", **headers: str) -> bytes:
    """Return the bytes of a request whose connection closes after it."""
    found = {"Host": "node", "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"POST {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in (found | request_headers(**headers)).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def running_room(
    folder: Path, dicom: Mapping[str, Any] | None = None, **values: Any
) -> Iterator[StowRoom]:
    """Run the process while the block lasts."""
    room = StowRoom(folder, dicom, **values)
    room.receiver.start()
    try:
        room.receiver.wait_until_ready()
        yield room
    finally:
        room.receiver.stop()

"""An archive to talk to: Orthanc where it is installed, else a small one in this process."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from dicom_node.durable import write_durably
from plugin.errors import Transient
from plugin.simulation.orthanc import OrthancPacs, find_orthanc
from plugin.simulation.received import Holdings, ReceivedInstance
from plugin.simulation.retrieval import Habits, Retrieval

__all__ = ["Holdings", "OrthancPacs", "Pacs", "PacsDouble", "ReceivedInstance", "start_pacs"]

_HOST = "127.0.0.1"
_HEADER = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"),
    *("StudyInstanceUID", "Modality", "SeriesDescription", "AccessionNumber"),
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyDescription", "BodyPartExamined"),
)
_SUCCESS = 0x0000
_OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0xA700, 0xC000


class Pacs(Protocol):
    """An archive on loopback; as a peer it has a host, a port and an AE title."""

    ae_title: str
    host: str

    @property
    def port(self) -> int:
        """TCP port of the DICOM listener."""

    @property
    def description(self) -> str:
        """What it is, for people."""

    def stop(self) -> None:
        """End it; what it holds stays on disk."""

    def received(self, modality: str = "SR") -> tuple[ReceivedInstance, ...]:
        """The instances of one modality that it holds, ordered by UID."""

    def fetch(self, sop_instance_uid: str) -> bytes:
        """The DICOM file of one instance."""

    def holdings(self) -> Holdings:
        """How many patients, studies, series and instances it holds."""


def start_pacs(
    folder: Path,
    ae_title: str = "PACS",
    modalities: dict[str, tuple[str, str, int]] | None = None,
) -> Pacs:
    """Start Orthanc where it is installed, else the archive in this process.

    Args:
        folder: where the archive keeps everything.
        ae_title: its AE title.
        modalities: peers that Orthanc may send to: AE title, host and port by name.
    """
    program = find_orthanc()
    if program is not None:
        return OrthancPacs(folder, ae_title, modalities, program).start()
    return PacsDouble(folder, ae_title).start()


@dataclass(frozen=True)
class _Held:
    path: Path
    header: Dataset


class PacsDouble:
    """An archive in this process: C-ECHO, C-STORE into a folder, C-FIND, C-MOVE and C-GET.

    A file is named by the digest of its SOP Instance UID, so an instance that is sent again
    replaces itself; success is answered when the file is durable.

    Args:
        folder: where the files lie; what lies there already belongs to the archive.
        ae_title: its AE title; other called titles are refused.
        habits: how it answers to Query/Retrieve.
    """

    host = _HOST
    description = "an archive in this process (pynetdicom)"

    def __init__(self, folder: Path, ae_title: str = "PACS", habits: Habits | None = None) -> None:
        self.ae_title = ae_title
        self.habits = habits or Habits()
        self.retrieval = Retrieval(self._all_held, self.habits)
        self._folder = folder
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._server: Any = None

    def start(self) -> PacsDouble:
        """Listen on a free port of the loopback interface."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.glob("*.dcm")):
            self._hold(path, path.read_bytes())
        entity = AE(ae_title=self.ae_title)
        entity.require_called_aet = True
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax, AllTransferSyntaxes)
        entity.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self._on_store), *self.retrieval.offer(entity)]
        self._server = entity.start_server((_HOST, 0), block=False, evt_handlers=handlers)
        return self

    @property
    def port(self) -> int:
        """TCP port of the DICOM listener."""
        if self._server is None:
            raise Transient("the archive is not running")
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """End all associations and stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def received(self, modality: str = "SR") -> tuple[ReceivedInstance, ...]:
        """Return the instances of one modality, ordered by SOP Instance UID."""
        with self._lock:
            headers = [held.header for _, held in sorted(self._held.items())]
        return tuple(
            ReceivedInstance.of(header) for header in headers if header.get("Modality") == modality
        )

    def fetch(self, sop_instance_uid: str) -> bytes:
        """Return the DICOM file of one instance; KeyError where it is not held."""
        with self._lock:
            return self._held[sop_instance_uid].path.read_bytes()

    def holdings(self) -> Holdings:
        """Count what is held."""
        with self._lock:
            return Holdings.of(held.header for held in self._held.values())

    def _hold(self, path: Path, content: bytes) -> None:
        header = pydicom.dcmread(
            BytesIO(content), stop_before_pixels=True, specific_tags=list(_HEADER)
        )
        with self._lock:
            self._held[str(header.SOPInstanceUID)] = _Held(path, header)

    def _on_store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        path = self._folder / f"{hashlib.sha256(uid.encode()).hexdigest()}.dcm"
        content = event.encoded_dataset()
        try:
            write_durably(path, content)
            self._hold(path, content)
        except OSError:
            return _OUT_OF_RESOURCES
        except (InvalidDicomError, AttributeError, ValueError):
            path.unlink(missing_ok=True)
            return _CANNOT_UNDERSTAND
        return _SUCCESS

    def _all_held(self) -> list[tuple[Path, Dataset]]:
        with self._lock:
            return [(held.path, held.header) for _, held in sorted(self._held.items())]

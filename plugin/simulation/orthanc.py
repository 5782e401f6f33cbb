"""Orthanc as the archive of a simulated hospital: one process on loopback, state in a folder."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plugin.errors import Permanent, Transient
from plugin.simulation.ports import free_ports
from plugin.simulation.received import Holdings, ReceivedInstance

_HOST = "127.0.0.1"
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_ATTEMPTS = 3


def find_orthanc() -> str | None:
    """Return where Orthanc is installed; Debian puts it where users' PATH does not look."""
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    return shutil.which("Orthanc", path=places)


class OrthancPacs:
    """Runs Orthanc; an instance that is sent again replaces itself.

    Args:
        folder: its database, files, configuration and log.
        ae_title: its AE title; other called titles are refused.
        modalities: peers it may send to: AE title, host and port by name.
        program: the executable; None to search for it.
        options: configuration entries that win over ours, for example plugins and scripts.
    """

    host = _HOST

    def __init__(
        self,
        folder: Path,
        ae_title: str = "PACS",
        modalities: Mapping[str, tuple[str, str, int]] | None = None,
        program: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.ae_title = ae_title
        self._folder = folder.resolve()
        self._modalities = {name: list(peer) for name, peer in (modalities or {}).items()}
        self._program = program or find_orthanc()
        self._options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._port = self._http_port = 0
        self.description = "Orthanc"

    def start(self) -> OrthancPacs:
        """Start it on free ports and wait until it answers.

        Raises:
            Permanent: it is not installed.
            Transient: it did not come up.
        """
        if self._program is None:
            raise Permanent("Orthanc is not installed")
        self._folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):  # another program may take a port that was free just now
            self._port, self._http_port = free_ports(2)
            if self._launch():
                self.description = f"Orthanc {self._get('/system')['Version']}"
                return self
        raise Transient(f"Orthanc did not start; its log is {self._folder / 'orthanc.log'}")

    @property
    def port(self) -> int:
        """TCP port of the DICOM listener."""
        return self._port

    @property
    def http_port(self) -> int:
        """TCP port of the REST interface."""
        return self._http_port

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """End the process that was started here."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def received(self, modality: str = "SR") -> tuple[ReceivedInstance, ...]:
        """Return the instances of one modality, ordered by SOP Instance UID."""
        query = {"Level": "Series", "Query": {"Modality": modality}, "Expand": True}
        found = [
            ReceivedInstance.of(self._get(f"/instances/{instance}/simplified-tags"))
            for series in self._json("POST", "/tools/find", query)
            for instance in series["Instances"]
        ]
        return tuple(sorted(found, key=lambda instance: instance.sop_instance_uid))

    def fetch(self, sop_instance_uid: str) -> bytes:
        """Return the DICOM file of one instance; KeyError where it is not held."""
        answer = json.loads(self._request("POST", "/tools/lookup", sop_instance_uid.encode()))
        for resource in answer:
            if resource["Type"] == "Instance":
                return self._request("GET", f"/instances/{resource['ID']}/file")
        raise KeyError(sop_instance_uid)

    def holdings(self) -> Holdings:
        """Count what is held."""
        counts = self._get("/statistics")
        kinds = ("Patients", "Studies", "Series", "Instances")
        return Holdings(*(int(counts[f"Count{kind}"]) for kind in kinds))

    def verifies(self, modality: str) -> bool:
        """Send a C-ECHO to one of its modalities and tell whether it was answered."""
        try:
            self._request("POST", f"/modalities/{modality}/echo", b"{}")
        except Transient:
            return False
        return True

    def get(self, path: str) -> Any:
        """Return what its REST interface answers to a GET, decoded."""
        return self._get(path)

    def post(self, path: str, body: Any) -> Any:
        """Return what its REST interface answers to a POST of JSON, decoded."""
        return self._json("POST", path, body)

    def put(self, path: str, body: Any) -> None:
        """Put JSON to its REST interface."""
        self._request("PUT", path, json.dumps(body).encode())

    def _launch(self) -> bool:
        configuration = self._folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration(), indent=1), encoding="utf-8")
        with (self._folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program), str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                self._get("/system")
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            else:
                return True
        self.stop()
        return False

    def _configuration(self) -> dict[str, Any]:
        storage = str(self._folder / "storage")
        return {
            "Name": self.ae_title,
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "HttpPort": self._http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": self._port,
            "DicomCheckCalledAet": True,
            "StrictAetComparison": True,
            "DicomAlwaysAllowFind": True,
            "DicomModalities": self._modalities,
            "OverwriteInstances": True,
            "DefaultEncoding": "Utf8",
            "StableAge": 3,
            "SaveJobs": False,
        } | self._options

    def _get(self, path: str) -> Any:
        return self._json("GET", path)

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        return json.loads(self._request(method, path, content))

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection(_HOST, self._http_port, timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise Transient(f"Orthanc answers {answer.status} to {method} {path}")
        return content

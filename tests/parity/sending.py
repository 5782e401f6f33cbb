"""Simulated orders: slices go to a node by C-STORE, notes by MLLP.

Everything but the pixels is simulated: persons, orders, messages, and above all the pairing of
notes with images.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from dicom_node.archive_settings import PacsPeer
from dicom_node.mllp.client import send_messages
from dicom_node.storage_scu import send_instances
from plugin.errors import Transient
from plugin.simulation.dicom_objects import Equipment, StudyHeader, mr_instances
from plugin.simulation.identity import Site, draw_patient, seeded_uids
from plugin.simulation.messages import Order, report_message
from plugin.simulation.spider import equipment_of, series_of
from tests.acceptance.spider_discs import Row
from tests.parity.gradings import GradedPatient

_FIRST_DAY = dt.datetime(2026, 3, 2, 8)


@dataclass(frozen=True)
class Sender:
    """Sends to a node.

    Args:
        folder: scratch space.
        seed: of the simulated persons.
        source: folder of the slices.
        peer: where the node takes images.
        hl7_port: where it takes messages, on loopback.
    """

    folder: Path
    seed: int
    source: Path
    peer: PacsPeer
    hl7_port: int

    def header(
        self, number: int, name: str, sex: str, series: Sequence[Row], site: Site
    ) -> StudyHeader:
        """Return the header of a study; ``number`` is its accession number."""
        rng = np.random.default_rng([self.seed, 8, number])
        return StudyHeader(
            study_instance_uid=study_uid(self.seed, name),
            accession_number=str(number),
            started_at=_FIRST_DAY + dt.timedelta(minutes=40 * (number % 1000)),
            description="SPIDER lumbar MR, SIMULATED pairing with report",
            patient=draw_patient(rng, f"P{number}", site.issuer_of_patient_id, sex),
            site=site,
            equipment=equipment_of(series[0]) if series else Equipment("", "", 0.0),
            derived=True,
        )

    def send_images(self, header: StudyHeader, patient: GradedPatient) -> int:
        """Send the slices of a patient; return how many there are."""
        rng = np.random.default_rng([self.seed, 9, int(header.accession_number)])
        uids = seeded_uids(self.seed)
        instances = [
            each
            for place, series in enumerate(series_of(self.source, patient.series), start=1)
            for each in mr_instances(header, series, place, uids, rng)
        ]
        self._store(header.site.calling_ae_title, instances)
        return len(instances)

    def send_note(self, header: StudyHeader, text: str) -> None:
        """Send a note on a study as a final report."""
        site, number = header.site, header.accession_number
        order = Order(number, f"PL{number}", header.started_at, header.study_instance_uid)
        message = report_message(
            site,
            header.patient,
            order,
            text,
            control_id=f"{site.letter}{number}",
            result_status="F",
            sent_at=header.started_at + dt.timedelta(hours=3),
        )
        (answer,) = send_messages("127.0.0.1", self.hl7_port, [message])
        if answer.code != "AA":
            raise Transient(f"the node answered a message with {answer.code or 'nothing'}")

    def _store(self, calling: str, instances: Sequence[pydicom.Dataset]) -> None:
        folder = self.folder / "sending"
        folder.mkdir()
        paths = [folder / f"{number}.dcm" for number in range(len(instances))]
        for path, each in zip(paths, instances, strict=True):
            pydicom.dcmwrite(path, each, enforce_file_format=True)
        for result in send_instances(self.peer, calling, paths):
            if not result.delivered:
                raise Transient(f"the node did not take an image: {result.reason}")
        shutil.rmtree(folder)


def study_uid(seed: int, name: str) -> str:
    """Return the Study Instance UID of a patient."""
    return seeded_uids(seed)(f"parity study {name}")

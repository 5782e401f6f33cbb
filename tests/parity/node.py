"""The notes and slices go through a node: C-STORE and MLLP in, links and labels out of its tables.

Everything but the pixels and the gradings is simulated: patients, orders, messages, and above all
the pairing of notes with images.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from dicom_node.archive_settings import PacsPeer
from dicom_node.linking.decision import CONFIRMED
from dicom_node.models import Link, Report
from labeling.models import Label
from labeling.standing import newest_run
from labeling.vocabulary import WHOLE, State
from plugin.context import open_for_reading
from plugin.demo.node import DemoNode, wait_until
from plugin.errors import Transient
from plugin.settings import load_settings
from plugin.simulation.hospital import REFERENCE_COLUMNS
from plugin.simulation.identity import SITES
from plugin.simulation.ports import free_ports
from tests.parity.calibrating import ReadNote
from tests.parity.gradings import GradedPatient, Place
from tests.parity.labeling import is_present, labeling_settings
from tests.parity.sending import Sender, study_uid

Labels = dict[str, dict[Place, bool]]
"""By patient, at each place whether a label says "present"; failed ones are missing."""

_FIRST, _CALIBRATION = 500000, 900000  # accession numbers
_SETTINGS = """\
# Settings of the parity experiment, on loopback. Every patient and every report is simulated.
data_folder = "data"

[dicom]
ae_title = "RADLOOP"
port = {dicom}
accept_unknown_peers = true
study_quiet_seconds = 3.0
minimum_free_bytes = 104857600

[hl7]
port = {hl7}
default_charset = "utf-8"
{feeds}
[labeling]
{labeling}
[labeling.language_model]
{model}
[console]
port = {http}
"""


class ParityNode:
    """A node in a folder, with the notes and slices of some patients.

    Args:
        folder: of the node; what a stopped run left there is used or replaced.
        labeler: that reads.
        threads: of the language model.
        seed: of the simulated persons.
        source: folder of the slices.
    """

    def __init__(self, folder: Path, labeler: str, threads: int, seed: int, source: Path) -> None:
        self._folder, self._labeler, self._threads = folder, labeler, threads
        self._seed, self._source = seed, source
        self._sent = folder / "sent.json"
        self._calibrated = folder / "calibrated.json"

    def labels(
        self,
        patients: Sequence[GradedPatient],
        texts: Mapping[str, str],
        calibration: Sequence[ReadNote] = (),
    ) -> tuple[Labels, dict[str, Any]]:
        """Send what was not sent, let the labeler read, and return what the tables say.

        Args:
            patients: whose slices are sent.
            texts: their notes by name.
            calibration: notes of other persons, without images, on whose references thresholds are
                fitted first; empty: none are.

        Returns:
            labels by patient, and counts of what was sent, linked and read.

        Raises:
            Transient: the node did not take an image or message.
            plugin.errors.ChildFailed: a command or the node itself failed.
        """
        if not self._sent.exists():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._send_everything(patients, texts, calibration)
        node = DemoNode(self._folder / "radloop.toml", self._folder / "node.log")
        try:
            if calibration and not self._calibrated.exists():
                self._calibrate(node, calibration)
            done = node.command("label", "--labeler", self._labeler, progress=print)
        finally:
            node.stop()
        labels, linked = self._read({study_uid(self._seed, p.name): p.name for p in patients})
        sent = json.loads(self._sent.read_text(encoding="utf-8"))
        read = {key: done[key] for key in ("failed", "disagreements", "uncalibrated")}
        return labels, {**sent, "linked": linked, "read": read}

    def _calibrate(self, node: DemoNode, notes: Sequence[ReadNote]) -> None:
        path = self._folder / "references.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(REFERENCE_COLUMNS)
            for number, note in enumerate(notes):
                for (target, site), state in note.states.items():
                    subject = f"{_CALIBRATION + number}"
                    writer.writerow(("report", subject, target, site, "simulated", str(state)))
        node.command("reference", "import", str(path))
        arguments = ("--labeler", self._labeler, "--now", "--accept-unsampled", "--by", "parity")
        fitted = node.command("labeler", "calibrate", *arguments, progress=print)
        self._calibrated.write_text(json.dumps(fitted), encoding="utf-8")

    def _send_everything(
        self,
        patients: Sequence[GradedPatient],
        texts: Mapping[str, str],
        calibration: Sequence[ReadNote],
    ) -> None:
        config, ports = self._write_settings()
        peer = PacsPeer(name="node", ae_title="RADLOOP", port=ports[0])
        sent = {"instances": 0, "messages": 0, "calibration_notes": len(calibration)}
        with ExitStack() as stack:
            node = DemoNode(config, self._folder / "node.log")
            stack.callback(node.stop)
            node.command("llm", "add", "embedded")
            node.start(timeout=300)
            sender = Sender(self._folder, self._seed, self._source, peer, ports[1])
            for number, patient in enumerate(patients):
                header = sender.header(
                    _FIRST + number,
                    patient.name,
                    patient.sex,
                    patient.series,
                    SITES[number % len(SITES)],
                )
                sent["instances"] += sender.send_images(header, patient)
                sender.send_note(header, texts[patient.name])
                sent["messages"] += 1
            for number, note in enumerate(calibration):
                # This site names no study, and there is none.
                header = sender.header(_CALIBRATION + number, note.name, "", (), SITES[1])
                sender.send_note(header, note.text)

            def filed() -> bool:
                status = node.status()
                return bool(
                    status["instances"] >= sent["instances"]
                    and status["messages"] >= sent["messages"] + len(calibration)
                    and status["links"].get(CONFIRMED, 0) >= sent["messages"]
                )

            wait_until(filed, 600, "every link")
        self._sent.write_text(json.dumps(sent), encoding="utf-8")

    def _write_settings(self) -> tuple[Path, list[int]]:
        self._folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(3)
        section = labeling_settings(self._labeler, self._threads)
        model = section.pop("language_model")
        text = _SETTINGS.format(
            dicom=ports[0],
            hl7=ports[1],
            http=ports[2],
            feeds="".join(
                f'\n[[hl7.feeds]]\nname = "{site.name}"\nsender = "{site.sender}"\n'
                for site in SITES
            ),
            labeling=_lines(section),
            model=_lines(model),
        )
        path = self._folder / "radloop.toml"
        path.write_text(text, encoding="utf-8")
        return path, ports

    def _read(self, patient_of: Mapping[str, str]) -> tuple[Labels, int]:
        labels: Labels = {}
        linked = 0
        with open_for_reading(load_settings(self._folder / "radloop.toml")) as session:
            run = newest_run(session, self._labeler) if session is not None else None
            if session is None or run is None:
                raise Transient("the node has no labels")
            rows = (
                select(Link.study_instance_uid, Report.id)
                .join(Report, col(Report.id) == col(Link.report_id))
                .where(Link.state == CONFIRMED, col(Report.is_current))
            )
            for study, report in session.exec(rows).all():
                said = select(Label).where(Label.run_id == run.id, Label.report_id == report)
                found = {
                    (label.observation, label.site): is_present(State(label.state))
                    for label in session.exec(said)
                    if label.site != WHOLE
                }
                linked += 1
                labels[patient_of[study]] = {p: v for p, v in found.items() if v is not None}
        return labels, linked


def _lines(section: Mapping[str, Any]) -> str:
    """Return a section of TOML: texts, numbers and lists of texts look as they do in JSON."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items())

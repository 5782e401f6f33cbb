"""What happens in the simulated hospital: a study is sent, a message is sent."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from plugin.simulation.dicom_objects import StudyHeader, mr_instances
from plugin.simulation.identity import UidSource
from plugin.simulation.spines import ImagedSpine


@dataclass(frozen=True)
class SimulatedStudy:
    """A study that can be sent; its pixels are drawn when asked for and not kept."""

    header: StudyHeader
    spine: ImagedSpine
    uids: UidSource
    seed: int

    @property
    def study_instance_uid(self) -> str:
        """The Study Instance UID."""
        return self.header.study_instance_uid

    def datasets(self) -> list[Dataset]:
        """Return the study's instances, out of order within each series."""
        rng = np.random.default_rng(self.seed)
        return [
            instance
            for number, series in enumerate(self.spine.draw(), start=1)
            for instance in mr_instances(self.header, series, number, self.uids, rng)
        ]


@dataclass(frozen=True)
class SendStudy:
    """The moment at which a modality sends a study."""

    at: dt.datetime
    study: SimulatedStudy


@dataclass(frozen=True)
class SendMessage:
    """The moment at which a report system sends a message; ``sender`` is MSH-3|MSH-4."""

    at: dt.datetime
    message_control_id: str
    sender: str
    content: bytes


Event = SendStudy | SendMessage

"""The simulated hospital at work: studies by C-STORE, messages by MLLP, in the plan's order."""

from __future__ import annotations

import multiprocessing
import shutil
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from dicom_node.archive_settings import PacsPeer
from dicom_node.mllp.client import send_messages
from dicom_node.storage_scu import send_instances
from plugin.demo.display import Say
from plugin.errors import Transient
from plugin.simulation.hospital import HospitalPlan
from plugin.simulation.hospital_events import SendMessage, SendStudy, SimulatedStudy

_DRAWN_AHEAD = 4  # studies that wait on disk to be sent
_DRAWING_PROCESSES = 2

Event = SendStudy | SendMessage


@dataclass
class Sent:
    """What the node acknowledged."""

    studies: int = 0
    instances: int = 0
    messages: int = 0
    acknowledgements: Counter[str] = field(default_factory=Counter)


class Hospital:
    """Sends the plan's events to the node, and the awaiting studies to the archive as well.

    Args:
        plan: what is sent.
        node: where the node listens for images.
        hl7_port: where it listens for messages, on loopback.
        archive: the PACS that gets the structured reports; it must hold their studies.
        folder: scratch space; each study is written there, sent and removed.
    """

    def __init__(
        self, plan: HospitalPlan, node: PacsPeer, hl7_port: int, archive: PacsPeer, folder: Path
    ) -> None:
        self._plan = plan
        self._node = node
        self._archive = archive
        self._hl7_port = hl7_port
        self._folder = folder
        self.sent = Sent()

    def send_everything(self, say: Say) -> Sent:
        """Send every event in order; an object or message that is not taken is an error.

        Raises:
            Transient: the node or the archive did not take something.
        """
        with ExitStack() as stack:
            for number, (event, paths) in enumerate(self._events(stack), start=1):
                if isinstance(event, SendStudy):
                    self._send_study(event.study, paths)
                else:
                    self._send_message(event)
                say(
                    f"event {number} of {len(self._plan.events)}: {self.sent.studies} studies, "
                    f"{self.sent.instances:,} instances, {self.sent.messages} messages"
                )
        return self.sent

    def _events(self, stack: ExitStack) -> Iterator[tuple[Event, list[Path]]]:
        """Yield every event with its files; other processes draw the next studies meanwhile."""
        spawn = multiprocessing.get_context("spawn")
        pool = stack.enter_context(ProcessPoolExecutor(_DRAWING_PROCESSES, mp_context=spawn))
        stack.callback(lambda: pool.shutdown(cancel_futures=True))
        coming = iter(enumerate(each for each in self._plan.events if isinstance(each, SendStudy)))
        drawn: deque[Future[list[Path]]] = deque()

        def draw_next() -> None:
            for number, event in coming:
                drawn.append(pool.submit(draw_study, event.study, self._folder / f"{number:04d}"))
                return

        for _ in range(_DRAWN_AHEAD):
            draw_next()
        for event in self._plan.events:
            if isinstance(event, SendStudy):
                paths = drawn.popleft().result()
                draw_next()
                yield event, paths
            else:
                yield event, []

    def _send_study(self, study: SimulatedStudy, paths: list[Path]) -> None:
        calling = study.header.site.calling_ae_title
        self.sent.instances += _send(self._node, calling, paths)
        if study.study_instance_uid in self._plan.awaiting:
            _send(self._archive, calling, paths)
        shutil.rmtree(paths[0].parent)
        self.sent.studies += 1

    def _send_message(self, event: SendMessage) -> None:
        (answer,) = send_messages("127.0.0.1", self._hl7_port, [event.content])
        if answer.code != "AA":
            raise Transient(f"the node answered a message with {answer.code or 'nothing'}")
        self.sent.messages += 1
        self.sent.acknowledgements[answer.code] += 1


def draw_study(study: SimulatedStudy, folder: Path) -> list[Path]:
    """Draw a study and write its instances into ``folder``; runs in a process of its own."""
    folder.mkdir(parents=True)
    paths = []
    for number, dataset in enumerate(study.datasets()):
        path = folder / f"{number:04d}.dcm"
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        paths.append(path)
    return paths


def _send(peer: PacsPeer, calling_ae_title: str, paths: Sequence[Path]) -> int:
    """Send a study over an association of its own, as a modality does."""
    for result in send_instances(peer, calling_ae_title, paths):
        if not result.delivered:
            raise Transient(f"the {peer.name} did not take an image: {result.reason}")
    return len(paths)

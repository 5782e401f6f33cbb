"""A node that fetches, an archive that holds, and a clock that the test owns."""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from sqlmodel import col, select

from dicom_node.arrivals import nanoseconds
from dicom_node.indexing import index_spool
from dicom_node.messages import receive
from dicom_node.models import Study
from dicom_node.receiver import Receivers
from dicom_node.retrieval.models import Retrieval
from dicom_node.solicited import solicited_studies
from dicom_node.storage import DicomStore
from plugin.context import Context, open_context
from plugin.linking import study_linker
from plugin.operations import run_operation
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.simulation.pacs import PacsDouble
from plugin.simulation.ports import free_ports
from plugin.simulation.retrieval import Habits
from plugin.stages.retrieve import Retriever
from tests.builders import received
from tests.peers import running_pacs
from tests.retrieval_builders import fill

START = dt.datetime(2026, 3, 4, 12, 0, tzinfo=dt.UTC)
PACS = """
[[pacs]]
name = "pacs"
ae_title = "PACS"
port = {port}
retrieve = "{way}"
issuer_of_patient_id = "HOSP"
issuer_of_accession_number = "RIS"
first_retry_seconds = 1.0
"""


@dataclass
class Room:
    """An open node beside an archive; receivers run where it fetches by C-MOVE."""

    context: Context
    pacs: Any
    folder: Path
    now: list[dt.datetime]
    retriever: Retriever = field(init=False)

    def __post_init__(self) -> None:
        self.retriever = Retriever(self.context)

    @property
    def asked(self) -> list[str]:
        """The studies that the double was asked to send."""
        pacs: PacsDouble = self.pacs
        return pacs.retrieval.moved

    def hold(self, *data_sets: Dataset) -> None:
        """Have the archive hold objects."""
        fill(self.pacs, self.folder / f"sent{len(list(self.folder.iterdir()))}", data_sets)

    def take(self, *data_sets: Dataset) -> None:
        """Have objects come to the node on their sender's account."""
        store = DicomStore(self.context.folder.root)
        for data_set in data_sets:
            store.date_spooled(store.store(received(data_set)), nanoseconds(self.now[0]))
        self.index()

    def file(self, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
        """Write a file of requests; return its path."""
        path = self.folder / "asked.csv"
        with path.open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows([header or ["accession_number"], *rows])
        return str(path)

    def index(self) -> None:
        """Index what lies in the spool."""
        context = self.context
        index_spool(
            context.database,
            DicomStore(context.folder.root),
            context.settings.dicom,
            context.clock,
            study_linker(context),
            context.sandbox,
        )

    def pass_time(self, seconds: float) -> None:
        """Have time pass."""
        self.now[0] += dt.timedelta(seconds=seconds)

    def work(self, rounds: int = 30, seconds: float = 200.0) -> None:
        """Work until nothing is due, indexing and letting time pass in between."""
        for _ in range(rounds):
            self.retriever.attend()
            self.index()
            self.pass_time(seconds)

    def rows(self) -> list[Retrieval]:
        """Return the rows of retrieval, in order."""
        with self.context.database.read() as session:
            return list(session.exec(select(Retrieval).order_by(col(Retrieval.id))))

    def states(self) -> list[str]:
        """Return the states of all rows, in order."""
        return [row.state for row in self.rows()]

    def solicited(self) -> set[str]:
        """Return the studies that are never answered."""
        with self.context.database.read() as session:
            return set(solicited_studies(session))


@contextmanager
def retrieval_room(
    folder: Path, way: str = "move", pacs: Any = None, extra: str = "", port: int = 0
) -> Iterator[Room]:
    """Open a node beside an archive; without ``pacs`` beside the one of this process."""
    with ExitStack() as stack:
        port = port or free_ports(1)[0]
        if pacs is None:
            habits = Habits(destinations={"RADLOOP": ("127.0.0.1", port)})
            pacs = stack.enter_context(running_pacs(folder / "pacs", habits=habits))
        path = folder / "radloop.toml"
        text = render(dicom_port=port).replace("minimum_free_bytes = 1073741824", "")
        text = text.replace("[dicom] ", "[dicom]\nminimum_free_bytes = 0\n#")
        if "[retrieval]" in extra:
            text = re.sub(r"(?s)\n\[retrieval\].*?(?=\n\[)", "", text)
        path.write_text(text + PACS.format(port=pacs.port, way=way) + extra, encoding="utf-8")
        now = [START]
        context = stack.enter_context(open_context(load_settings(path), lambda: now[0]))
        DicomStore(context.folder.root).recover()
        if way == "move":
            receivers = Receivers(
                context.settings.dicom.model_copy(update={"receiver_processes": 1}),
                context.folder.root,
            )
            receivers.start()
            stack.callback(receivers.stop)
            receivers.wait_until_ready()
        yield Room(context, pacs, folder, now)


def studies(names: Iterable[str], images: int = 2, **values: Any) -> list[Any]:
    """Return images of studies, each with the accession number ``A-NAME``."""
    from tests.builders import mr_image

    return [
        mr_image(study=name, patient=values.get("patient", f"P{name}"), instance=number)
        for name in names
        for number in range(1, images + 1)
    ]


def start(room: Room, *rows: list[str], header: list[str] | None = None, **values: Any) -> Any:
    """Have a list of accession numbers fetched."""
    arguments = {"path": room.file(rows, header or []), "peer": "", "priors": 0, "name": "all"}
    return run_operation(room.context, "backfill start", {**arguments, **values}, print)


def indexed(room: Room) -> set[str]:
    """Return the studies that the node holds."""
    with room.context.database.read() as session:
        return set(session.exec(select(Study.study_instance_uid)))


def tell(room: Room, message: bytes) -> None:
    """File an HL7 message."""
    context = room.context
    receive(
        context.database,
        message,
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )

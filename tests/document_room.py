"""A node that receives documents: what tests of documents share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from sqlmodel import SQLModel, select

from dicom_node.arrivals import nanoseconds
from dicom_node.documents.models import DicomDocument
from dicom_node.indexing import index_spool
from dicom_node.models import Transmission
from dicom_node.sr.building import build_structured_report
from dicom_node.storage import DicomStore
from plugin.context import Context, open_context
from plugin.linking import study_linker
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.documents import DocumentsRead, read_documents
from tests.builders import mr_image, received, uid
from tests.sr_builders import ALGORITHM, ANALYSED_AT, DEVICE, MRI, findings

S1 = uid("study", "S1")
SETTINGS = """
[[prediction]]
model = "spine"
modality = "MR"

[[hl7.feeds]]
sender = "SR|PACS"
"""
NOW = dt.datetime(2026, 2, 1, 12, tzinfo=dt.UTC)


@contextmanager
def document_room(folder: Path, settings: str = SETTINGS) -> Iterator[Context]:
    """Open a node in a folder."""
    path = folder / "radloop.toml"
    path.write_text(render() + settings, encoding="utf-8")
    with open_context(load_settings(path)) as context:
        yield context


class Store:
    """Receives objects in order, indexes them and reads the documents among them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._taken = 0

    def __call__(
        self, *data_sets: Dataset, way: str = "", read: bool = True, calling: str = "PACS"
    ) -> DocumentsRead:
        """Receive these, a second after each other."""
        context = self._context
        store = DicomStore(context.folder.root)
        store.make_folders()
        for each in data_sets:
            digest = store.store(received(each, calling=calling, way=way))
            moment = NOW + dt.timedelta(seconds=self._taken)
            self._taken += 1
            with suppress(FileNotFoundError):  # these bytes are here already
                store.date_spooled(digest, nanoseconds(moment))
        index_spool(
            context.database,
            store,
            context.settings.dicom,
            context.clock,
            study_linker(context),
            context.sandbox,
        )
        return read_documents(context) if read else DocumentsRead()


def image(instance: int = 1, study: str = "S1", **values: Any) -> Dataset:
    return mr_image(study=study, instance=instance, IssuerOfPatientID="HOSP", **values)


def rows(context: Context, table: type[SQLModel]) -> list[Any]:
    with context.database.read() as session:
        return list(session.exec(select(table)))


def kinds(context: Context) -> dict[str, str]:
    return {each.sop_instance_uid: each.kind for each in rows(context, DicomDocument)}


def ours(context: Context, evidence: Dataset) -> Dataset:
    """Return a structured report of ours that was sent to an archive."""
    document = build_structured_report(
        [evidence], findings(), ALGORITHM, DEVICE, MRI, ANALYSED_AT, ("weights",)
    )
    path = context.folder.root / "sent.dcm"
    document.save_as(path, enforce_file_format=True)
    with context.database.write() as session:
        session.add(
            Transmission(
                sop_instance_uid=document.SOPInstanceUID,
                sop_class_uid=document.SOPClassUID,
                study_instance_uid=document.StudyInstanceUID,
                peer="pacs",
                path="sent.dcm",
                state="delivered",
                created_at=NOW,
                delivered_at=NOW,
            )
        )
    return document

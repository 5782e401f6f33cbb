"""Builders of HL7 messages and of a database for tests of the HL7 room."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pytest
from sqlmodel import Session, SQLModel

from dicom_node.database import Database
from dicom_node.feeds.registry import Profiles
from dicom_node.linking.links import Linking, relink
from dicom_node.linking.touched import Touched
from dicom_node.messages import Filed
from dicom_node.messages import receive as file_messages
from dicom_node.models import Study
from dicom_node.settings import Hl7Settings, LinkingSettings

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
HL7 = Hl7Settings(
    default_charset="utf-8",
    default_issuer_of_accession_number="SITE",
    accept_unknown_feeds=True,
)
LINKING = LinkingSettings()
TEXT = ("FINDINGS: L4/L5 disc narrowed.", "IMPRESSION: degenerative disc disease.")


def clock() -> dt.datetime:
    """The time of every test."""
    return NOW


def oru(
    *,
    control_id: str = "M1",
    sender: str = "RIS|HOSPITAL",
    processing: str = "P",
    version: str = "2.5.1",
    charset: str = "",
    time: str = "20260301120000",
    patient: str = "P1^^^HOSP^MR",
    name: str = "DOE^JANE",
    birth_date: str = "19700101",
    sex: str = "F",
    placer: str = "O1",
    filler: str = "F1",
    accession: str = "A1",
    observed: str = "20260228101500",
    changed: str = "20260301115900",
    status: str = "F",
    lines: Iterable[str] = TEXT,
    line_status: str | None = None,
    study_uids: Iterable[str] = (),
    extra: Iterable[str] = (),
    encoding: str = "utf-8",
) -> bytes:
    """Build an ORU^R01; one OBX of type TX for each line, one of type ST for each study UID."""
    code = status if line_status is None else line_status
    segments = [
        f"MSH|^~\\&|{sender}|RADLOOP|LAB|{time}||ORU^R01^ORU_R01|{control_id}|{processing}"
        f"|{version}||||||{charset}",
        f"PID|1||{patient}||{name}||{birth_date}|{sex}",
        f"ORC|RE|{placer}|{filler}",
        f"OBR|1|{placer}|{filler}|MRSPINE^MR lumbar spine^L|||{observed}|||||||||||{accession}"
        f"||||{changed}||MR|{status}",
    ]
    uids = [f"ST|113014^DICOM Study^DCM||{uid}||||||O" for uid in study_uids]
    texts = [f"TX|&GDT||{line}||||||{code}" for line in lines]
    numbered = enumerate([*uids, *texts], start=1)
    segments += [f"OBX|{number}|{rest}" for number, rest in numbered]
    return "\r".join([*segments, *extra, ""]).encode(encoding)


def merge(
    prior: str, survivor: str, *, control_id: str = "MERGE1", sender: str = "ADT|HOSPITAL"
) -> bytes:
    """Build an ADT^A40."""
    return "\r".join(
        (
            f"MSH|^~\\&|{sender}|RADLOOP|LAB|20260301120000||ADT^A40^ADT_A39|{control_id}|P|2.5.1",
            f"PID|||{survivor}||DOE^JANE",
            f"MRG|{prior}",
            "",
        )
    ).encode()


def study(uid: str = "1.2.3", **changes: object) -> Study:
    """A study that fits the message of ``oru()``."""
    values: dict[str, object] = {
        "patient_id": "P1",
        "issuer_of_patient_id": "HOSP",
        "patient_name": "Doe^Jane",
        "patient_birth_date": "19700101",
        "patient_sex": "F",
        "accession_number": "A1",
        "issuer_of_accession_number": "SITE",
        "accession_issuer_assumed": True,
        "study_date": "20260228",
        "first_received_at": NOW,
        "last_received_at": NOW,
    }
    return Study(study_instance_uid=uid, **(values | changes))


def database(folder: Path) -> Database:
    """Open the database in a folder; make an empty one where there is none."""
    path = folder / "node.sqlite"
    if not path.exists():
        path.write_bytes(_empty_database())
    return Database(f"sqlite:///{path}")


@lru_cache(maxsize=1)
def _empty_database() -> bytes:
    """The tables are made once; a copy of the file takes a fraction of the time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.sqlite"
        made = Database(f"sqlite:///{path}")
        SQLModel.metadata.create_all(made.engine)
        made.close()
        return path.read_bytes()


def linking_of(hl7: Hl7Settings = HL7, linking: LinkingSettings = LINKING) -> Linking:
    """How links are decided under these settings."""
    return Linking(linking, Profiles(hl7))


def receive(
    made: Database,
    *messages: bytes,
    hl7: Hl7Settings = HL7,
    linking: LinkingSettings = LINKING,
) -> list[Filed]:
    """File messages one after another, with linking."""
    how = linking_of(hl7, linking)
    return [
        file_messages(made, content, profiles=how.profiles, linking=how, clock=clock)
        for content in messages
    ]


def arrive(session: Session, row: Study, linking: LinkingSettings = LINKING) -> None:
    """Add a study as the index does, and decide about its reports."""
    add(session, row)
    relink(session, Touched(studies={row.study_instance_uid}), linking_of(linking=linking), clock)


def add(session: Session, *rows: SQLModel) -> None:
    """Add rows and flush."""
    session.add_all(rows)
    session.flush()


def ack_code(ack: bytes) -> str:
    """MSA-1."""
    return ack.split(b"\rMSA|")[1].split(b"|")[0].decode()


def shared_folder(name: str) -> Path:
    """A folder of the shared data; the test is skipped where it is absent."""
    root = Path(os.environ.get("RADLOOP_SHARED", Path(__file__).parents[2] / "shared"))
    found = root / "data" / name
    if not found.is_dir():
        pytest.skip(f"needs {name} from the shared data (RADLOOP_SHARED)")
    return found

"""Whatever arrives, in any order, and whatever persons decide: files alone give the same index.

After every step the index is checked as well: no study holds objects of two patients, every byte
that was acknowledged is kept once, and every file lies where its rows say.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from sqlmodel import col, select

from dicom_node.arrivals import arrival_time, declared_identity
from dicom_node.database import Database
from dicom_node.errors import Permanent
from dicom_node.headers import read_header
from dicom_node.models import Instance, Quarantined, Series, Study
from tests.builders import mr_image, received, uid
from tests.index_room import Room, index_database, index_room

PIXELS = (bytes(128), bytes(range(128)))

objects = st.fixed_dictionaries(
    {
        "study": st.sampled_from(["A", "A", "A", "B"]),
        "instance": st.sampled_from([1, 1, 2]),
        "patient": st.sampled_from(["P1", "P1", "P1", "P2", ""]),
        "name": st.sampled_from(["", "", "Right^Name"]),
        "description": st.sampled_from(["", "corrected"]),
        "pixels": st.sampled_from([0, 0, 0, 0, 0, 1]),
        "series": st.sampled_from(["", "", "", "", "", "", "A", "B"]),
        "sop": st.sampled_from(["", "", "", "", "", "", "A"]),
        "syntax": st.sampled_from(["", "", "", ImplicitVRLittleEndian]),
        "broken": st.sampled_from([False] * 9 + [True]),
        "late": st.integers(-3, 3),
    }
)
steps = st.one_of(
    objects.map(lambda each: ("take", each)),
    objects.map(lambda each: ("take", each)),
    objects.map(lambda each: ("take", each)),
    objects.map(lambda each: ("refuse", each)),
    st.just(("index", None)),
    st.tuples(st.sampled_from(["accept", "reject"]), st.integers(0, 20)),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with index_database(tmp_path_factory.mktemp("index")) as database:
        yield database


def _image(each: dict[str, Any]) -> Dataset:
    image = mr_image(study=each["study"], patient=each["patient"], instance=each["instance"])
    image.PixelData = PIXELS[each["pixels"]]
    if each["name"]:
        image.PatientName = each["name"]
    if each["description"]:
        image.StudyDescription = each["description"]
    if each["series"]:
        image.SeriesInstanceUID = uid("series", each["series"], "1")
    if each["sop"]:
        image.SOPInstanceUID = uid("instance", each["sop"], "1", each["instance"])
    return image


def _do(room: Room, kind: str, what: Any) -> None:
    if kind == "index":
        room.index()
    elif kind in ("accept", "reject"):
        room.index()
        with room.database.read() as session:
            rows = session.exec(select(Quarantined.digest).order_by(col(Quarantined.digest))).all()
        if rows:
            try:
                room.decide(kind, rows[what % len(rows)])
            except Permanent:
                return
    else:
        _receive(room, kind, what)


def _receive(room: Room, kind: str, what: dict[str, Any]) -> None:
    image = received(_image(what), what["syntax"] or "1.2.840.10008.1.2.1")
    if what["broken"]:
        image = type(image)(**{**image.__dict__, "data": bytes(image.data)[:300] + b"\xff" * 40})
    if kind == "refuse":
        room.store.quarantine(image, "a reason")
        return
    digest = room.store.store(image)
    path = room.store.folders.spooled(digest)
    if path.exists():
        # Clocks are set back, and receivers date files in another order than they name them.
        when = room.now + dt.timedelta(microseconds=what["late"])
        room.store.date_spooled(digest, int(when.timestamp() * 1e6) * 1000)
    room.now += dt.timedelta(microseconds=1)


def _check(room: Room) -> None:
    room.index()
    with room.database.read() as session:
        studies = {each.study_instance_uid: each for each in session.exec(select(Study))}
        rows = session.exec(
            select(Instance, Series.study_instance_uid).join(
                Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid)
            )
        ).all()
        aside = session.exec(select(Quarantined)).all()
    patients: dict[str, set[str]] = {}
    for instance, study in rows:
        path = room.store.folders.archived(instance.digest)
        header = read_header(path)
        assert header.sop_instance_uid == instance.sop_instance_uid
        assert declared_identity(header) == instance.declared_identity
        assert arrival_time(path.stat()) == instance.received_at
        if header.patient_id:
            patients.setdefault(study, set()).add(header.patient_id)
        assert studies[study].first_received_at <= instance.received_at
        assert studies[study].last_received_at >= instance.received_at
    for study, found in patients.items():
        assert found == {studies[study].patient_id}
    for row in aside:
        if row.state != "accepted" and row.cause != "refused":
            path = room.store.quarantined_path(row.digest)
            assert arrival_time(path.stat()) == row.received_at
            assert room.store.notice_path(row.digest).exists()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=2, max_size=14))
def test_index_equals_its_files(database: Database, history: list[tuple[str, Any]]) -> None:
    with index_room(database) as room:
        acknowledged: set[str] = set()
        for kind, what in history:
            _do(room, kind, what)
            acknowledged |= {path.stem for path in room.store.root.rglob("*.dcm")}
        _check(room)
        before, places = room.dump(), room.places()
        assert {Path(name).stem for name in places if name.endswith(".dcm")} == acknowledged
        room.forget()
        result = room.reindex()
        assert room.dump() == before
        assert room.places() == places
        assert result.moved == 0
        room.reindex()
        assert room.dump() == before

"""The stage that sends structured reports, to an archive that takes them by STOW-RS."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from dicom_node.archive_settings import PacsPeer
from dicom_node.models import Transmission
from plugin.context import Context, open_context
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.simulation.pacs import PacsDouble
from plugin.stages.send import send_report
from tests.builders import mr_image, uid, write_file
from tests.cohort_builders import add_said, add_study
from tests.index_room import NOW
from tests.stow_archive import Scripted, reference, scripted_archive, sequence

STUDY = uid("study", "S1")
IMAGE = mr_image()
UID = str(IMAGE.SOPInstanceUID)
STORED = {"00081199": sequence(reference(UID, "1.2.840.10008.5.1.4.1.1.4"))}


@pytest.fixture
def archive() -> Iterator[Scripted]:
    with scripted_archive() as made:
        yield made


@pytest.fixture
def context(tmp_path: Path, archive: Scripted) -> Iterator[Context]:
    config = tmp_path / "radloop.toml"
    config.write_text(render())
    peer = PacsPeer(stow_url=archive.url, maximum_attempts=3, token_variable="STOW_TOKEN")
    settings = load_settings(config).model_copy(update={"pacs": (peer,)})
    with open_context(settings) as opened:
        path = write_file(opened.folder.reports / "1.dcm", IMAGE)
        with opened.database.write() as session:
            add_study(session, STUDY, "P1")
            add_said(session, STUDY, UID)
            session.add(
                Transmission(
                    sop_instance_uid=UID, sop_class_uid="1.2", study_instance_uid=STUDY,
                    peer="pacs", path=os.path.relpath(path, opened.folder.root), created_at=NOW,
                )
            )  # fmt: skip
        yield opened


def became(context: Context) -> tuple[str, int | None, str]:
    with context.database.read() as session:
        row = session.exec(select(Transmission)).one()
        return row.state, row.last_status, row.last_error or ""


def held_by(patient: str) -> list[dict[str, Any]]:
    return [
        {"0020000D": {"vr": "UI", "Value": [STUDY]}, "00100020": {"vr": "LO", "Value": [patient]}}
    ]


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOW_TOKEN", "token")


def test_a_report_is_delivered_after_the_archive_was_asked(
    context: Context, archive: Scripted
) -> None:
    archive.says(200, STORED)
    archive.answers["GET"] = (204, b"")
    assert send_report(context, UID, "pacs", 1) is None
    assert became(context) == ("delivered", 0, "")
    assert [each.method for each in archive.asked] == ["GET", "POST"]
    assert {each.headers["Authorization"] for each in archive.asked} == {"Bearer token"}


def test_a_study_of_another_patient_gets_no_report(context: Context, archive: Scripted) -> None:
    archive.says(200, held_by("SOMEBODY ELSE"))
    assert send_report(context, UID, "pacs", 1) is None
    state, _, reason = became(context)
    assert (state, reason) == ("failed", "the archive holds this study with another PatientID")
    assert [each.method for each in archive.asked] == ["GET"]


def test_a_busy_archive_is_asked_again_when_it_says(context: Context, archive: Scripted) -> None:
    archive.answers["GET"] = (204, b"")
    archive.says(503, b"", Retry_After="120")
    assert send_report(context, UID, "pacs", 1) == 120.0
    assert became(context)[0] == "queued"
    archive.says(503, b"")
    assert send_report(context, UID, "pacs", 2) == 4.0
    assert send_report(context, UID, "pacs", 3) is None
    assert became(context)[0] == "failed"


def test_an_answer_that_does_not_name_it_is_no_delivery(
    context: Context, archive: Scripted
) -> None:
    archive.answers["GET"] = (204, b"")
    archive.says(200, {})
    assert send_report(context, UID, "pacs", 1) is None
    assert became(context)[0] == "failed"


def test_without_its_token_nothing_is_sent(
    context: Context, archive: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STOW_TOKEN")
    assert send_report(context, UID, "pacs", 1) is None
    state, _, reason = became(context)
    assert state == "failed"
    assert "STOW_TOKEN" in reason
    assert not archive.asked


def test_an_archive_with_a_port_is_asked_by_c_find(
    context: Context, archive: Scripted, tmp_path: Path
) -> None:
    double = PacsDouble(tmp_path / "archive").start()
    try:
        peer = PacsPeer(
            ae_title=double.ae_title, host=double.host, port=double.port, stow_url=archive.url
        )
        changed = context.settings.model_copy(update={"pacs": (peer,)})
        object.__setattr__(context, "settings", changed)
        archive.says(200, STORED)
        assert send_report(context, UID, "pacs", 1) is None
        assert became(context)[0] == "delivered"
        assert [each.method for each in archive.asked] == ["POST"]
    finally:
        double.stop()

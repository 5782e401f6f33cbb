"""A person lists, shows, exports, accepts and rejects; the index is rebuilt, even from nothing."""

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dicom_node.archive_settings import PacsPeer
from dicom_node.models import Quarantined, Transmission
from dicom_node.storage import DicomStore
from plugin.cli import app
from plugin.context import open_context
from plugin.control import ControlServer
from plugin.errors import Permanent
from plugin.folders import DataFolder
from plugin.operations import operate, run_operation
from plugin.pipeline import waiting_transmissions
from plugin.settings import Settings, load_settings
from plugin.settings_template import render
from plugin.simulation.pacs import PacsDouble
from plugin.stages.send import send_report
from plugin.status import node_status
from plugin.status_tables import render_status
from tests.builders import mr_image, received, uid, write_file
from tests.cohort_builders import add_said, add_study
from tests.index_room import NOW

OTHER_PIXELS = bytes(128)
STUDY = uid("study", "S1")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "radloop.toml"
    path.write_text(render().replace("minimum_free_bytes = 1073741824", "minimum_free_bytes = 0"))
    return path


@pytest.fixture
def settings(config: Path) -> Settings:
    return load_settings(config)


@pytest.fixture
def second(settings: Settings) -> str:
    """Spool an object and another one in conflict with it; return the digest of the second."""
    store = DicomStore(settings.data_folder)
    store.recover()
    first = store.store(received(mr_image()))
    later = store.store(received(mr_image(PixelData=OTHER_PIXELS, StudyDescription="\x1b[31mred")))
    for number, digest in enumerate((first, later)):
        store.date_spooled(digest, 1_700_000_000_000_000_000 + number * 1000)
    return later


def command(config: Path, *arguments: str) -> Result:
    """Run the command line in this process: starting Python takes longer than the work."""
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


def answer(config: Path, *arguments: str) -> dict[str, Any]:
    done = command(config, *arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    connection = sqlite3.connect(DataFolder(settings.data_folder).database)
    tables = ("study", "series", "instance", "superseded_instance", "quarantine_decision")
    found = {
        table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall()) for table in tables
    }
    connection.close()
    return found


def test_from_quarantine_to_a_decision_and_back_from_files(
    config: Path, settings: Settings, second: str, tmp_path: Path
) -> None:
    assert answer(config, "reindex")["indexed"] == 1
    listed = answer(config, "quarantine", "list")
    assert [row["digest"] for row in listed["quarantined"]] == [second]
    assert [row["study_instance_uid"] for row in listed["frozen"]] == [STUDY]

    shown = answer(config, "quarantine", "show", second[:12])
    assert shown["cause"] == "content"
    assert [row["field"] for row in shown["differences"]] == ["study_description"]

    copy = tmp_path / "copy.dcm"
    assert command(config, "quarantine", "export", second, str(copy)).exit_code == 0
    assert copy.read_bytes().endswith(bytes(received(mr_image(PixelData=OTHER_PIXELS)).data)[-128:])
    again = command(config, "quarantine", "export", second, str(copy))
    assert "exists already" in str(again.exception)

    done = answer(config, "quarantine", "accept", second, "--by", "MTA", "--reason", "repeated")
    assert (done["state"], done["superseded"]) == ("accepted", 1)
    assert answer(config, "quarantine", "list")["frozen"] == []

    before = rows(settings)
    for path in settings.data_folder.glob("radloop.sqlite*"):
        path.unlink()
    assert answer(config, "reindex")["instances"] == 1
    assert rows(settings) == before
    assert answer(config, "reindex", "--dry-run")["dry_run"] is True
    assert rows(settings) == before

    done = answer(config, "quarantine", "reject", second, "--by", "MTA", "--reason", "no")
    assert done["state"] == "rejected"
    refused = command(config, "quarantine", "reject", second, "--by", "MTA", "--reason", "no")
    assert "rejected already" in str(refused.exception)


def test_commands_travel_through_the_running_node(settings: Settings, second: str) -> None:
    folder = DataFolder(settings.data_folder)
    folder.create()
    with folder.exclusive(), open_context(settings) as context:
        server = ControlServer(
            folder.control_socket, lambda *request: run_operation(context, *request)
        )
        lines: list[str] = []
        assert operate(settings, "reindex", {"dry_run": False}, lines.append)["indexed"] == 1
        arguments = {"digest": second, "action": "accept", "by": "", "reason": "x"}
        with pytest.raises(Permanent, match="who decides and why"):
            operate(settings, "quarantine decide", arguments, lines.append)
        server.close()


def test_status_tells_what_is_frozen_and_why(
    settings: Settings, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_context(settings) as context:
        run_operation(context, "reindex", {"dry_run": False}, lambda _: None)
    found = node_status(settings)
    assert found["frozen"] == [
        {"study_instance_uid": STUDY, "reasons": [found["quarantined"][0]["reason"]]}
    ]
    render_status(found)
    printed = capsys.readouterr().out
    assert "frozen until a person decides" in printed
    assert "\x1b[31m" not in printed


def test_a_report_on_a_frozen_study_does_not_leave(config: Path, tmp_path: Path) -> None:
    archive = PacsDouble(tmp_path / "archive").start()
    try:
        peer = PacsPeer(ae_title=archive.ae_title, host=archive.host, port=archive.port)
        settings = load_settings(config).model_copy(update={"pacs": (peer,)})
        with open_context(settings) as context:
            path = write_file(context.folder.reports / "1.dcm", mr_image())
            with context.database.write() as session:
                add_study(session, STUDY, "P1")
                add_said(session, STUDY, "2.25.1")
                session.add(
                    Transmission(
                        sop_instance_uid="2.25.1", sop_class_uid="1.2", study_instance_uid=STUDY,
                        peer="pacs", path=os.path.relpath(path, context.folder.root),
                        created_at=NOW,
                    )
                )  # fmt: skip
                frozen = Quarantined(
                    kind="dicom", digest="0" * 64, reason="other content",
                    study_instance_uid=STUDY, received_at=NOW,
                )  # fmt: skip
                session.add(frozen)

            assert send_report(context, "2.25.1", "pacs", 1) is None
            assert archive.holdings().instances == 0
            with context.database.write() as session:
                assert waiting_transmissions(session) == []
                frozen.state = "rejected"
                session.add(frozen)
                session.flush()
                (row,) = waiting_transmissions(session)
                # Another round, because the workflow of this one is done.
                assert (row.state, row.rounds, row.attempts) == ("queued", 1, 0)

            assert send_report(context, "2.25.1", "pacs", 1) is None
            assert archive.holdings().instances == 1
    finally:
        archive.stop()

"""The state of the node, for a terminal and as a page."""

import asyncio
import datetime as dt
from pathlib import Path

import pytest
from starlette.types import Message

from dicom_node.commitment.models import CommitmentInquiry
from dicom_node.file_meta import RETRIEVED
from dicom_node.imports.models import ObjectImport
from dicom_node.life_models import SolicitedStudy
from dicom_node.retrieval.models import Backfill, Retrieval, State
from plugin.console import application
from plugin.context import open_context
from plugin.settings import Settings, load_settings
from plugin.settings_template import render
from plugin.status import node_status
from plugin.status_tables import render_status

NOW = dt.datetime(2025, 5, 6, 7, 8, tzinfo=dt.UTC)
PATIENT = "SECRET-77"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "radloop.toml"
    path.write_text(render())
    return load_settings(path)


@pytest.fixture
def busy(settings: Settings) -> Settings:
    """Return the settings of a node that fetched, imported, and asked for a commitment in vain."""
    with open_context(settings) as context, context.database.write() as session:
        for number in range(7):
            session.add(Backfill(id=number + 1, name=f"list-{number}", peer="pacs", created_at=NOW))
        session.flush()
        for name, state in (("1", State.FETCHED), ("2", State.UNKNOWN), ("3", State.WAITING)):
            session.add(
                Retrieval(
                    backfill_id=7,
                    accession_number=f"A-{name}",
                    patient_id=PATIENT,
                    state=state.value,
                    next_at=NOW,
                )
            )
        session.add(
            SolicitedStudy(
                study_instance_uid="2.25.1", way=RETRIEVED, reason="a backfill", asked_at=NOW
            )
        )
        session.add(
            ObjectImport(
                kind="DICOMDIR",
                sender="IMPORT",
                started_by="<b>anna</b>",
                reason="r",
                counts={"new": 12},
                started_at=NOW,
            )
        )
        session.add(
            CommitmentInquiry(
                transmission_id=1,
                peer="pacs",
                sop_class_uid="1.2",
                sop_instance_uid="2.25.9",
                study_instance_uid="2.25.1",
                state="failed",
                last_error="no such object instance (0x0112)",
                created_at=NOW,
                due_at=NOW,
            )
        )
    return settings


def page(settings: Settings) -> str:
    """Return the status page as a browser gets it."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost")], "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
    }  # fmt: skip
    asyncio.run(application(settings)(scope, receive, send))
    assert sent[0]["status"] == 200
    return b"".join(each.get("body", b"") for each in sent[1:]).decode()


def test_a_terminal_is_told_what_is_fetched_imported_and_not_committed(
    busy: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    found = node_status(busy)
    assert [row["name"] for row in found["backfills"]] == [f"list-{n}" for n in (6, 5, 4, 3, 2)]
    render_status(found)
    lines = " ".join(capsys.readouterr().out.split())
    assert "list-6 from pacs, running: 3 studies, " in lines
    assert "unknown to the PACS 1" in lines
    assert "of DICOMDIR by <b>anna</b>, cut off: new 12" in lines
    assert f"fetched or imported studies │ {RETRIEVED} 1" in lines
    assert "inquiry 1, pacs, failed: no such object instance (0x0112)" in lines
    assert PATIENT not in lines


def test_the_page_says_the_same_and_no_name_is_markup(busy: Settings) -> None:
    text = page(busy)
    assert "<td>list-6</td><td>pacs</td><td>running</td><td>3</td>" in text
    assert "unknown to the PACS 1" in text
    assert "&lt;b&gt;anna&lt;/b&gt;" in text
    assert "<b>anna" not in text
    assert "no such object instance (0x0112)" in text
    assert "list-1<" not in text
    assert PATIENT not in text


def test_a_node_that_received_nothing_has_a_page(settings: Settings) -> None:
    assert "Nothing has been received yet." in page(settings)

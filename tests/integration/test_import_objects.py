"""Old studies come in from an Orthanc, a medium and a folder, and nobody ever answers them."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlmodel import select

from dicom_node.archive_settings import PacsPeer
from dicom_node.errors import Permanent, Transient
from dicom_node.imports.models import ImportedObject, ObjectImport
from dicom_node.solicited import solicited_studies
from dicom_node.storage_scu import send_instances
from plugin import errors
from plugin.context import Context, open_context
from plugin.questions import ask
from plugin.settings import load_settings
from plugin.settings_template import render
from tests.import_room import IMAGES, bring_in, snapshot, tables, written
from tests.peers import run_program, running_orthanc
from tests.shared_data import shared_file

STUDIES = 100


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "node" / "radloop.toml"
    path.parent.mkdir()
    path.write_text(render(), encoding="utf-8")
    return path


@pytest.fixture
def context(config: Path) -> Iterator[Context]:
    with open_context(load_settings(config)) as context:
        yield context


def test_an_orthanc_is_tried_imported_and_imported_again(context: Context, tmp_path: Path) -> None:
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        peer = PacsPeer(ae_title="PACS", host="127.0.0.1", port=orthanc.port)
        sent = list(send_instances(peer, "MR1", written(tmp_path / "images", STUDIES)))
        assert all(each.delivered for each in sent)
        url = f"http://127.0.0.1:{orthanc.http_port}"
        empty = snapshot(context)
        tried = bring_in(context, url, dry_run=True)
        assert snapshot(context) == empty
        done = bring_in(context, url)
        assert done == tried
        assert (done["candidates"], done["new"], done["studies"]) == (200, 200, STUDIES)
        assert (done["held"], done["differs"], done["refused"], done["other"]) == (0, 0, 0, 0)
        assert tables(context) == (STUDIES * IMAGES, STUDIES, {"imported"})
        # What was counted is what lies there, byte for byte.
        stored = list((context.folder.root / "archive").rglob("*.dcm"))
        assert len(stored) == done["new"]
        assert done["bytes"] == sum(data_set_bytes(path) for path in stored)
        with context.database.read() as session:
            assert len(solicited_studies(session)) == STUDIES
            marks = len(session.exec(select(ImportedObject)).all())
            (row,) = session.exec(select(ObjectImport)).all()
        assert marks == STUDIES * IMAGES
        assert (row.kind, row.started_by, row.counts["new"]) == ("Orthanc", "ada", 200)
        assert row.finished_at is not None
        before = snapshot(context)
        assert before["rows"]["instance"] != empty["rows"]["instance"]
        again = bring_in(context, url)
        assert (again["new"], again["held"], again["bytes"]) == (0, STUDIES * IMAGES, 0)
        assert bring_in(context, url, dry_run=True) == again
        assert snapshot(context) == before
        with context.database.read() as session:
            assert len(session.exec(select(ObjectImport)).all()) == 2  # runs, and nothing else


def data_set_bytes(path: Path) -> int:
    """Return how long the data set of a stored file is, without what we wrote before it."""
    head = path.read_bytes()[132:144]  # (0002,0000) says how long the rest of its group is
    return path.stat().st_size - 144 - int.from_bytes(head[8:], "little")


ID = "-".join(["0123abcd"] * 5)


@contextmanager
def pretender(answers: dict[str, tuple[int, bytes, int]]) -> Iterator[tuple[str, list[str]]]:
    """Answer by path with status, content and claimed length; yield the address and what came."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            status, content, length = answers.get(self.path, (404, b"", 0))
            self.send_response(status)
            self.send_header("Content-Length", str(length or len(content)))
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SYSTEM = (200, b'{"DatabaseVersion": 6}', 0)


@pytest.mark.parametrize(
    ("answers", "kind", "reason"),
    [
        ({}, Permanent, "no such resource"),
        ({"/system": (401, b"", 0)}, Permanent, "does not let this user in"),
        ({"/system": (302, b"", 0)}, Permanent, "status 302"),
        ({"/system": (200, b"<html>", 0)}, Permanent, "no Orthanc"),
        ({"/system": (200, b"[]", 0)}, Permanent, "no Orthanc"),
        ({"/system": (500, b"", 0)}, Transient, "status 500"),
        ({"/system": SYSTEM, "list": (200, b'["../../etc"]', 0)}, Permanent, "no Orthanc"),
        ({"/system": SYSTEM, "list": (200, b"[" * 100_000, 0)}, Permanent, "no Orthanc"),
        ({"/system": SYSTEM, "list": (200, b" " * 5 * 1024**2, 0)}, Permanent, "no Orthanc"),
        ({"/system": SYSTEM, "list": (200, b"[", 50)}, Transient, "breaks off"),
        ({"/system": SYSTEM, "list": (404, b"", 0)}, Permanent, "no such resource"),
    ],
)
def test_what_answers_otherwise_than_an_orthanc_does_no_harm(
    context: Context, answers: dict[str, Any], kind: type[Exception], reason: str
) -> None:
    known = {"list": "/instances?since=0&limit=500"}
    said = {known.get(path, path): each for path, each in answers.items()}
    with pretender(said) as (url, _), pytest.raises(kind, match=reason):
        bring_in(context, url)
    assert tables(context) == (0, 0, set())


def test_a_file_that_breaks_off_is_not_taken_and_the_import_goes_on_later(
    context: Context, tmp_path: Path
) -> None:
    (path, *_) = written(tmp_path / "images", studies=1)
    content = path.read_bytes()
    answers = {
        "/system": SYSTEM,
        "/instances?since=0&limit=500": (200, f'["{ID}"]'.encode(), 0),
        "/instances?since=1&limit=500": (200, b"[]", 0),
        f"/instances/{ID}/attachments/dicom/md5": (200, b"0" * 32, 0),
        f"/instances/{ID}/file": (200, content[:-50], len(content)),
    }
    with pretender(answers) as (url, asked):
        with pytest.raises(Transient, match="breaks off"):
            bring_in(context, url, user="ada", password="secret")
        assert tables(context) == (0, 0, set())
        assert set(asked) == {"Basic " + b64encode(b"ada:secret").decode()}
        answers[f"/instances/{ID}/file"] = (200, content, 0)
        assert bring_in(context, url)["new"] == 1
    assert tables(context) == (1, 1, {"imported"})


@pytest.mark.parametrize(("status", "why"), [(404, "not hold it"), (500, "cannot read it")])
def test_an_instance_that_cannot_be_had_does_not_hide_the_others(
    context: Context, tmp_path: Path, status: int, why: str
) -> None:
    (path, *_) = written(tmp_path / "images", studies=1)
    lost = "-".join(["ffffffff"] * 5)
    answers = {
        "/system": SYSTEM,
        "/instances?since=0&limit=500": (200, f'["{lost}", "{ID}"]'.encode(), 0),
        "/instances?since=2&limit=500": (200, b"[]", 0),
        f"/instances/{lost}/file": (status, b"", 0),
        f"/instances/{ID}/file": (200, path.read_bytes(), 0),
    }
    with pretender(answers) as (url, _):
        done = bring_in(context, url)
    (reason,) = done["reasons"]
    assert (done["new"], reason["files"], why in reason["why"]) == (1, 1, True)
    assert done["missing" if status == 404 else "refused"] == 1


def test_an_orthanc_without_digests_is_read_again(context: Context, tmp_path: Path) -> None:
    with running_orthanc(tmp_path / "orthanc", StoreMD5ForAttachments=False) as orthanc:
        peer = PacsPeer(ae_title="PACS", host="127.0.0.1", port=orthanc.port)
        list(send_instances(peer, "MR1", written(tmp_path / "images", studies=2)))
        url = f"http://127.0.0.1:{orthanc.http_port}"
        assert bring_in(context, url)["new"] == 4
        assert bring_in(context, url)["held"] == 4
        with context.database.read() as session:
            assert session.exec(select(ImportedObject)).all() == []


def test_what_the_index_sets_aside_is_told(context: Context, tmp_path: Path) -> None:
    first, second, *_ = written(tmp_path / "images", studies=1)
    first.write_bytes(first.read_bytes()[:-40])
    done = bring_in(context, tmp_path / "images")
    assert (done["new"], done["quarantined"]) == (2, 1)
    (row,) = ask(context.settings, "imports", {})["imports"]
    assert (row["source"], row["new"], row["by"]) == ("folder", 2, "ada")
    assert second.exists()


def test_one_import_at_a_time(context: Context, tmp_path: Path) -> None:
    written(tmp_path / "images", studies=1)
    with (context.folder.root / "import.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(errors.Permanent, match="running already"):
            bring_in(context, tmp_path / "images")
    assert bring_in(context, tmp_path / "images")["new"] == 2


@pytest.mark.parametrize(
    ("url", "user", "reason"),
    [
        ("http://192.0.2.1:8042", "ada", "by https only"),
        ("http://ada:secret@127.0.0.1:8042", "", "options of their own"),
        ("http://", "", "named by its address"),
        ("http://127.0.0.1:8042/?x", "", "no part of the address"),
    ],
)
def test_addresses_that_are_refused(context: Context, url: str, user: str, reason: str) -> None:
    with pytest.raises(Permanent, match=reason):
        bring_in(context, url, user=user, password="p")


def test_a_medium_made_by_another_program(context: Context, tmp_path: Path) -> None:
    root = tmp_path / "medium"
    written(root, studies=3)
    status, said = run_program("dcmmkdir", "+r", "+id", root, "+D", root / "DICOMDIR", "-Pgp")
    assert status == 0, said
    (root / "IM00011").unlink()
    done = bring_in(context, root / "DICOMDIR")
    assert (done["source"], done["new"], done["missing"]) == ("DICOMDIR", 5, 1)
    why = "it is listed, and not there"
    assert done["reasons"] == [{"fate": "missing", "why": why, "files": 1}]
    assert tables(context)[:2] == (5, 3)


def test_real_images_come_in_whole_and_a_trial_says_so(context: Context) -> None:
    try:
        folder = shared_file("data/adit_fruit_dicom")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    empty = snapshot(context)
    tried = bring_in(context, folder, dry_run=True)
    assert snapshot(context) == empty
    done = bring_in(context, folder)
    assert done == tried
    assert (done["new"], done["studies"], done["other"]) == (24, 2, 1)
    assert tables(context) == (24, 2, {"imported"})
    before = snapshot(context)
    again = bring_in(context, folder)
    assert (again["new"], again["held"], again["bytes"]) == (0, 24, 0)
    assert bring_in(context, folder, dry_run=True) == again
    assert snapshot(context) == before


def test_an_import_that_is_killed_goes_on(config: Path, tmp_path: Path) -> None:
    written(tmp_path / "images", studies=150)
    command = [
        *(sys.executable, "-m", "plugin.cli", "import", "dicom", str(tmp_path / "images")),
        *("--config", str(config), "--json"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    spool = config.parent / "data" / "spool"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if spool.is_dir() and len(os.listdir(spool)) > 40:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    taken = len(os.listdir(spool))
    assert taken > 40
    with open_context(load_settings(config)) as context:
        done = bring_in(context, tmp_path / "images")
        assert done["candidates"] == 300
        assert done["new"] + done["held"] == 300
        assert done["held"] >= 40
        assert tables(context)[:2] == (300, 150)
        with context.database.read() as session:
            ends = [each.finished_at is None for each in session.exec(select(ObjectImport))]
        assert ends == [True, False]


def test_an_import_needs_who_and_why_and_a_sender(context: Context, tmp_path: Path) -> None:
    written(tmp_path / "images", studies=1)
    for more, reason in (
        ({"by": " "}, "who imports and why"),
        ({"reason": ""}, "who imports and why"),
        ({"sender": "a\\b"}, "an AE title"),
    ):
        with pytest.raises(Exception, match=reason):
            bring_in(context, tmp_path / "images", **more)
    with pytest.raises(Permanent, match="no such file"):
        bring_in(context, tmp_path / "absent")

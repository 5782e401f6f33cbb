"""An import inside a running node is seen, stopped, ended with the node, and goes on."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from plugin.import_desk import ImportDesk
from plugin.questions import ask
from plugin.settings import load_settings
from tests.import_room import written
from tests.nodes import TestNode, running_node

IMAGES, STUCK_AT = 160, 120


class Archive:
    """Answers as an Orthanc does, and stops in the middle of one instance until it may go on."""

    def __init__(self, files: list[bytes]) -> None:
        self.files, self.stuck, self.may_go_on = files, Event(), Event()
        self.address = ""

    def answer(self, path: str) -> bytes | None:
        """Return what is asked for; None for the instance that does not come whole."""
        if path == "/system":
            return b'{"DatabaseVersion": 6}'
        if path.startswith("/instances?since=0"):
            names = ", ".join(f'"{name_of(number)}"' for number in range(len(self.files)))
            return f"[{names}]".encode()
        if path.startswith("/instances?"):
            return b"[]"
        number = int(path.split("/")[2].split("-")[0], 16)
        if path.endswith("/md5"):
            return f"{number:032x}".encode()
        return None if number == STUCK_AT and not self.may_go_on.is_set() else self.files[number]


def name_of(number: int) -> str:
    return "-".join([f"{number:08x}", *["0123abcd"] * 4])


@contextmanager
def archive(folder: Path) -> Iterator[Archive]:
    paths = written(folder, IMAGES // 2)
    orthanc = Archive([path.read_bytes() for path in paths])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = orthanc.answer(self.path)
            content = orthanc.files[STUCK_AT] if found is None else found
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if found is not None:
                self.wfile.write(content)
                return
            self.wfile.write(content[:600])
            orthanc.stuck.set()
            orthanc.may_go_on.wait(100)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    orthanc.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield orthanc
    finally:
        orthanc.may_go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def start(node: TestNode, source: str, *more: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "plugin.cli", "import", "dicom", source, *more)
    return subprocess.Popen(
        [*command, "--config", str(node.config), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def newest(node: TestNode) -> dict[str, Any]:
    found: dict[str, Any] = ask(load_settings(node.config), "imports", {})["imports"][0]
    return found


def test_an_import_in_a_node_is_seen_and_stopped_and_goes_on(tmp_path: Path) -> None:
    with archive(tmp_path / "images") as orthanc, running_node(tmp_path / "node") as node:
        caller = start(node, orthanc.address)
        assert orthanc.stuck.wait(100)
        caller.send_signal(signal.SIGINT)
        _, said = caller.communicate(timeout=100)
        assert caller.returncode == 130, said
        assert "goes on in it" in said
        assert "import stop" in said
        # Nobody waits for it any more, and it runs.
        row = newest(node)
        assert (row["state"], row["looked_at"], row["ended"]) == ("running", 100, "")
        stopped = node.command("import", "stop", str(row["import"]), "--by", "ada")
        assert stopped == {"stopped": [{"import": row["import"], "state": "ended"}]}
        row = newest(node)
        assert (row["state"], row["new"]) == ("stopped by ada", STUCK_AT)
        orthanc.may_go_on.set()
        done = node.command("import", "dicom", orthanc.address)
        assert (done["state"], done["held"]) == ("finished", STUCK_AT)
        assert done["new"] == IMAGES - STUCK_AT
        assert newest(node)["state"] == "finished"
        node.wait_for(lambda status: status["instances"] == IMAGES, "all images")


def test_a_trial_in_a_node_is_stopped_too(tmp_path: Path) -> None:
    with archive(tmp_path / "images") as orthanc, running_node(tmp_path / "node") as node:
        caller = start(node, orthanc.address, "--dry-run")
        assert orthanc.stuck.wait(100)
        stopped = node.command("import", "stop", "--by", "ada")
        assert stopped == {"stopped": [{"import": "a trial", "state": "ended"}]}
        said, _ = caller.communicate(timeout=100)
        assert caller.returncode == 1
        assert '"state": "stopped by ada"' in said
        assert node.status()["instances"] == 0


def test_the_end_of_the_node_ends_an_import_which_goes_on_later(tmp_path: Path) -> None:
    with archive(tmp_path / "images") as orthanc, running_node(tmp_path / "node") as node:
        caller = start(node, orthanc.address)
        assert orthanc.stuck.wait(100)
        node.stop()  # SIGTERM; one that does not end is killed after 30 seconds
        assert node._process is not None
        assert node._process.returncode == 0
        caller.communicate(timeout=100)
        assert caller.returncode == 1
        row = newest(node)
        assert (row["state"], row["new"]) == ("stopped by the end of the node", STUCK_AT)
        orthanc.may_go_on.set()
        again = start(node, orthanc.address)
        said, _ = again.communicate(timeout=100)
        assert again.returncode == 0
        assert f'"held": {STUCK_AT}' in said
        assert node.status()["instances"] == IMAGES


def test_what_does_not_run_cannot_be_stopped_and_a_closed_node_starts_nothing() -> None:
    desk = ImportDesk()
    with pytest.raises(Exception, match="no import runs"):
        desk.stop("ada")
    with desk.going(lambda: None) as going:
        going.key = 3
        with pytest.raises(Exception, match="no import 4 runs"):
            desk.stop("ada", 4)
        assert going.why == ""
    desk.close()
    with pytest.raises(Exception, match="the node is stopping"), desk.going(lambda: None):
        pass

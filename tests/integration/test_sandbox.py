"""Confined parsers and decoders: what they may not do, what they survive (attacks D8, D9, D12)."""

import ctypes
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dicom_node.confinement import EVERY_RESTRICTION
from dicom_node.content import Undecodable
from dicom_node.inspection import DirectInspector, Header, Unreadable
from dicom_node.sandbox import Sandbox
from tests.builders import mr_image
from tests.part10_builders import (
    bomb,
    deflated,
    file_of,
    library_files,
    nested,
    rich_image,
    written,
)

KILLS = 50
MIB = 2**20

# What a confined process tries, each line by itself; os.write is all that is left to report.
ATTEMPTS = """
import ctypes, os, resource, signal, socket, subprocess, sys
from dicom_node.confinement import Limits, drop_namespaces, lock_down
kept = os.open(sys.argv[1], os.O_RDWR)
attempts = {
    "connect": lambda: socket.socket().connect(("127.0.0.1", int(sys.argv[2]))),
    "unix socket": lambda: socket.socket(socket.AF_UNIX),
    "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "create a file": lambda: os.open(sys.argv[1] + ".new", os.O_WRONLY | os.O_CREAT),
    "write a file": lambda: os.write(kept, b"x"),
    "list a folder": lambda: os.listdir("/"),
    "remove a file": lambda: os.unlink(sys.argv[1]),
    "start a program": lambda: os.execv("/bin/true", ["true"]),
    "fork": os.fork,
    "kill": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "trace": lambda: {0: "done"}[ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)],
    "raise its limits": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
    "executable memory": lambda: __import__("mmap").mmap(-1, 4096, prot=7),
    "memory": lambda: bytearray(2 << 30),
}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
drop_namespaces()
lock_down(Limits(512 << 20, 1 << 20, 60))
for name, attempt in attempts.items():
    try:
        attempt()
    except (OSError, MemoryError, ValueError, KeyError):
        continue
    os.write(1, name.encode() + b"\\n")
os.write(1, b"end")
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return written(tmp_path, file_of(rich_image()))


def test_everything_is_taken_away(sandbox: Sandbox) -> None:
    assert sandbox.restrictions == EVERY_RESTRICTION
    process = Path("/proc", str(sandbox.process_id))
    status = dict(re.findall(r"^(\w+):\s*(\S+)$", (process / "status").read_text(), re.M))
    assert (status["Seccomp"], status["NoNewPrivs"], status["Threads"]) == ("2", "1", "1")
    assert int(status["CapEff"], 16) == 0
    limits = (process / "limits").read_text()
    for name in ("Max core file size", "Max file size", "Max processes"):
        assert re.search(rf"^{name}\s+0\s+0", limits, re.M)


def test_a_confined_process_can_do_nothing(tmp_path: Path) -> None:
    target = written(tmp_path, b"content")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", ATTEMPTS, str(target), str(port)],
            capture_output=True,
            timeout=60,
        )
    assert done.stdout == b"end", done.stderr
    assert target.read_bytes() == b"content"


def test_no_secret_reaches_the_child(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    with Sandbox() as fresh:
        process = Path("/proc", str(fresh.process_id))
        environment = (process / "environ").read_bytes()
        descriptors = sorted(int(each.name) for each in (process / "fd").iterdir())
    assert b"hunter2" not in environment
    # Input and output of nobody, and the socket to the parent.
    assert len(descriptors) <= 4


def test_answers_are_those_of_the_direct_inspector(sandbox: Sandbox) -> None:
    """Real files in a dozen encodings: the confined process lacks nothing that it needs."""
    direct = DirectInspector()
    paths = [path for path in library_files() if path.stat().st_size < 150_000]
    headers = list(zip(direct.headers(paths), paths, strict=True))
    for found, (expected, path) in zip(sandbox.headers(paths), headers, strict=True):
        assert (type(found), str(found)) == (type(expected), str(expected)), path.name
    encodings = {
        each.transfer_syntax_uid: path for each, path in headers if isinstance(each, Header)
    }
    assert len(encodings) >= 10
    for path in encodings.values():
        assert digest_of(sandbox, path) == digest_of(direct, path), path.name


def digest_of(inspector: DirectInspector | Sandbox, path: Path) -> str:
    try:
        return inspector.content_digest(path)
    except Undecodable as error:
        return str(error)


def test_images_and_elements(sandbox: Sandbox, image: Path, tmp_path: Path) -> None:
    direct = DirectInspector()
    colour = next(path for path in library_files() if path.name == "SC_rgb_rle_2frame.dcm")
    for path in (image, colour):
        expected, found = direct.image(path), sandbox.image(path)
        assert np.array_equal(found.frames, expected.frames)
        assert found.frames.dtype == expected.frames.dtype
        assert found.photometric_interpretation == expected.photometric_interpretation
    keywords = ("PatientName", "ReferencedImageSequence", "PixelSpacing", "StationName")
    assert sandbox.elements(image, keywords) == direct.elements(image, keywords)
    with pytest.raises(Undecodable, match="too large"):
        sandbox.image(image, maximum_bytes=127)
    with pytest.raises(Undecodable, match="no pixel data"):
        sandbox.image(next(p for p in library_files() if p.name == "reportsi.dcm"))
    with pytest.raises(FileNotFoundError):
        sandbox.headers([tmp_path / "absent"])


@pytest.mark.parametrize(("kib", "inflated"), [(127, 130), (509, 520)])
def test_deflate_bombs_cost_the_parent_nothing(
    sandbox: Sandbox, tmp_path: Path, kib: int, inflated: int
) -> None:
    content = bomb(inflated * MIB)
    assert len(content) <= kib * 1100
    path = written(tmp_path, content)
    sandbox.headers([path])
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark of memory
    before = memory("VmRSS")
    (found,) = sandbox.headers([path])
    with pytest.raises(Undecodable, match="inflates to more than 64 MiB"):
        sandbox.content_digest(path)
    assert memory("VmHWM") - before <= 16 * MIB
    assert isinstance(found, Unreadable)
    assert "inflates to more than 64 MiB" in str(found)
    assert path.read_bytes() == content


def memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{name}:\s*(\d+) kB", status, re.M)[1]) * 1024  # type: ignore[index]


def test_honest_deflation_is_read(sandbox: Sandbox, tmp_path: Path) -> None:
    path = written(tmp_path, deflated(mr_image()))
    (found,) = sandbox.headers([path])
    assert isinstance(found, Header)
    assert sandbox.content_digest(path) == DirectInspector().content_digest(path)


@pytest.mark.parametrize("depth", [10, 100, 10_000, 100_000])
def test_nesting_does_not_harm(sandbox: Sandbox, tmp_path: Path, depth: int) -> None:
    paths = [
        written(tmp_path, nested(depth, undefined=undefined), str(undefined))
        for undefined in (True, False)
    ]
    process_id = sandbox.process_id
    for found in sandbox.headers(paths):
        assert isinstance(found, Header if depth <= 32 else Unreadable)
    assert sandbox.process_id == process_id


def test_killed_children_are_replaced(sandbox: Sandbox, image: Path) -> None:
    expected = DirectInspector().headers([image])
    for _ in range(KILLS):
        os.kill(sandbox.process_id, signal.SIGKILL)
        assert sandbox.headers([image]) == expected


def test_children_killed_at_work_are_replaced(sandbox: Sandbox, image: Path) -> None:
    rng = random.Random(1)
    expected = DirectInspector().headers([image]) * 32
    for _ in range(KILLS // 2):
        child = sandbox.process_id
        killer = threading.Timer(rng.uniform(0, 0.015), os.kill, (child, signal.SIGKILL))
        killer.start()
        assert sandbox.headers([image] * 32) == expected
        killer.join()
        sandbox.headers([image])  # sees the end of a child that was killed behind its work


def test_a_killed_template_is_replaced(sandbox: Sandbox, image: Path) -> None:
    status = Path("/proc", str(sandbox.process_id), "status").read_text()
    template = int(re.search(r"^PPid:\s*(\d+)", status, re.M)[1])  # type: ignore[index]
    os.kill(template, signal.SIGKILL)
    assert isinstance(sandbox.headers([image])[0], Header)
    assert isinstance(sandbox.content_digest(image), str)


def test_a_file_that_ends_its_parser_is_refused_and_the_others_are_done(
    tmp_path: Path, image: Path
) -> None:
    """An object that inflates to more than the memory of the child, but is allowed to."""
    greedy = written(tmp_path, bomb(60 * MIB), "greedy")
    with Sandbox(memory_bytes=40 * MIB) as small:
        found = small.headers([image, greedy, image])
        with pytest.raises(Undecodable):
            small.content_digest(greedy)
    assert [type(each) for each in found] == [Header, Unreadable, Header]
    assert str(found[1]) == "the parser ended while it read the file"


def test_a_file_that_takes_too_long_is_refused(tmp_path: Path, image: Path) -> None:
    slow = written(tmp_path, file_of_many_elements(400_000), "slow")
    with Sandbox(deadline_seconds=0.15) as hasty:
        hasty.restrictions  # noqa: B018 - started before the clock runs
        found = hasty.headers([slow])
    assert str(found[0]) == "the parser ended at its deadline"


def file_of_many_elements(number: int) -> bytes:
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    size = (len(item) * number).to_bytes(4, "little")
    return file_of(mr_image()) + b"\xe1\x7f\x40\x11SQ\0\0" + size + item * number


def test_child_ends_with_its_parent(image: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom dicom_node.sandbox import Sandbox\n"
        "box = Sandbox()\nbox.headers([Path(sys.argv[1])])\n"
        "print(box.process_id, flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(image)], stdout=subprocess.PIPE, timeout=60
    )
    child = int(done.stdout)
    handle = ctypes.CDLL(None).pidfd_open(child, 0) if Path("/proc", str(child)).exists() else -1
    if handle >= 0:
        assert select.select([handle], [], [], 30)[0]
        os.close(handle)

"""Programs and archives that tests talk to: found on the machine, started on loopback, ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugin.simulation.orthanc import OrthancPacs, find_orthanc
from plugin.simulation.pacs import Pacs, PacsDouble
from plugin.simulation.retrieval import Habits

REQUIRE = "RADLOOP_REQUIRE_PEERS"
"""Set to 1, an absent program fails its tests instead of skipping them."""


def absent(what: str) -> None:
    """Skip the test, or fail it where peers are required."""
    message = f"{what} is not installed"
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(message)
    pytest.skip(message)


def find_program(name: str) -> str:
    """Return the path of a program; skip or fail the test where there is none."""
    found = shutil.which(name)
    if found is None:
        absent(name)
    return str(found)


def npm_peer(script: str) -> tuple[str, Path, dict[str, str]]:
    """Return node, a script of ``tests/npm_peers`` and the environment that it needs.

    Its packages lie where RADLOOP_NPM_PEERS says, else in ``.npm-peers`` of the repository, which
    ``.ci/run`` fills; skip or fail the test where they are not there.
    """
    root = Path(__file__).parents[1]
    folder = Path(os.environ.get("RADLOOP_NPM_PEERS", root / ".npm-peers"))
    if not (folder / "node_modules").is_dir():
        absent("the packages of tests/npm_peers")
    environment = os.environ | {"NPM_PEERS": str(folder.absolute())}
    return find_program("node"), root / "tests" / "npm_peers" / script, environment


def run_program(
    name: str, *arguments: str | Path, timeout: float = 120, **environment: str
) -> tuple[int, str]:
    """Run a program to its end; return its exit status and all that it wrote."""
    done = subprocess.run(
        [find_program(name), *map(str, arguments)],
        capture_output=True,
        timeout=timeout,
        env=os.environ | environment,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


@contextmanager
def running_pacs(
    folder: Path, ae_title: str = "PACS", habits: Habits | None = None
) -> Iterator[PacsDouble]:
    """Run the archive of this process while the block lasts."""
    pacs = PacsDouble(folder, ae_title, habits).start()
    try:
        yield pacs
    finally:
        pacs.stop()


@contextmanager
def running_orthanc(folder: Path, ae_title: str = "PACS", **options: Any) -> Iterator[OrthancPacs]:
    """Run Orthanc while the block lasts; skip or fail the test where it is not installed."""
    if find_orthanc() is None:
        absent("Orthanc")
    orthanc = OrthancPacs(folder, ae_title, options=options).start()
    try:
        yield orthanc
    finally:
        orthanc.stop()


@contextmanager
def running(kind: str, folder: Path, ae_title: str = "PACS") -> Iterator[Pacs]:
    """Run the archive of a kind, ``double`` or ``orthanc``."""
    with {"double": running_pacs, "orthanc": running_orthanc}[kind](folder, ae_title) as pacs:
        yield pacs

"""The index killed before every rename, removal and commit, then run again: the same in the end.

A child process runs one job on a copy of a store and ends itself, without any cleaning up, at the
n-th step that changes something durable; the parent runs the job again. Every n is tried.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.database import Database
from dicom_node.errors import Permanent
from tests.builders import MEMORY_DISK, mr_image, received
from tests.index_room import DERIVED, Room, index_database

OTHER_PIXELS = bytes(128)
_STEPS = frozenset({"os.rename", "os.remove", "os.utime"})
_KILLED = 9
_MOST_STEPS = 400


@dataclass(frozen=True)
class Job:
    """What is done, and how often it is done until it is done."""

    prepare: Callable[[Room], None]
    run: Callable[[Room], None]


def fill_spool(room: Room) -> None:
    """Spool objects of every fate, some of them for studies that are indexed already."""
    room.take(mr_image(study="A", instance=1))
    room.take(mr_image(study="A", instance=2))
    room.take(mr_image(study="A", instance=1, patient="P9"))
    room.refuse(mr_image(study="D"))
    room.index()
    room.take(mr_image(study="A", instance=2, patient="P9"))  # now the whole study has come so
    room.take(mr_image(study="A", instance=1, patient="P9", StudyDescription="corrected"))
    room.take(mr_image(study="B", patient="P2"))
    room.take(mr_image(study="B", patient="P2", PixelData=OTHER_PIXELS))
    garbage = received(mr_image(study="C"))
    room.store.store(type(garbage)(**{**garbage.__dict__, "data": b"\xff" * 300}))
    room.take(mr_image(study="D"))
    room.refuse(mr_image(study="E"))
    room.refuse(mr_image(study="A", instance=1))  # what was filed before


def fill_quarantine(room: Room) -> None:
    """File everything that :func:`fill_spool` spools."""
    fill_spool(room)
    room.index()


def fill_accepted(room: Room) -> None:
    """As before, with one object accepted."""
    fill_quarantine(room)
    decide(room, "accept")


def disputed(room: Room) -> str:
    """Return the digest of the object with other pixels."""
    return room.digest_of(mr_image(study="B", patient="P2", PixelData=OTHER_PIXELS))


def decide(room: Room, action: str) -> None:
    """Decide about the object with other pixels, unless that is recorded."""
    try:
        room.decide(action, disputed(room))
    except Permanent as error:
        if "already" not in str(error):
            raise


def misplace_files(room: Room) -> None:
    """Lose every row and put one file where it does not belong."""
    fill_accepted(room)
    room.store.withdraw(disputed(room))
    with room.database.write() as session:
        for table in reversed(DERIVED):
            session.execute(sa.delete(table))


JOBS = {
    "index": Job(fill_spool, lambda room: _index(room)),
    "accept": Job(fill_quarantine, lambda room: decide(room, "accept")),
    "reject": Job(fill_accepted, lambda room: decide(room, "reject")),
    "reindex": Job(misplace_files, lambda room: _reindex(room)),
}


def _index(room: Room) -> None:
    room.index()


def _reindex(room: Room) -> None:
    room.reindex()
    room.index()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = Path(MEMORY_DISK or tmp_path) / f"radloop-crashes-{os.getpid()}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def _open(root: Path) -> Room:
    return Room(root, Database(f"sqlite:///{root / 'index.sqlite'}"))


def _copy(template: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(template, target)  # keeps modification times


def _die_at(step: int, root: Path, job: Job) -> bool:
    """Run the job in a child that ends itself at this step; tell whether it got so far."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _arm(step, room := _open(root))
            job.run(room)
            code = 0
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, _KILLED)
    return code == _KILLED


def _arm(step: int, room: Room) -> None:
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == step:
            os._exit(_KILLED)

    def hook(event: str, _: Any) -> None:
        if event in _STEPS:
            count()

    sys.addaudithook(hook)
    sa.event.listen(room.database.engine, "commit", count)


@pytest.mark.parametrize("name", JOBS)
def test_killed_at_every_step_it_ends_the_same(folder: Path, name: str) -> None:
    job = JOBS[name]
    template, copy = folder / "template", folder / "copy"
    template.mkdir()
    with index_database(template):
        pass
    room = _open(template)
    job.prepare(room)
    room.database.close()

    _copy(template, copy)
    room = _open(copy)
    job.run(room)
    expected, places = room.dump(), room.places()
    room.database.close()

    for step in range(1, _MOST_STEPS):
        _copy(template, copy)
        killed = _die_at(step, copy, job)
        room = _open(copy)
        room.store.recover()
        job.run(room)
        room.index()
        found = (room.dump(), room.places())
        room.database.close()
        assert found == (expected, places), f"killed at step {step}"
        if not killed:
            break
    assert step > 3

"""Parsers and decoders in confined processes: whatever a file does to them, the node goes on.

The parent opens files and passes descriptors; it never interprets one. A process of
:mod:`dicom_node.sandbox_child` stands ready as a template. Headers come from one worker that is
kept, because its parser is plain Python; each decoding runs in a worker of its own, because
decoders are native code, and one that was taken over must not meet the next object. What a worker
answers is checked like input from a stranger.

A file that ends a fresh worker, or keeps it past its deadline, twice, is refused; the others of its
batch are done. Once is not enough: the system may have ended the worker for its own reasons.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dicom_node import sandbox_answers
from dicom_node.confinement import EVERY_RESTRICTION, Limits
from dicom_node.content import Undecodable
from dicom_node.deidentification.profile import Profile
from dicom_node.errors import Transient
from dicom_node.headers import Elements, Header, Unreadable
from dicom_node.hl7.parsed import EmbeddedDocument
from dicom_node.inspection import LARGEST_IMAGE, DecodedImage
from dicom_node.sandbox_answers import LARGEST_ANSWER, Answer
from dicom_node.sandbox_frames import (
    MOST_DESCRIPTORS,
    Disconnected,
    Nonsense,
    OutOfTime,
    receive,
    receive_request,
    send_json,
)

if TYPE_CHECKING:
    from dicom_node.greyscale import GreyImage, Rendition

__all__ = ["Sandbox", "SandboxUnavailable"]

_START_SECONDS = 60.0
_FILES_OF_A_WORKER = 4096
_STEP = 1024 * 1024
_LARGEST_HEADER = 8 * 1024 * 1024
# Bytes that the slowest decoder of a slow machine gets through in a second.
_SLOWEST = 512 * 1024

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_REASONS: dict[type[Exception], str] = {
    Disconnected: "the parser ended while it read the file",
    OutOfTime: "the parser ended at its deadline",
    Nonsense: "the parser ended with an answer that is none",
}
_FAILURES = tuple(_REASONS)


class SandboxUnavailable(Transient):
    """No confined process can be started now; the files are as good as before."""


class Sandbox:
    """An inspector and decoder whose work runs in confined processes; use as a context manager.

    The first use starts them. May be used by several threads, which take turns.

    Args:
        memory_bytes: private memory of a worker.
        largest_object: bytes of the largest file that a worker has to map.
        deadline_seconds: for one file; decoding gets more by its size.
    """

    def __init__(
        self,
        *,
        memory_bytes: int = 1024**3,
        largest_object: int = 2 * 1024**3,
        deadline_seconds: float = 30.0,
    ) -> None:
        self._limits = Limits(memory_bytes, largest_object, cpu_seconds=3600)
        self._deadline_seconds = deadline_seconds
        self._lock = threading.RLock()
        self._template: _Template | None = None
        self._parser: _Worker | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; a later use starts new ones."""
        with self._lock:
            self._drop_parser()
            if self._template is not None:
                self._template.close()
                self._template = None

    @property
    def process_id(self) -> int:
        """Process id of the worker that reads headers."""
        with self._lock:
            return self._parsing_worker().process_id

    @property
    def restrictions(self) -> tuple[str, ...]:
        """What is in force for the worker that reads headers; see :mod:`confinement`."""
        with self._lock:
            return self._parsing_worker().restrictions

    def headers(self, paths: Sequence[Path]) -> list[Header | Unreadable]:
        """See :class:`dicom_node.inspection.Inspector`."""
        found: list[Header | Unreadable] = []
        for start in range(0, len(paths), MOST_DESCRIPTORS):
            batch = paths[start : start + MOST_DESCRIPTORS]
            found += self._parse(batch, {"task": "header"}, sandbox_answers.header)
        return found

    def elements(self, path: Path, keywords: Sequence[str]) -> Elements:
        """See :class:`dicom_node.inspection.Decoder`."""
        job = {"task": "elements", "keywords": list(keywords)}
        (found,) = self._parse([path], job, sandbox_answers.elements)
        if isinstance(found, Unreadable):
            raise found
        return found

    def frames(self, path: Path) -> list[Elements]:
        """See :class:`dicom_node.inspection.GreyDecoder`."""
        (found,) = self._parse([path], {"task": "frames"}, sandbox_answers.frames)
        if isinstance(found, Unreadable):
            raise found
        return found

    def content_digest(self, path: Path) -> str:
        """See :class:`dicom_node.inspection.Inspector`."""

        def take(worker: _Worker, deadline: float) -> str:
            return sandbox_answers.digest(worker.answer(deadline))

        return self._decode(path, {"task": "digest"}, take)

    def image(self, path: Path, maximum_bytes: int = LARGEST_IMAGE) -> DecodedImage:
        """See :class:`dicom_node.inspection.Decoder`."""

        def take(worker: _Worker, deadline: float) -> DecodedImage:
            form = sandbox_answers.form(worker.answer(deadline), maximum_bytes)
            return sandbox_answers.image(worker.socket, form, deadline)

        return self._decode(path, {"task": "image", "maximum_bytes": maximum_bytes}, take)

    def grey(
        self, path: Path, rendition: Rendition, maximum_bytes: int = LARGEST_IMAGE
    ) -> GreyImage:
        """See :class:`dicom_node.inspection.GreyDecoder`."""

        def take(worker: _Worker, deadline: float) -> GreyImage:
            answer = worker.answer(deadline)
            form = sandbox_answers.form(answer, maximum_bytes)
            return sandbox_answers.grey_image(worker.socket, answer, form, deadline)

        job = {"task": "grey", "maximum_bytes": maximum_bytes, "rendition": asdict(rendition)}
        return self._decode(path, job, take)

    def document_text(self, document: EmbeddedDocument) -> str:
        """See :func:`dicom_node.hl7.embedded.document_text`.

        Raises:
            Undecodable: there is no text to be had from it.
            SandboxUnavailable: see there.
        """

        def take(worker: _Worker, deadline: float) -> str:
            return sandbox_answers.document_text(worker.answer(deadline))

        descriptor = os.memfd_create("document", os.MFD_CLOEXEC)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(document.data)
            # Opened anew by this name for each worker, so that each reads from the beginning.
            path = Path(f"/proc/self/fd/{descriptor}")
            job = {"task": "document_text", "media_type": document.media_type}
            return self._decode(path, job, take)
        finally:
            os.close(descriptor)

    def deidentified(
        self, path: Path, profile: Profile, maximum_bytes: int = LARGEST_IMAGE
    ) -> bytes:
        """Return the bytes of the de-identified file of an image.

        See :func:`dicom_node.deidentification.objects.deidentified`.

        Raises:
            Undecodable: it cannot be de-identified; the reason names no value of it.
            OSError: the disk cannot be read.
            SandboxUnavailable: see there.
        """
        job = {
            "task": "deidentified",
            "profile": profile.to_job(),
            "maximum_bytes": maximum_bytes,
        }
        # The header stands beside the pixels.
        largest = maximum_bytes + _LARGEST_HEADER

        def take(worker: _Worker, deadline: float) -> bytes:
            answer = worker.answer(deadline)
            return sandbox_answers.binary(worker.socket, answer, largest, deadline)

        return self._decode(path, job, take)

    def _parse(
        self,
        paths: Sequence[Path],
        job: dict[str, Any],
        read: Callable[[Answer, int], _Result | Unreadable],
    ) -> list[_Result | Unreadable]:
        """Ask the kept worker about files; a file that ends it twice is refused."""
        found: list[_Result | Unreadable] = []
        failed_at = -1
        while len(found) < len(paths):
            with self._lock, _opened(paths[len(found) :]) as files:
                worker = self._parsing_worker()
                try:
                    worker.ask(job, list(files))
                    for size in files.values():
                        deadline = time.monotonic() + self._deadline_seconds
                        found.append(read(worker.answer(deadline), size))
                except _FAILURES as error:
                    self._drop_parser()
                    if failed_at == len(found):
                        _prove_readable(paths[failed_at])
                        found.append(Unreadable(_REASONS[type(error)]))
                    failed_at = len(found)
        return found

    def _decode(
        self, path: Path, job: dict[str, Any], take: Callable[[_Worker, float], _Result]
    ) -> _Result:
        """Ask a worker of its own about one file; try a second one before the file is blamed."""
        reason = ""
        for _ in range(2):
            with self._lock, _opened([path]) as files, self._new_worker() as worker:
                deadline = time.monotonic() + self._deadline_seconds
                deadline += sum(files.values()) / _SLOWEST
                try:
                    worker.ask(job, list(files))
                    return take(worker, deadline)
                except _FAILURES as error:
                    reason = _REASONS[type(error)]
        _prove_readable(path)
        raise Undecodable(reason)

    def _parsing_worker(self) -> _Worker:
        if self._parser is not None and self._parser.files >= _FILES_OF_A_WORKER:
            self._drop_parser()
        if self._parser is None:
            self._parser = self._new_worker()
        return self._parser

    def _drop_parser(self) -> None:
        if self._parser is not None:
            self._parser.close()
            self._parser = None

    def _new_worker(self) -> _Worker:
        """Have a worker forked, by a new template where the old one is gone.

        Raises:
            SandboxUnavailable: twice in vain.
        """
        for _ in range(2):
            if self._template is None:
                self._template = _Template(self._limits)
            try:
                return self._template.new_worker()
            except _FAILURES:
                self._template.close()
                self._template = None
        raise SandboxUnavailable("no confined process can be started")


class _Worker:
    """One confined process; close it to end it."""

    def __init__(self, process_id: int, handle: int, sock: socket.socket) -> None:
        self.process_id = process_id
        self.socket = sock
        self.files = 0
        self.restrictions: tuple[str, ...] = ()
        self._handle = handle

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, job: dict[str, Any], descriptors: Sequence[int]) -> None:
        self.files += len(descriptors)
        self.socket.settimeout(_START_SECONDS)
        send_json(self.socket, job, descriptors)

    def answer(self, deadline: float) -> Answer:
        return sandbox_answers.parse(*receive(self.socket, LARGEST_ANSWER, deadline))

    def close(self) -> None:
        self.socket.close()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        os.close(self._handle)


class _Template:
    """The process that has everything imported and forks the workers."""

    def __init__(self, limits: Limits) -> None:
        self._control, theirs = socket.socketpair()
        numbers = (limits.memory_bytes, limits.mapped_bytes, limits.cpu_seconds)
        with theirs:
            # -P: the working directory must not offer modules.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dicom_node.sandbox_child", *map(str, numbers)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a parser's complaints quote patients
                env=_environment(),
                cwd="/",
            )
        self._ready = False

    def new_worker(self) -> _Worker:
        """Have a worker forked and wait until it is locked down."""
        deadline = time.monotonic() + _START_SECONDS
        if not self._ready:
            sandbox_answers.parse(*receive(self._control, LARGEST_ANSWER, deadline))
            self._ready = True
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                send_json(self._control, {}, [theirs.fileno()])
            self._control.settimeout(_START_SECONDS)
            try:
                forked, handles = receive_request(self._control)
            except OSError:
                raise Disconnected from None
            worker = _Worker(forked["process_id"], handles[0], ours)
            undo.callback(worker.close)
            worker.restrictions = sandbox_answers.restrictions(worker.answer(deadline))
            undo.pop_all()
        _report(worker.restrictions)
        return worker

    def close(self) -> None:
        """End the template; its workers end with it."""
        self._control.close()
        self._process.kill()
        self._process.wait()


def _environment() -> dict[str, str]:
    """Return what Python needs to start, and nothing that could be a secret."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**kept, "LANG": "C.UTF-8", **dict.fromkeys(threads, "1")}


@functools.cache
def _report(restrictions: tuple[str, ...]) -> None:
    missing = [each for each in EVERY_RESTRICTION if each not in restrictions]
    if missing:
        _log.warning("parsers of received objects run without: %s", ", ".join(missing))


@contextmanager
def _opened(paths: Sequence[Path]) -> Iterator[dict[int, int]]:
    """Open files for reading; their descriptors with their sizes."""
    files: dict[int, int] = {}
    try:
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            files[descriptor] = os.fstat(descriptor).st_size
        yield files
    finally:
        for descriptor in files:
            os.close(descriptor)


def _prove_readable(path: Path) -> None:
    """Read a file without looking at it: a worker also ends when the disk fails under it.

    Raises:
        OSError: it was the disk.
    """
    with path.open("rb") as file:
        while file.read(_STEP):
            continue

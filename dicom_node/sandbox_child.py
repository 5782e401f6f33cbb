"""The confined side of :mod:`dicom_node.sandbox`: ``python -m dicom_node.sandbox_child``.

The process that the parent starts is a template: it imports every parser and decoder, gives up its
namespaces and capabilities, and never sees a byte of a peer. For each worker it forks, in a few
milliseconds; the worker locks itself down and reads the descriptors that the parent hands it.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import importlib
import os
import pkgutil
import select
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, BinaryIO

from dicom_node import content, functional_groups, headers
from dicom_node.confinement import Limits, drop_namespaces, lock_down
from dicom_node.content import Undecodable
from dicom_node.deidentification import attributes
from dicom_node.deidentification.objects import deidentified
from dicom_node.deidentification.profile import Profile
from dicom_node.greyscale import Rendition, grey_frames
from dicom_node.hl7 import embedded
from dicom_node.hl7.parsed import EmbeddedDocument
from dicom_node.inspection import Unreadable, inspect_header
from dicom_node.sandbox_frames import BINARY, Disconnected, receive_request, send, send_json

_WATCH_SECONDS = 1.0


def main() -> None:
    """Serve as the template on standard input, which is a socket, until the parent is gone."""
    control = socket.socket(fileno=0)
    limits = Limits(*map(int, sys.argv[1:]))
    parent = os.getppid()
    _import_everything()
    shared = drop_namespaces()
    # Objects that exist now stay in pages that all workers share.
    gc.collect()
    gc.freeze()
    try:
        send_json(control, {"ready": True})
        while True:
            if select.select([control], [], [], _WATCH_SECONDS)[0]:
                _, (descriptor,) = receive_request(control)
                _start_worker(control, descriptor, limits, shared)
            elif os.getppid() != parent:
                return
            # Only here, so that the process id of a worker stays its own until it has a handle.
            _reap()
    except (Disconnected, ValueError):
        return


def _start_worker(
    control: socket.socket, descriptor: int, limits: Limits, shared: tuple[str, ...]
) -> None:
    process_id = os.fork()
    if process_id:
        os.close(descriptor)
        # The parent ends the worker by this descriptor: a number could be somebody else by then.
        handle = os.pidfd_open(process_id)
        send_json(control, {"process_id": process_id}, [handle])
        os.close(handle)
        return
    control.close()
    status = 1
    try:
        with socket.socket(fileno=descriptor) as sock:
            restrictions = [*shared, *lock_down(limits)]
            send_json(sock, {"restrictions": restrictions})
            _serve(sock)
    except Disconnected:
        status = 0
    finally:
        os._exit(status)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _serve(sock: socket.socket) -> None:
    """Do jobs: one task and its files, an answer for each file."""
    while True:
        job, descriptors = receive_request(sock)
        for descriptor in descriptors:
            with os.fdopen(descriptor, "rb") as file:
                _TASKS[job["task"]](sock, file, job)


def _header(sock: socket.socket, file: BinaryIO, _: dict[str, Any]) -> None:
    found = _expected(lambda: inspect_header(file))
    if isinstance(found, headers.Header):
        send_json(sock, {"header": asdict(found)})
    elif isinstance(found, Unreadable):
        send_json(sock, {"refused": str(found), "study": found.study_instance_uid})


def _elements(sock: socket.socket, file: BinaryIO, job: dict[str, Any]) -> None:
    found = _expected(lambda: headers.elements_of(file, job["keywords"]))
    if isinstance(found, Unreadable):
        send_json(sock, {"refused": str(found), "study": ""})
    else:
        send_json(sock, {"elements": found})


def _digest(sock: socket.socket, file: BinaryIO, _: dict[str, Any]) -> None:
    found = _expected(lambda: content.content_digest(file))
    if isinstance(found, str):
        send_json(sock, {"digest": found})
    else:
        send_json(sock, {"refused": str(found)})


def _image(sock: socket.socket, file: BinaryIO, job: dict[str, Any]) -> None:
    """Answer with the form of the image, known after its first frame, then frame by frame."""

    def frames() -> Iterator[content.Frame]:
        with content.decoded(file, maximum_bytes=job["maximum_bytes"]) as (count, decoded):
            for number, frame in enumerate(decoded):
                if not number:
                    form = {
                        "frames": count,
                        "shape": list(frame.pixels.shape),
                        "dtype": frame.pixels.dtype.str,
                        "photometric_interpretation": frame.photometric,
                    }
                    send_json(sock, form)
                yield frame

    def send_all() -> None:
        for frame in frames():
            send(sock, BINARY, frame.pixels.tobytes())

    refused = _expected(send_all)
    if refused is not None:
        send_json(sock, {"refused": str(refused)})


def _frames(sock: socket.socket, file: BinaryIO, _: dict[str, Any]) -> None:
    found = _expected(lambda: functional_groups.frames_of(file))
    if isinstance(found, Unreadable):
        send_json(sock, {"refused": str(found), "study": ""})
    else:
        send_json(sock, {"frames": found})


def _grey(sock: socket.socket, file: BinaryIO, job: dict[str, Any]) -> None:
    """Answer with the form of the image, known after its first frame, then frame by frame."""
    wanted = job["rendition"]
    rendition = Rendition(**{**wanted, "frames": tuple(wanted["frames"])})

    def send_all() -> None:
        with grey_frames(file, rendition, job["maximum_bytes"]) as (count, rendered):
            for number, (pixels, applied) in enumerate(rendered):
                little = pixels.astype("<f4", order="C", copy=False)
                if not number:
                    form = {"frames": count, "shape": list(little.shape), "dtype": "<f4"}
                    told = {"photometric_interpretation": "MONOCHROME2", "applied": applied}
                    send_json(sock, form | told)
                send(sock, BINARY, little.tobytes())

    refused = _expected(send_all)
    if refused is not None:
        send_json(sock, {"refused": str(refused)})


def _document_text(sock: socket.socket, file: BinaryIO, job: dict[str, Any]) -> None:
    document = EmbeddedDocument(job["media_type"], file.read())
    found = _expected(lambda: embedded.document_text(document))
    if isinstance(found, str):
        send_json(sock, {"text": found})
    else:
        send_json(sock, {"refused": str(found)})


def _deidentified(sock: socket.socket, file: BinaryIO, job: dict[str, Any]) -> None:
    profile = Profile.from_job(job["profile"])
    found = _expected(lambda: deidentified(file, profile, job["maximum_bytes"]))
    if isinstance(found, bytes):
        send_json(sock, {"bytes": len(found)})
        send(sock, BINARY, found)
    else:
        send_json(sock, {"refused": str(found)})


def _expected(work: Callable[[], Any]) -> Any:
    """Return the result or the expected refusal; the disk's own errors end the worker."""
    try:
        return work()
    except (Unreadable, Undecodable) as error:
        return error


_TASKS: dict[str, Callable[[socket.socket, BinaryIO, dict[str, Any]], None]] = {
    "header": _header,
    "elements": _elements,
    "digest": _digest,
    "image": _image,
    "frames": _frames,
    "grey": _grey,
    "document_text": _document_text,
    "deidentified": _deidentified,
}


def _import_everything() -> None:
    """Import what parsers load on demand: a worker cannot open files."""
    from pydicom.charset import python_encoding

    for package in ("pydicom.pixels.decoders", "encodings"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            if module.name not in ("mbcs", "oem"):  # those of another system
                importlib.import_module(f"{package}.{module.name}")
    for module in pkgutil.walk_packages(importlib.import_module("pypdf").__path__, "pypdf."):
        if not module.name.startswith("pypdf._crypt_providers."):  # need libraries of others
            importlib.import_module(module.name)
    attributes.table()
    attributes.words()
    for codec in set(python_encoding.values()):
        codecs.lookup(codec)


if __name__ == "__main__":
    main()

"""Targets that read what comes by DICOMweb: bodies of requests, data sets in them, answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from dicom_node.dicom_files import StoredFile
from dicom_node.dicomweb.media_types import DICOM_JSON
from dicom_node.dicomweb.refusal import Refusal
from dicom_node.dicomweb.shelf import Shelf
from dicom_node.dicomweb.stow_client import judge
from dicom_node.dicomweb.transaction import Transaction
from dicom_node.dicomweb.web_call import WebAnswer
from dicom_node.send_outcomes import Outcome
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from dicom_node.study_finder import StudyFinder
from tests.builders import encode, mr_image
from tests.dicomweb_room import BOUNDARY, SENDER, body_of, part10
from tests.fuzz.scratch import new_folder
from tests.fuzz.source import Source
from tests.stow_archive import reference, sequence

_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")
_STORED = StoredFile(Path("x"), "1.2.840.10008.5.1.4.1.1.4", "1.2.3", _SYNTAXES[0])


@lru_cache(maxsize=1)
def _store() -> DicomStore:
    store = DicomStore(new_folder())
    store.recover()
    return store


def stow_body(data: bytes) -> None:
    """However a body is cut it gives the same objects, and what is refused leaves nothing open."""
    source = Source(data)
    sizes = source.sizes() or [1 << 16]
    body = source.rest()
    assert _stored(body, [len(body) or 1]) == _stored(body, sizes)


def _stored(body: bytes, sizes: Sequence[int]) -> tuple[object, ...]:
    store = _store()
    shelf = Shelf(store.intake, DicomSettings(minimum_free_bytes=0))
    transaction = Transaction(shelf, SENDER, BOUNDARY, maximum_parts=8)
    refused = 0
    try:
        at = number = 0
        while at < len(body):
            size = sizes[number % len(sizes)]
            transaction.feed(body[at : at + size])
            at, number = at + size, number + 1
        transaction.finish()
    except Refusal as refusal:
        refused = refusal.status
        assert refused in (400, 413, 415)
    transaction.discard()
    assert not list(store.folders.temporary.iterdir())
    kept = sorted(path.name for path in store.spooled())
    good = sum(1 for each in transaction.outcomes if not each.failure)
    assert len(kept) <= good
    for folder in (store.folders.spool, store.folders.quarantine):
        for path in folder.iterdir():
            path.unlink()
    return refused, tuple(transaction.outcomes), tuple(kept)


def study_finder(data: bytes) -> None:
    """However a data set is cut the same study is found in it, and next to nothing is held."""
    source = Source(data)
    syntax = _SYNTAXES[source.byte() % len(_SYNTAXES)]
    sizes = source.sizes() or [1]
    rest = source.rest()
    whole, cut = StudyFinder(syntax), StudyFinder(syntax)
    whole.feed(rest)
    at = number = 0
    while at < len(rest):
        size = sizes[number % len(sizes)]
        cut.feed(rest[at : at + size])
        at, number = at + size, number + 1
    assert whole.found == cut.found
    assert len(whole.found) <= 64


def store_answer(data: bytes) -> None:
    """An answer means something whatever it holds, and success only where it names the object."""
    source = Source(data)
    status = (200, 202, 409)[source.byte() % 3]
    content = source.rest()
    outcome, _, reason = judge(WebAnswer(status, DICOM_JSON, content), _STORED)
    if outcome is Outcome.DELIVERED:
        assert "1.2.3" in json.dumps(json.loads(content))
    else:
        assert reason


def seeds() -> dict[str, Sequence[bytes]]:
    """Return sound inputs of each target."""
    images = [mr_image(instance=number, rows=2) for number in range(2)]
    body = body_of([part10(image) for image in images])
    named = reference("1.2.3", _STORED.sop_class_uid)
    failed = reference("1.2.3", _STORED.sop_class_uid, T00081197=0xA700)
    answers = [{"00081199": sequence(named)}, [{"00081198": sequence(failed)}], {}]
    return {
        "stow_body": [b"\0" + body, b"\x03\x07\x40\xff" + body],
        "study_finder": [
            bytes((number, 2, 9, 30)) + encode(images[0], syntax)
            for number, syntax in enumerate(_SYNTAXES)
        ],
        "store_answer": [
            bytes((number,)) + json.dumps(answer).encode() for number, answer in enumerate(answers)
        ],
    }

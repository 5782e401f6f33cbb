"""Which files are about a patient, whether or not a row names them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from dicom_node.headers import Header, Unreadable
from dicom_node.intake import Folders
from dicom_node.settings import DicomSettings
from plugin.byte_search import files_holding
from plugin.folders import DataFolder
from plugin.stages.erase_whom import Subject

ReadHeaders = Callable[[Sequence[Path]], list[Header | Unreadable]]

_PATIENT_ID = 0x00100020
_LOOKED_AT = ("spool", "quarantine")
# A file that is still being written is written to; one of a dead process is not.
_ABANDONED_SECONDS = 900.0
_BATCH = 256


def digests_about(
    root: Path, subject: Subject, settings: DicomSettings, read_headers: ReadHeaders
) -> tuple[set[str], set[str]]:
    """Return digests of spooled and quarantined objects that say they are the patient's.

    Returns:
        The digests, and the Study Instance UIDs that those objects say.
    """
    found: set[str] = set()
    studies: set[str] = set()
    for folder in _LOOKED_AT:
        files = sorted((root / folder).glob("*.dcm"))
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            for path, header in zip(batch, read_headers(batch), strict=True):
                if _is_about(path, header, subject, settings):
                    found.add(path.stem)
                    studies.add(header.study_instance_uid)
        found |= {
            path.stem for path in (root / folder).glob("*.json") if _notice_is_about(path, subject)
        }
    return found, studies - {""}


def _is_about(
    path: Path, header: Header | Unreadable, subject: Subject, settings: DicomSettings
) -> bool:
    if isinstance(header, Unreadable):
        return header.study_instance_uid in subject.studies or _mentions(path, subject)
    known = header.study_instance_uid in subject.studies
    return known or _identity(header, settings) in subject.identities


def _identity(header: Header, settings: DicomSettings) -> tuple[str, str]:
    """Return issuer and Patient ID as the index would understand them."""
    peers = (
        peer.issuer_of_patient_id
        for peer in settings.peers
        if peer.ae_title.strip() == header.calling_ae_title
    )
    issuers = (
        header.issuer_of_patient_id,
        next(peers, ""),
        settings.default_issuer_of_patient_id,
    )
    return next((each for each in issuers if each), ""), header.patient_id


def _mentions(path: Path, subject: Subject) -> bool:
    """Search a file that no parser reads for the patient's UIDs and Patient ID elements."""
    data = path.read_bytes()
    needles = [uid.encode() for uid in (*subject.studies, *subject.series, *subject.instances)]
    for value in subject.patient_ids:
        needles += _encoded_patient_ids(value)
    return any(needle in data for needle in needles)


def _encoded_patient_ids(value: str) -> Iterator[bytes]:
    for codec in ("utf-8", "latin-1"):
        text = value.encode(codec, "replace")
        text += b" " * (len(text) % 2)
        for order in ("little", "big"):
            group = (_PATIENT_ID >> 16).to_bytes(2, order) + (_PATIENT_ID & 0xFFFF).to_bytes(
                2, order
            )
            yield group + b"LO" + len(text).to_bytes(2, order) + text
            yield group + len(text).to_bytes(4, order) + text


def _notice_is_about(path: Path, subject: Subject) -> bool:
    try:
        notice = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return (
        notice.get("study_instance_uid") in subject.studies
        or notice.get("sop_instance_uid") in subject.instances
    )


def paths_of(root: Path, digests: Iterable[str]) -> set[str]:
    """Return every place where objects with these digests lie, relative to the data folder."""
    folders = Folders(root)
    found: set[str] = set()
    for digest in digests:
        places = (
            folders.archived(digest),
            folders.spooled(digest),
            folders.quarantined(digest),
            folders.notice(digest),
            folders.received_notice(digest),
        )
        found |= {str(place.relative_to(root)) for place in places if place.exists()}
    return found


def documents_about(
    folder: DataFolder, subject: Subject, current_cohorts: Iterable[str]
) -> set[str]:
    """Return structured reports and manifests that mention the patient, relative paths.

    A manifest of a cohort as it is now is not among them.
    """
    needles = [name.encode() for name in (*subject.studies, *subject.patient_keys)]
    current = {f"{digest}.json" for digest in current_cohorts}
    found = set()
    for place in (folder.reports, folder.cohorts):
        for path in place.iterdir():
            if path.name in current or not path.is_file():
                continue
            data = path.read_bytes()
            if any(needle in data for needle in needles):
                found.add(str(path.relative_to(folder.root)))
    return found


def empty_logs(folder: DataFolder) -> None:
    """Empty every log; writers append, so those that have one open go on at its new end."""
    for path in folder.root.glob("*.log"):
        with path.open("r+b") as file:
            file.truncate(0)


def remove_abandoned(folder: DataFolder) -> None:
    """Remove temporary files that nobody has written to for a while."""
    latest = time.time() - _ABANDONED_SECONDS
    for pattern in ("tmp/*", "*/.*.partial"):
        for path in folder.root.glob(pattern):
            if path.is_file() and path.stat().st_mtime < latest:
                path.unlink(missing_ok=True)


def remove_prepared(folder: DataFolder) -> None:
    """Empty the cache of inputs and forget trainings that are not over; both can be made anew.

    Whose images an entry was made of, its name does not say.
    """
    for place in (folder.prepared, folder.trainings):
        for path in place.glob("*"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)  # of processes that learn together
            else:
                path.unlink(missing_ok=True)


def remove_workflows(folder: DataFolder) -> None:
    """Remove the queue of durable work; what needs work is asked of the tables again."""
    for path in folder.root.glob("workflows.sqlite*"):
        path.unlink(missing_ok=True)


def files_that_mention(folder: DataFolder, uids: Iterable[str]) -> list[str]:
    """Return database files, manifests, reports and logs that hold one of the UIDs as bytes.

    Raises:
        ChildFailed: they could not be searched.
    """
    needles = [uid.encode() for uid in uids]
    patterns = (
        "*.sqlite*",
        "*.log",
        "cohorts/*",
        "hl7/*.journal",
        "commitments/*",
        "structured_reports/*",
        "quarantine/*.json",
        f"{folder.trainings.name}/**/*",
    )
    paths = [path for pattern in patterns for path in folder.root.glob(pattern) if path.is_file()]
    return sorted(str(path.relative_to(folder.root)) for path in files_holding(paths, needles))

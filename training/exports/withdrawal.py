"""Takes patients out of an export that lies in a folder already, and leaves tombstones there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from dicom_node.durable import write_durably
from training.errors import Permanent
from training.exports import datalist, parquet
from training.exports.folder import RECORD, read_record, remove_empty_folders, sync_folder

TOMBSTONES = "tombstones.json"
_NOTE = (
    "These studies were withdrawn from this export. Whoever holds a copy of it removes them, and "
    "what was derived from them."
)

Pair = tuple[str, str]
"""The pseudonyms of a patient and a study."""


def withdraw(root: Path, cohort_digest: str, pairs: Collection[Pair], cause: str, at: str) -> bool:
    """Remove studies from the export in a folder and say so in ``tombstones.json``.

    Asked twice, or again after a crash, it does what is left to do.

    Args:
        root: the folder of the export.
        cohort_digest: of the cohort that was exported.
        pairs: what is withdrawn.
        cause: why, in a word or two that name nobody.
        at: when, as ISO 8601.

    Returns:
        False where there is no such export in the folder (any more).

    Raises:
        Permanent: the folder cannot be changed.
    """
    record = read_record(root)
    if record is None or record["cohort"]["digest"] != cohort_digest:
        return False
    try:
        _add_tombstones(root, cohort_digest, pairs, cause, at)
        _remove_images(root, pairs)
        gone = {name for name in record["files"] if _is_of(name, pairs)}
        kept = {name: digest for name, digest in record["files"].items() if name not in gone}
        _mend_lists(root, pairs, kept)
        _mend_record(root, record, pairs, kept)
    except OSError as error:
        raise Permanent(
            f"an export cannot be changed ({os.strerror(error.errno or 0)}): a patient stays in it"
        ) from None
    return True


def _add_tombstones(
    root: Path, cohort_digest: str, pairs: Collection[Pair], cause: str, at: str
) -> None:
    path = root / TOMBSTONES
    known: list[dict[str, Any]] = []
    if path.is_file():
        known = json.loads(path.read_bytes())["withdrawn"]
    named = {(each["patient"], each["study"]) for each in known}
    known += [
        {"patient": patient, "study": study, "cause": cause, "at": at}
        for patient, study in sorted(set(pairs) - named)
    ]
    record = {"note": _NOTE, "cohort": cohort_digest, "withdrawn": known}
    write_durably(path, json.dumps(record, indent=1).encode())


def _remove_images(root: Path, pairs: Iterable[Pair]) -> None:
    whole = root.resolve()
    for patient, study in pairs:
        image = root / "images" / patient / f"{study}.nii.gz"
        folder = root / "dicom" / patient / study
        for path in (image, folder):
            # A link that somebody put there must not lead out of the export.
            if not path.parent.resolve().is_relative_to(whole) or not os.path.lexists(path):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            sync_folder(path.parent)
            remove_empty_folders(root, path.parent)


def _is_of(name: str, pairs: Collection[Pair]) -> bool:
    return any(f"/{patient}/{study}" in name for patient, study in pairs)


_LISTS: dict[str, Callable[[bytes, Collection[str]], bytes]] = {
    parquet.MEMBERS: parquet.without,
    parquet.EXCLUSIONS: parquet.without,
    datalist.DATALIST: datalist.without,
}


def _mend_lists(root: Path, pairs: Collection[Pair], files: dict[str, str]) -> None:
    studies = {study for _, study in pairs}
    for name, without in _LISTS.items():
        path = root / name
        if name in files and path.is_file():
            content = without(path.read_bytes(), studies)
            write_durably(path, content)
            files[name] = hashlib.sha256(content).hexdigest()


def _mend_record(
    root: Path, record: dict[str, Any], pairs: Collection[Pair], files: dict[str, str]
) -> None:
    studies = {study for _, study in pairs}
    kept = [each for each in record["exported"] if each["study"] not in studies]
    changed = {
        **record,
        "members": len(kept),
        "patients": len({each["patient"] for each in kept}),
        "folds": dict(sorted(Counter(each["fold"] for each in kept).items())),
        "exported": kept,
        "left_out": [each for each in record["left_out"] if each["study"] not in studies],
        "withdrawn": record.get("withdrawn", 0) + len(record["exported"]) - len(kept),
        "files": files,
    }
    write_durably(root / RECORD, json.dumps(changed, indent=1).encode())

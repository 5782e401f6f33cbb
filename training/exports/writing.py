"""Writes the files of an export: what runs in the child process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dicom_node.errors import Transient as NodeTransient
from dicom_node.inspection import Unreadable
from dicom_node.sandbox import Sandbox
from training.errors import Permanent, Transient
from training.exports.burned_in import KEYWORDS, identifying_pixels
from training.exports.datalist import DATALIST, datalist_file
from training.exports.deidentify import deidentified_file, profile_for
from training.exports.folder import KIND, RECORD, ExportFolder
from training.exports.members import ExportMember, LeftOut, dicom_path, image_path
from training.exports.nifti import nifti_of
from training.exports.options import ExportOptions, profile_record
from training.exports.parquet import EXCLUSIONS, MEMBERS, exclusions_file, members_file
from training.pixels import read_slices

Report = Callable[[str], None]


@dataclass(frozen=True)
class Ordered:
    """What is to be exported.

    Attributes:
        cohort: name, digest and what else export.json says about the cohort.
        key: secret of the cohort's exports.
        software: name and version of what exports.
        left_out: studies that were left out before.
        opted_out: how many studies are of patients who opted out; nothing else is said of them.
    """

    cohort: dict[str, Any]
    key: bytes
    software: str
    options: ExportOptions
    members: tuple[ExportMember, ...]
    left_out: tuple[LeftOut, ...]
    opted_out: int = 0


def write_export(ordered: Ordered, root: Path, sandbox: Sandbox, progress: Report) -> list[LeftOut]:
    """Write every file of an export into an empty folder, the record last.

    The same order gives the same bytes.

    Returns:
        Every study that is not in the export, with its reason.

    Raises:
        Permanent: the disk takes no more.
        Transient: an archived file or a process cannot be had now.
    """
    folder = ExportFolder(root)
    formats = ordered.options.formats
    kept, left_out = _write_images(ordered, folder, sandbox, progress)
    left_out = sorted([*ordered.left_out, *left_out], key=lambda each: (each.patient, each.study))
    digest, name = ordered.cohort["digest"], ordered.cohort["name"]
    if "parquet" in formats:
        folder.write(MEMBERS, members_file(kept, formats, digest))
        folder.write(EXCLUSIONS, exclusions_file(left_out, digest))
    if "datalist" in formats:
        folder.write(DATALIST, datalist_file(kept, formats, digest, name))
    record = _record(ordered, kept, left_out, folder.files)
    folder.write(RECORD, json.dumps(record, indent=1).encode())
    folder.sync()
    return left_out


def _write_images(
    ordered: Ordered, folder: ExportFolder, sandbox: Sandbox, progress: Report
) -> tuple[list[ExportMember], list[LeftOut]]:
    kept: list[ExportMember] = []
    left_out: list[LeftOut] = []
    for number, member in enumerate(ordered.members, start=1):
        written: list[str] = []
        try:
            for name, content in _images(ordered, member, sandbox):
                folder.write(name, content)
                written.append(name)
        except _Refused as refused:
            for name in written:
                folder.drop(name)
            left_out.append(LeftOut(member.patient, member.study, str(refused), "export"))
        else:
            kept.append(member)
        progress(f"{number} of {len(ordered.members)} studies looked at, {len(kept)} exported")
    return kept, left_out


class _Refused(Exception):
    """A member cannot be exported; the message says why."""


def _images(
    ordered: Ordered, member: ExportMember, sandbox: Sandbox
) -> Iterator[tuple[str, bytes]]:
    """Yield the image files of a member."""
    options = ordered.options
    if not options.holds_images:
        return
    paths = [Path(path) for path, _ in member.files]
    _refuse_identifying(paths, options, sandbox)
    try:
        if "nifti" in options.formats:
            yield image_path(member), nifti_of(read_slices(paths, sandbox))
        if "dicom" in options.formats:
            profile = profile_for(ordered.key, member.patient, options, ordered.software)
            for path, name in member.files:
                content = deidentified_file(Path(path), profile, sandbox)
                yield f"{dicom_path(member)}/{name}.dcm", content
    except Permanent as error:
        raise _Refused(str(error)) from None


def _refuse_identifying(paths: Sequence[Path], options: ExportOptions, sandbox: Sandbox) -> None:
    if not paths:
        raise _Refused("the study has no series that fits any more")
    for path in paths:
        try:
            elements = sandbox.elements(path, KEYWORDS)
        except Unreadable as error:
            raise _Refused(f"an image cannot be read: {error}") from None
        except OSError as error:
            raise Transient("an image file could not be read") from error
        except NodeTransient as error:
            raise Transient(str(error)) from error
        if reason := identifying_pixels(elements, options.accepted):
            raise _Refused(reason)


def _record(
    ordered: Ordered,
    kept: Sequence[ExportMember],
    left_out: Iterable[LeftOut],
    files: dict[str, str],
) -> dict[str, Any]:
    return {
        "kind": KIND,
        "note": "Research use only. Not for clinical decisions.",
        "software": ordered.software,
        "cohort": ordered.cohort,
        **ordered.options.to_record(),
        "deidentification": profile_record(ordered.options),
        "members": len(kept),
        "patients": len({each.patient for each in kept}),
        "folds": dict(sorted(Counter(each.fold for each in kept).items())),
        "exported": [
            {"patient": each.patient, "study": each.study, "fold": each.fold} for each in kept
        ],
        "opted_out": ordered.opted_out,
        "left_out": [asdict(each) for each in left_out],
        "files": dict(sorted(files.items())),
    }

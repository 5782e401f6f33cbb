"""A datalist of MONAI: images with their targets by fold, as ``load_decathlon_datalist`` reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from training.exports.members import ExportMember, dicom_path, image_path

DATALIST = "datalist.json"
_LISTS = {"train": "training", "validation": "validation", "test": "test"}


def datalist_file(
    members: Sequence[ExportMember], formats: Collection[str], cohort: str, name: str
) -> bytes:
    """Return the datalist as JSON.

    ``label`` is a list of targets in the order of ``labels`` (observation and site): 1.0, 0.0, or
    null where nobody knows, which a loss has to leave out. ``image`` is a NIfTI file, or the
    folder of DICOM files where there is none, relative to the export.

    Args:
        members: in the order of their items.
        formats: of the export.
        cohort: digest of the cohort.
        name: of the cohort.
    """
    places = _places(members)
    lists: dict[str, list[dict[str, Any]]] = {each: [] for each in _LISTS.values()}
    for member in members:
        lists[_LISTS[member.fold]].append(
            {
                "image": image_path(member) if "nifti" in formats else dicom_path(member),
                "label": [member.targets.get(each, {}).get(site) for each, site in places],
                "patient": member.patient,
                "study": member.study,
            }
        )
    record = {
        "name": name,
        "description": "Research use only. De-identified export of a frozen cohort.",
        "cohort": cohort,
        "labels": [f"{observation}/{site}" for observation, site in places],
        **lists,
    }
    return json.dumps(record, indent=1).encode()


def without(content: bytes, studies: Collection[str]) -> bytes:
    """Return a datalist without the items of these studies."""
    record = json.loads(content)
    for name in _LISTS.values():
        record[name] = [each for each in record[name] if each["study"] not in studies]
    return json.dumps(record, indent=1).encode()


def _places(members: Sequence[ExportMember]) -> list[tuple[str, str]]:
    """Return every observation and site that a member has a target for, in the schema's order."""
    found: dict[tuple[str, str], None] = {}
    for member in members:
        for observation, sites in member.targets.items():
            found.update(dict.fromkeys((observation, site) for site in sites))
    return list(found)

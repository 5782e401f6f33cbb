"""What became of the objects of a request, and the answer that says so (PS3.18 10.5.3, I.2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.file_meta import is_uid

# Failure Reason (PS3.18 table I.2-2); what C-STORE has as well is in dicom_node.dimse.
SOP_CLASS_NOT_SUPPORTED = 0x0122
TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122

REFERENCED_SOP_CLASS_UID = "00081150"
REFERENCED_SOP_INSTANCE_UID = "00081155"
WARNING_REASON = "00081196"
FAILURE_REASON = "00081197"
FAILED_SOP_SEQUENCE = "00081198"
REFERENCED_SOP_SEQUENCE = "00081199"
OTHER_FAILURES_SEQUENCE = "0008119A"

OK, ACCEPTED, CONFLICT, INSUFFICIENT_STORAGE = 200, 202, 409, 507


@dataclass(frozen=True)
class PartOutcome:
    """What became of one part of a request.

    Attributes:
        sop_class_uid: as the part says; empty where it could not be read.
        sop_instance_uid: likewise.
        failure: Failure Reason (0008,1197); 0 for an object that is durably stored.
    """

    sop_class_uid: str
    sop_instance_uid: str
    failure: int = 0


def status_of(outcomes: Sequence[PartOutcome], *, ran_out_of_space: bool) -> int:
    """Return the HTTP status (PS3.18 table 10.5.3-1): of all, of some, of none of the objects."""
    failed = sum(1 for each in outcomes if each.failure)
    if not failed:
        return OK
    if failed < len(outcomes):
        return ACCEPTED
    return INSUFFICIENT_STORAGE if ran_out_of_space else CONFLICT


def store_response(outcomes: Iterable[PartOutcome]) -> bytes:
    """Return the Store Instances Response as DICOM JSON (PS3.18 annex F).

    There is no Retrieve URL: this node stores and does not give back.
    """
    stored, failed, other = [], [], []
    for each in outcomes:
        if not each.failure:
            stored.append(_reference(each))
        elif is_uid(each.sop_class_uid) and is_uid(each.sop_instance_uid):
            failed.append(_reference(each) | _reason(each))
        else:
            other.append(_reason(each))
    sequences = {
        FAILED_SOP_SEQUENCE: failed,
        REFERENCED_SOP_SEQUENCE: stored,
        OTHER_FAILURES_SEQUENCE: other,
    }
    data_set = {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}
    return json.dumps(data_set, separators=(",", ":")).encode("ascii")


def _reference(outcome: PartOutcome) -> dict[str, Any]:
    return {
        REFERENCED_SOP_CLASS_UID: {"vr": "UI", "Value": [outcome.sop_class_uid]},
        REFERENCED_SOP_INSTANCE_UID: {"vr": "UI", "Value": [outcome.sop_instance_uid]},
    }


def _reason(outcome: PartOutcome) -> dict[str, Any]:
    return {FAILURE_REASON: {"vr": "US", "Value": [outcome.failure]}}

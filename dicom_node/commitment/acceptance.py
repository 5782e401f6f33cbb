"""Which requests and reports of storage commitment are taken, by their commands alone."""

from __future__ import annotations

from dicom_node.commitment.notices import REPORT, REQUEST
from dicom_node.commitment.vocabulary import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    REQUEST_COMMITMENT,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
)
from dicom_node.dimse import (
    INVALID_ARGUMENT,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    NO_SUCH_ACTION,
    NO_SUCH_CLASS,
    NO_SUCH_EVENT_TYPE,
    NO_SUCH_INSTANCE,
    NOT_AUTHORIZED,
    SUCCESS,
    UNRECOGNISED_OPERATION,
    Command,
)
from dicom_node.negotiation import Roles

KINDS = {N_ACTION_RQ: REQUEST, N_EVENT_REPORT_RQ: REPORT}
"""What each operation of the class brings."""

_TYPES = {N_ACTION_RQ: (REQUEST_COMMITMENT,), N_EVENT_REPORT_RQ: (ALL_COMMITTED, FAILURES_EXIST)}


def refusal(command: Command, roles: Roles | None) -> tuple[int, str]:
    """Return the status that refuses a command, with a comment, or SUCCESS (PS3.7 10.1.1, 10.1.4).

    Where the peer selected no roles it may send both: archives that send their reports without
    role selection are many.
    """
    if command.field not in KINDS:
        return UNRECOGNISED_OPERATION, "no operation of storage commitment"
    is_request = command.field == N_ACTION_RQ
    if roles is not None and not (roles.user if is_request else roles.provider):
        return NOT_AUTHORIZED, "a role that was not selected"
    if command.sop_class_uid != STORAGE_COMMITMENT:
        return NO_SUCH_CLASS, "another SOP class than was negotiated"
    if command.sop_instance_uid != WELL_KNOWN_INSTANCE:
        return NO_SUCH_INSTANCE, "not the well-known instance"
    if command.type_id not in _TYPES[command.field]:
        if is_request:
            return NO_SUCH_ACTION, "no such action type"
        return NO_SUCH_EVENT_TYPE, "no such event type"
    if not command.has_data_set:
        return INVALID_ARGUMENT, "the data set is missing"
    return SUCCESS, ""

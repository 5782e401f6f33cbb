"""The tables of the conformance statement, made from what the code does.

``python -m dicom_node.conformance deploy/conformance.md`` writes them between their markers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pydicom._uid_dict import UID_dictionary

from dicom_node import admission, dimse, hl7_conformance, upper_layer
from dicom_node.commitment import vocabulary
from dicom_node.commitment.vocabulary import (
    FAILURE_REASONS,
    MAXIMUM_INFORMATION_BYTES,
    MAXIMUM_REFERENCES,
    STORAGE_COMMITMENT,
)
from dicom_node.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.markdown import table
from dicom_node.settings import DicomSettings
from dicom_node.sop_classes import (
    DEFLATED,
    STORAGE_SOP_CLASSES,
    TRANSFER_SYNTAXES,
    VERIFICATION,
    negotiable,
)

_REJECTED_BECAUSE = {
    admission.CALLED_AE_UNKNOWN: "the called AE title is not ours (`check_called_ae_title`)",
    admission.CALLING_AE_UNKNOWN: "no line of the AE table matches title, address and certificate",
    admission.CONGESTED: "free space is below `minimum_free_bytes`, or the disk has failed",
    admission.LIMIT_EXCEEDED: (
        "`associations_per_process`, or `maximum_associations` of the peer, is reached"
    ),
}

_STATUSES = (
    (dimse.SUCCESS, "Success", "the file and its folder entry are synced to the disk", "stays"),
    (dimse.OUT_OF_RESOURCES, "Refused: Out of Resources", "no room; nothing was kept", "stays"),
    (
        dimse.OUT_OF_RESOURCES,
        "Refused: Out of Resources",
        "longer than `maximum_object_bytes`; nothing was kept",
        "A-ABORT follows",
    ),
    (
        dimse.DATA_SET_MISMATCH,
        "Error: Data Set does not match SOP Class",
        "a UID that is none, a SOP class other than negotiated, or a data set that is not the "
        "object which the command names; the bytes are in quarantine",
        "stays",
    ),
    (
        dimse.CANNOT_UNDERSTAND,
        "Error: Cannot understand",
        "the data set is not in the negotiated transfer syntax; the bytes are in quarantine",
        "stays",
    ),
    (
        dimse.UNRECOGNISED_OPERATION,
        "Failure: Unrecognized operation",
        "any operation but C-STORE and C-ECHO, and those of Storage Commitment on its context",
        "stays",
    ),
)

_ABORTS = (
    (upper_layer.UNSPECIFIED, "not specified", "a limit of time or size; an incomplete command"),
    (upper_layer.UNRECOGNISED_PDU, "unrecognized PDU", "a PDU type that the standard lacks"),
    (upper_layer.UNEXPECTED_PDU, "unexpected PDU", "a PDU or message out of order"),
    (
        upper_layer.INVALID_PARAMETER,
        "invalid PDU parameter value",
        "a request that cannot be decoded, a PDU longer than offered, a fragment that does not "
        "fit, a context that was not accepted",
    ),
)


def sop_class_table() -> str:
    """Return the SOP classes that are accepted."""
    rows = [("Verification", VERIFICATION, "")]
    rows += [("Storage Commitment Push Model", STORAGE_COMMITMENT, "")]
    rows += [(name, uid, _retired(uid)) for uid, name in STORAGE_SOP_CLASSES.items()]
    return table(("SOP class", "UID", "in the standard"), rows)


def transfer_syntax_table() -> str:
    """Return the transfer syntaxes with the condition under which they are accepted."""
    rows = [
        (name, uid, _retired(uid), "`accept_deflated`" if uid in DEFLATED else "yes")
        for uid, name in TRANSFER_SYNTAXES.items()
    ]
    return table(("transfer syntax", "UID", "in the standard", "accepted"), rows)


def identity_table() -> str:
    """Return how the node introduces itself in a negotiation."""
    settings = DicomSettings()
    taken = negotiable(settings)
    return table(
        ("item", "value"),
        (
            ("Application Context Name", "1.2.840.10008.3.1.1.1"),
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
            ("Maximum Length Received", f"{settings.maximum_pdu_size} (`maximum_pdu_size`)"),
            ("storage SOP classes by default", str(len(taken.sop_classes))),
            ("transfer syntaxes by default", str(len(taken.transfer_syntaxes))),
        ),
    )


def rejection_table() -> str:
    """Return the A-ASSOCIATE-RJ PDUs that are sent."""
    rows = [
        (*map(str, codes), reason, _REJECTED_BECAUSE[reason])
        for reason, codes in admission.REJECTIONS.items()
    ]
    return table(("result", "source", "reason", "meaning", "when"), rows)


def status_table() -> str:
    """Return the statuses of responses."""
    rows = [(f"0x{status:04X}", *rest) for status, *rest in _STATUSES]
    return table(("status", "meaning", "when", "association"), rows)


def abort_table() -> str:
    """Return the A-ABORT PDUs that are sent; the source is always the service provider (2)."""
    return table(("reason", "meaning", "when"), [(str(number), *rest) for number, *rest in _ABORTS])


_COMMITMENT_STATUSES = (
    (dimse.SUCCESS, "Success", "the request or report is a durable file", "stays"),
    (dimse.NO_SUCH_INSTANCE, "No such SOP Instance", "not the well-known instance", "stays"),
    (dimse.NO_SUCH_EVENT_TYPE, "No such event type", "N-EVENT-REPORT, not 1 or 2", "stays"),
    (
        dimse.INVALID_ARGUMENT,
        "Invalid argument value",
        "the data set is missing, cannot be read, or names no instance; a UID in it is none",
        "stays",
    ),
    (dimse.NO_SUCH_CLASS, "No such SOP class", "another SOP class than negotiated", "stays"),
    (dimse.NO_SUCH_ACTION, "No such action", "N-ACTION, not 1", "stays"),
    (dimse.NOT_AUTHORIZED, "Not authorized", "a role that the peer did not select", "stays"),
    (dimse.UNRECOGNISED_OPERATION, "Unrecognized operation", "any other operation", "stays"),
    (
        dimse.RESOURCE_LIMITATION,
        "Resource limitation",
        f"no room, more than {MAXIMUM_REFERENCES} instances, or too many requests of this peer "
        "wait",
        "stays",
    ),
    (
        dimse.RESOURCE_LIMITATION,
        "Resource limitation",
        f"a data set longer than {MAXIMUM_INFORMATION_BYTES} bytes, or the quota is used up",
        "A-ABORT follows",
    ),
)


def commitment_status_table() -> str:
    """Return the statuses of N-ACTION and N-EVENT-REPORT responses."""
    rows = [(f"0x{status:04X}", *rest) for status, *rest in _COMMITMENT_STATUSES]
    return table(("status", "meaning", "when", "association"), rows)


_FAILED_BECAUSE = {
    vocabulary.NO_SUCH_INSTANCE: (
        "all that came before the request is indexed and the index does not hold it: it never "
        "came, expired or was erased"
    ),
    vocabulary.CLASS_INSTANCE_CONFLICT: "it is held under another SOP class",
    vocabulary.PROCESSING_FAILURE: (
        "it or a rival of it lies in quarantine, its file is missing or differs from its digest, "
        "what came before the request could not be indexed within `index_wait_seconds`, or its "
        "patient was erased and `[erasure] keep_out` is about to erase it again"
    ),
    vocabulary.RESOURCE_LIMITATION: "its file cannot be read now for want of memory or descriptors",
}


def failure_reason_table() -> str:
    """Return the failure reasons that reports carry."""
    rows = [
        (f"0x{reason:04X}", FAILURE_REASONS[reason], when)
        for reason, when in _FAILED_BECAUSE.items()
    ]
    return table(("Failure Reason (0008,1197)", "meaning", "when"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "identity": identity_table,
    "rejections": rejection_table,
    "aborts": abort_table,
    "statuses": status_table,
    "commitment statuses": commitment_status_table,
    "failure reasons": failure_reason_table,
    "sop classes": sop_class_table,
    "transfer syntaxes": transfer_syntax_table,
    **hl7_conformance.TABLES,
}


def markers(name: str) -> tuple[str, str]:
    """Return the lines between which a table stands in the document."""
    return f"<!-- table: {name} -->", f"<!-- end: {name} -->"


def with_tables(document: str) -> str:
    """Return the document with every table as it must be now.

    Raises:
        ValueError: the markers of a table are missing.
    """
    for name, render in TABLES.items():
        begin, end = markers(name)
        before, _, rest = document.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the document has no markers for the table of {name}")
        document = f"{before}{begin}\n{render()}\n{end}{after}"
    return document


def _retired(uid: str) -> str:
    return "retired" if UID_dictionary.get(uid, ("",) * 4)[3] else ""


def main() -> None:
    """Bring the tables of the document named on the command line up to date."""
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

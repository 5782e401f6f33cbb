"""The identifiers and numbers of the Storage Commitment Push Model (PS3.4 Annex J.3)."""

from __future__ import annotations

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""The SOP class."""

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The one instance of it that there is."""

TRANSFER_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""Explicit, then Implicit VR Little Endian: a request cannot be a deflate bomb."""

REQUEST_COMMITMENT = 1
"""The only Action Type ID (PS3.4 J.3.2)."""

ALL_COMMITTED, FAILURES_EXIST = 1, 2
"""Event Type IDs (PS3.4 J.3.3)."""

# Failure Reason (0008,1197), PS3.3 table C.14-1.
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
SOP_CLASS_NOT_SUPPORTED = 0x0122
DUPLICATE_TRANSACTION_UID = 0x0131
RESOURCE_LIMITATION = 0x0213

FAILURE_REASONS = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such object instance",
    CLASS_INSTANCE_CONFLICT: "class/instance conflict",
    SOP_CLASS_NOT_SUPPORTED: "referenced SOP class not supported",
    DUPLICATE_TRANSACTION_UID: "duplicate transaction UID",
    RESOURCE_LIMITATION: "resource limitation",
}
"""What each reason means."""

MAXIMUM_INFORMATION_BYTES = 4 * 1024**2
"""The longest data set of a request or report that is taken."""

MAXIMUM_REFERENCES = 20_000
"""The most instances that one request or report may name."""


MOST_OPEN_REQUESTS = 1_000
"""How many requests of one peer may wait for their report before it has to wait itself."""

MOST_OPEN_REFERENCES = 400_000
"""How many instances they may name in all."""


def reason_in_words(reason: int) -> str:
    """Return what a failure reason means, for people."""
    return f"{FAILURE_REASONS.get(reason, 'a reason that the standard does not define')} " + (
        f"(0x{reason:04X})"
    )

"""Logging to standard error, one line an event, without anything about a patient."""

from __future__ import annotations

import logging

from dicom_node.repeated_logs import RepeatFilter


def configure_logging(level: int = logging.INFO) -> None:
    """Send radloop's log to standard error; libraries speak only when they warn."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(RepeatFilter())
    logging.getLogger("radloop").setLevel(level)
    # pynetdicom logs what peers send, identifiers included; its warnings add nothing to ours.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    # pydicom's warnings quote the values that it warns of.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)

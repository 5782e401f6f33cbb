"""Whether a message that could be read says anything at all.

A result without text is either no result yet, which is left alone, or a mistake of the sender,
which must not pass for an empty report.
"""

from __future__ import annotations

from dataclasses import replace

from dicom_node.hl7.parsed import DocumentAction, ParsedMessage, ParsedReport
from dicom_node.hl7.text import ContentFault

WITHOUT_RESULT = frozenset("INOYZ")
"""Statuses (tables 0123 and 0085) that come before there is a result."""

_WITHOUT_TEXT = frozenset("UWXD")
"""Statuses that need no text: U promotes what was sent before, W, X and D take it back."""


def check_usable(parsed: ParsedMessage) -> ParsedMessage:
    """Return the message, ignored with a reason where it carries no result yet.

    Raises:
        ContentFault: reports are announced and none has text.
    """
    if not parsed.reports or any(_says_something(each) for each in parsed.reports):
        return parsed
    statuses = sorted({each.result_status for each in parsed.reports})
    if all(status in WITHOUT_RESULT for status in statuses):
        return replace(parsed, ignored=f"result status {', '.join(statuses)} carries no result")
    raise ContentFault("OBX", 5, 101, "no OBX of type TX, FT, ST, CE, CWE or ED holds text")


def _says_something(report: ParsedReport) -> bool:
    if report.result_status in WITHOUT_RESULT:
        return False
    if any(part.text.strip() or part.document is not None for part in report.parts):
        return True
    if report.action is DocumentAction.CANCEL:
        return True
    said = {report.result_status, *(part.status for part in report.parts)} - {""}
    return bool(said & _WITHOUT_TEXT)

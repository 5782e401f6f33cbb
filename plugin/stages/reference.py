"""Stage: labels by human readers come in from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labeling.reference import import_reference_labels
from plugin.context import Context


def import_references(context: Context, path: str, sample: str = "") -> dict[str, Any]:
    """Import reference labels (CSV or JSONL); the same file twice is harmless.

    Args:
        context: the open node.
        path: of the file.
        sample: the beginning of the digest of the sample that was read; empty: of none.

    Returns:
        ``imported``, ``unchanged``, ``tied`` (known before, of the sample from now on), ``unread``
        (rows of a worksheet without a state), ``unknown_subjects`` (by level, of which the node
        holds nothing yet) and ``problems`` (line and reason of each refused row).
    """
    with context.database.write() as session:
        result = import_reference_labels(
            session, Path(path), context.clock, context.schema(), sample
        )
    return {
        "imported": result.imported,
        "unchanged": result.unchanged,
        "tied": result.tied,
        "unread": result.unread,
        "unknown_subjects": dict(result.unknown),
        "problems": [{"line": line, "reason": reason} for line, reason in result.problems],
    }

"""Stage: labels by human readers come in from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labeling.reference import import_reference_labels
from plugin.context import Context


def import_references(context: Context, path: str) -> dict[str, Any]:
    """Import reference labels (CSV or JSONL); the same file twice is harmless.

    Returns:
        ``imported``, ``unchanged``, ``unknown_subjects`` (by level, of which the node holds
        nothing yet) and ``problems`` (line and reason of each refused row).
    """
    with context.database.write() as session:
        result = import_reference_labels(session, Path(path), context.clock, context.schema())
    return {
        "imported": result.imported,
        "unchanged": result.unchanged,
        "unknown_subjects": dict(result.unknown),
        "problems": [{"line": line, "reason": reason} for line, reason in result.problems],
    }

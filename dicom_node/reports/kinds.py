"""What a section of a report is about, and which sections may label."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a section of a report is about."""

    TITLE = "title"
    HISTORY = "history"
    TECHNIQUE = "technique"
    COMPARISON = "comparison"
    FINDINGS = "findings"
    IMPRESSION = "impression"
    ADDENDUM = "addendum"
    RECOMMENDATION = "recommendation"
    BODY = "body"


READ = frozenset({Kind.FINDINGS, Kind.IMPRESSION, Kind.ADDENDUM, Kind.BODY})
"""Sections that may label."""

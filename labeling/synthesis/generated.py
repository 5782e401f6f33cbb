"""A generated report and the truth about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from labeling.vocabulary import State

Place = tuple[str, str]
"""Observation and site."""

Span = tuple[int, int]
"""Start and end (exclusive) in characters of the report's text."""

Split = Literal["train", "test"]
"""Whose phrasings were used: no phrasing of one split occurs in the other."""


@dataclass(frozen=True)
class GeneratedReport:
    """A report that no person wrote, and what it says.

    Args:
        id: tells schema, seed, split and number; the same arguments give the same report.
        text: as a report is stored.
        states: what the text says of each observation of the schema, at ``WHOLE`` and at each of
            the observation's sites; every place is there.
        severities: by place, the id of the step of the observation's scale, where the text says it.
        locations: by place, ids of the schema's locations that the text names.
        evidence: by place, every range of the text that carries a state other than not mentioned.
        own: by place, what its own words say, where a child's words say more.
        split: whose phrasings it uses.
        style: how it is laid out ("clinical", "terse", "narrative", ...).
    """

    id: str
    text: str
    states: Mapping[Place, State]
    severities: Mapping[Place, str] = field(default_factory=dict)
    locations: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)
    evidence: Mapping[Place, tuple[Span, ...]] = field(default_factory=dict)
    own: Mapping[Place, State] = field(default_factory=dict)
    split: Split = "train"
    style: str = ""

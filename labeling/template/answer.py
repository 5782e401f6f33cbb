"""Reads a generated JSON object leniently by entry and strictly within one.

A text that was cut off still answers what it had answered before. What is missing, stands twice
or has another form is no answer, and never "false".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labeling.template.form import (
    LOCATIONS,
    SENTENCES,
    SEVERITY,
    SITES,
    STATE,
    STATES,
)
from labeling.vocabulary import Observation, State

MISSING = "the template has no answer for it"
UNREADABLE = "the template's answer is not one of those that it allows"

_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Member:
    """A value of a JSON object and where it stands: a half-open range of the text."""

    start: int
    end: int
    value: Any


@dataclass(frozen=True)
class Stated:
    """What the template says at one site: a state and where it stands, or why there is none."""

    state: State = State.FAILED
    start: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Finding:
    """What the template says of one observation.

    Args:
        whole: of the whole report.
        list_start: where the list of sentences stands in the text; -1: there is none.
        sentences: indices of sentences, the most telling first.
        sites: by site; empty where the whole is not present or uncertain.
        severity, locations: ids of the observation; empty: not said.
    """

    whole: Stated
    list_start: int = -1
    sentences: tuple[int, ...] = ()
    sites: Mapping[str, Stated] = field(default_factory=dict)
    severity: str = ""
    locations: tuple[str, ...] = ()


def members(text: str, start: int = 0) -> dict[str, Member]:
    """Return the members of the JSON object that begins at or after ``start``.

    Reading stops where the text stops being JSON; a key that stands twice is left out.
    """
    found: dict[str, Member] = {}
    twice: set[str] = set()
    place = text.find("{", start)
    while 0 <= place < len(text):
        try:
            key, place = _DECODER.raw_decode(text, _skip(text, place + 1))
            place = _skip(text, place)
            if not isinstance(key, str) or text[place : place + 1] != ":":
                break
            first = _skip(text, place + 1)
            value, end = _DECODER.raw_decode(text, first)
        except (ValueError, RecursionError):
            break
        if key in found:
            twice.add(key)
        found[key] = Member(first, end, value)
        place = _skip(text, end)
        if text[place : place + 1] != ",":
            break
    return {key: member for key, member in found.items() if key not in twice}


def read_finding(
    text: str, entries: Mapping[str, Member], observation: Observation, sentences: int
) -> Finding:
    """Return what a template says of an observation.

    Args:
        text: what was generated.
        entries: its members.
        observation: whose entry is read.
        sentences: how many sentences the report has; numbers in the template begin with 1.
    """
    entry = entries.get(observation.id)
    if entry is None:
        return Finding(Stated(reason=MISSING))
    if not isinstance(entry.value, dict):
        return Finding(Stated(reason=UNREADABLE))
    inner = members(text, entry.start)
    listed = inner.get(SENTENCES)
    whole = _stated(inner.get(STATE))
    said = whole.state in {State.PRESENT, State.UNCERTAIN}
    return Finding(
        whole=whole,
        list_start=-1 if listed is None else listed.start,
        sentences=_numbers(listed, sentences),
        sites=_sites(text, inner.get(SITES), observation) if said else {},
        severity=_one_of(inner.get(SEVERITY), {each.id for each in observation.severities}),
        locations=_some_of(inner.get(LOCATIONS)) if said else (),
    )


def _stated(member: Member | None) -> Stated:
    if member is None:
        return Stated(reason=MISSING)
    for value, state in STATES:
        # 1 == True in Python, and 1 is not an answer.
        if type(value) is type(member.value) and value == member.value:
            return Stated(state, member.start)
    return Stated(reason=UNREADABLE)


def _sites(text: str, member: Member | None, observation: Observation) -> dict[str, Stated]:
    if member is None or not isinstance(member.value, dict):
        reason = MISSING if member is None else UNREADABLE
        return {site: Stated(reason=reason) for site in observation.sites}
    inner = members(text, member.start)
    return {site: _stated(inner.get(site)) for site in observation.sites}


def _numbers(member: Member | None, sentences: int) -> tuple[int, ...]:
    given = member.value if member is not None and isinstance(member.value, list) else []
    valid = [n - 1 for n in given if type(n) is int and 1 <= n <= sentences]
    return tuple(dict.fromkeys(valid))


def _one_of(member: Member | None, known: set[str]) -> str:
    value = member.value if member is not None else None
    return value if isinstance(value, str) and value in known else ""


def _some_of(member: Member | None) -> tuple[str, ...]:
    given = member.value if member is not None and isinstance(member.value, list) else []
    return tuple(dict.fromkeys(each for each in given if isinstance(each, str)))


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _BLANK:
        place += 1
    return place

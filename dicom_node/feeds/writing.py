"""Profiles as TOML with a comment for each line: why it is so, and what is to be decided."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.proposal import Proposal

_WIDTH = 96


DECIDE = "DECIDE"
"""Begins a line about a choice that a sample could not make."""


def write_proposal(proposal: Proposal) -> str:
    """Return a proposed profile as TOML: every key that was looked at, with its reasons."""
    lines = [
        "# Feed profile, proposed from a sample. Nothing links until it is accepted.",
        "# What begins with DECIDE is a choice that the sample could not make.",
        *_comments(proposal.notes),
        "",
    ]
    said = proposal.profile.model_dump(mode="json")
    standard = FeedProfile(sender=proposal.profile.sender).model_dump(mode="json")
    tables: list[str] = []
    for key, value in said.items():
        reasons = proposal.reasons.get(key, ())
        questions = proposal.questions.get(key, ())
        differs = value != standard[key] or key == "sender"
        if not (reasons or questions or differs):
            continue
        entry = [*_comments(reasons), *_comments(f"{DECIDE}: {each}" for each in questions)]
        if isinstance(value, dict) and not value:
            lines += [*entry, f"# no [{key}] is needed", ""]
        elif isinstance(value, dict):
            tables += [*entry, *_table(key, value), ""]
        else:
            entry.append(f"{'' if differs else '# '}{key} = {_value(value)}")
            lines += [*entry, ""]
    return "\n".join([*lines, *tables]).rstrip("\n") + "\n"


def write_profile(profile: FeedProfile, heading: str = "") -> str:
    """Return a profile as TOML, without the keys that are as the standard says.

    Args:
        profile: any profile.
        heading: the name of a table that it is put into; empty: none.
    """
    standard = FeedProfile.model_construct(sender="").model_dump(mode="json")
    said = {
        key: value
        for key, value in profile.model_dump(mode="json").items()
        if value != standard[key] or key == "sender"
    }
    prefix = f"{heading}." if heading else ""
    lines = [f"[{heading}]"] if heading else []
    lines += [f"{key} = {_value(value)}" for key, value in said.items() if _is_plain(value)]
    for key, value in said.items():
        if not _is_plain(value):
            lines += ["", *_table(prefix + key, value)]
    return "\n".join(lines) + "\n"


def text_value(text: str) -> str:
    """Return a text as a TOML basic string; every character outside ASCII is escaped."""
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return "".join(char if char.isascii() else _escaped(char) for char in quoted)


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return text_value(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in value)}]"
    return str(value)


def _table(name: str, values: Mapping[str, str]) -> list[str]:
    return [
        f"[{name}]",
        *(f"{text_value(key)} = {text_value(value)}" for key, value in values.items()),
    ]


def _comments(texts: Iterable[str]) -> list[str]:
    """Wrap comments; a line break in a text cannot end a comment."""
    return [f"# {line}" for text in texts for line in textwrap.wrap(_one_line(text), _WIDTH)]


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)

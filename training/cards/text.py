"""Pieces of Markdown: cells that cannot break it, tables, figures with their intervals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

DIGITS = 3
"""Decimals of a figure; the JSON holds all of it."""

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~!&])")


def plain(value: Any) -> str:
    """Return a value as text that is text in Markdown, whatever a peer or a person wrote."""
    if value is None or value == "":
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        small = 0 < abs(value) < 10**-DIGITS
        return f"{value:.{DIGITS}g}" if small else f"{value:.{DIGITS}f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{escaped(key)} {plain(each)}" for key, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(plain(each) for each in value) or "none"
    return escaped(value)


def escaped(value: object) -> str:
    """Return words on one line, with what means something in Markdown or HTML taken literally."""
    words = str(value).replace("_", " ") if _is_name(value) else str(value)
    text = " ".join("".join(each if each.isprintable() else " " for each in words).split())
    return _SPECIAL.sub(r"\\\1", text)


def _is_name(value: object) -> bool:
    """Tell whether a text is a name of ours, such as "balanced_accuracy"."""
    return re.fullmatch(r"[a-z]+(_[a-z]+)+", str(value)) is not None


def code(value: Any) -> str:
    """Return a digest or name as code."""
    if value is None or value == "":
        return "not known"
    return "`" + re.sub(r"[`\s|]", " ", str(value)) + "`"


def estimate(told: Mapping[str, Any] | None) -> str:
    """Return "0.912 (0.850 to 0.960)", or "none" where there is no value."""
    if told is None or told.get("value") is None:
        return "none"
    low, high = told.get("low"), told.get("high")
    between = f" ({plain(low)} to {plain(high)})" if low is not None else " (no interval)"
    return plain(told["value"]) + between


def table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> str:
    """Return rows as a table.

    Args:
        rows: values by key.
        columns: head by key, in order; None: every key of the first row by its own name.
    """
    rows = list(rows)
    if not rows:
        return "None."
    heads = columns or {key: key.replace("_", " ") for key in rows[0]}
    lines = [list(heads.values()), ["---"] * len(heads)]
    lines += [[_cell(row.get(key)) for key in heads] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping) and "value" in value:
        return estimate(value)
    return "" if value == "" else plain(value)


def listed(items: Sequence[str]) -> str:
    """Return lines of a list, which are Markdown already."""
    return "\n".join(f"- {each}" for each in items) if items else "None."


def named(pairs: Mapping[str, str]) -> str:
    """Return a list of names and values, which are Markdown already."""
    return listed([f"**{name}:** {value}" for name, value in pairs.items()])

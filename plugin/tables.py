"""Results of commands as tables for a person; the same values go out as JSON with --json."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from plugin.context import Progress


@contextmanager
def progress_line() -> Iterator[Progress]:
    """Show progress on standard error: one living line on a terminal, else a line each."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: console.print(line, markup=False, soft_wrap=True)
        return
    with console.status("working") as status:
        yield status.update


def print_result(result: dict[str, Any], console: Console | None = None) -> None:
    """Print a JSON-ready result: single values as lines, lists of rows as tables."""
    console = console or Console()
    for key, value in result.items():
        title = key.replace("_", " ")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            _print_rows(title, value, console)
        elif isinstance(value, dict) and value:
            console.print(f"{title}:")
            for name, each in value.items():
                console.print(f"  {name}: {_plain(each)}", markup=False)
        else:
            console.print(f"{title}: {_plain(value)}", markup=False)


_FRAME = 3  # columns of the screen that a column of a table takes beside its content
_MOST_PARTS = 8


def _print_rows(title: str, rows: list[dict[str, Any]], console: Console) -> None:
    """Print rows as a table; one that is too wide in parts that begin with the same columns."""
    rows = [_with_intervals(row) for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    widths = {name: max(_width(name, rows), len(name)) for name in names}
    if sum(width + _FRAME for width in widths.values()) >= console.width:
        widths = {name: _width(name, rows) for name in names}
    parts = _parts(_leading(names, rows), widths, console.width - 1)
    if parts is None:
        _print_one_by_one(title, rows, console)
        return
    for number, part in enumerate(parts):
        table = Table(title=None if number else title, title_justify="left")
        for name in part:
            table.add_column(name.replace("_", " "), width=widths[name])
        for row in rows:
            table.add_row(*(_cell(row.get(name)) for name in part))
        console.print(table)


def _parts(leading: list[str], widths: dict[str, int], space: int) -> list[list[str]] | None:
    """Return the columns of each part of a table, or None where some value fits into none."""
    taken = sum(widths[name] + _FRAME for name in leading)
    parts: list[list[str]] = []
    left = -1
    for name in [name for name in widths if name not in leading]:
        needed = widths[name] + _FRAME
        if needed > left:
            parts.append([*leading])
            left = space - taken
        if needed > left or len(parts) > _MOST_PARTS:
            return None
        parts[-1].append(name)
        left -= needed
    if not parts and taken <= space:
        return [leading]
    return parts or None


def _leading(names: list[str], rows: list[dict[str, Any]]) -> list[str]:
    """Return the first columns that tell rows apart; the first alone where none do."""
    for count in range(1, len(names)):
        told = {tuple(_plain(row.get(name)) for name in names[:count]) for row in rows}
        if len(told) == len(rows):
            return names[:count]
    return names[:1]


def _width(name: str, rows: list[dict[str, Any]]) -> int:
    """Return how wide a column must be so that no value and no word of its head is cut."""
    head = max(map(cell_len, name.split("_")))
    return max([head, *(cell_len(_plain(row.get(name))) for row in rows)])


def _with_intervals(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row in which a value and its interval are one: ``0.912 (0.850, 0.960)``.

    The ends of ``x`` stand as ``x_low`` and ``x_high``, or as ``low`` and ``high`` behind it.
    """
    ends = {name: (f"{name}_low", f"{name}_high") for name in row}
    ends |= {before: ("low", "high") for before, name in pairwise(row) if name == "low"}
    spans = {name: pair for name, pair in ends.items() if all(end in row for end in pair)}
    dropped = {end for pair in spans.values() for end in pair}
    return {
        name: _interval(value, *(row[end] for end in spans[name])) if name in spans else value
        for name, value in row.items()
        if name not in dropped
    }


def _interval(value: Any, low: Any, high: Any) -> str:
    known = None not in (value, low, high)
    return f"{_plain(value)} ({_plain(low)}, {_plain(high)})" if known else _plain(value)


def _print_one_by_one(title: str, rows: list[dict[str, Any]], console: Console) -> None:
    """Print rows that no line holds, a value a line: a value that is cut is of no use."""
    console.print(f"{title}:", markup=False)
    for number, row in enumerate(rows, start=1):
        for place, (name, value) in enumerate(row.items()):
            lead = f"{number:>5}. " if place == 0 else " " * 7
            text = f"{lead}{name.replace('_', ' ')}: {_plain(value)}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)


def _cell(value: Any) -> Text:
    """Return a value as plain text: what peers sent must not become markup."""
    return Text(_plain(value))


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items()) or "none"
    return _shown(str(value)) if value != "" else "none"


def _shown(text: str) -> str:
    """Return text without what would steer a terminal; ends of lines stay."""
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text)

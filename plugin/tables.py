"""Results of commands as tables for a person; the same values go out as JSON with --json."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
        elif isinstance(value, dict):
            console.print(f"{title}:")
            for name, each in value.items():
                console.print(f"  {name}: {_plain(each)}", markup=False)
        else:
            console.print(f"{title}: {_plain(value)}", markup=False)


_ANY_WIDTH = 10_000


def _print_rows(title: str, rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    if Console(width=_ANY_WIDTH).measure(table).maximum <= console.width:
        console.print(table)
    else:
        _print_one_by_one(title, rows, console)


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
    return str(value)

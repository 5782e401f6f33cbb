"""What an attack showed, as a row of a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

KEPT, BROKEN = "kept", "broken"
NOT_APPLICABLE, NOT_OBSERVABLE = "not applicable", "not observable"
_STYLE = {KEPT: "green", BROKEN: "red"}


@dataclass(frozen=True)
class Finding:
    """The outcome of one attack on one target.

    Attributes:
        row: D1 to D13.
        attack: what was done.
        required: what had to happen.
        happened: what happened.
        figure: the figures in short.
        verdict: KEPT, BROKEN, NOT_APPLICABLE or NOT_OBSERVABLE.
    """

    row: str
    attack: str
    required: str
    happened: str
    figure: str
    verdict: str


def verdict(kept: bool, *, seen: bool = True) -> str:
    """Return the verdict on a requirement that was or could not be observed."""
    if not seen:
        return NOT_OBSERVABLE
    return KEPT if kept else BROKEN


def print_findings(name: str, findings: Sequence[Finding], console: Console) -> None:
    """Print the findings on one target."""
    table = Table(title=f"Hostile modality against {name}", show_lines=True)
    for column in ("", "attack", "required", "happened", "figure", "verdict"):
        table.add_column(column, overflow="fold")
    for each in findings:
        cells = (each.row, each.attack, each.required, each.happened, each.figure)
        table.add_row(*map(_plain, cells), f"[{_STYLE.get(each.verdict, 'dim')}]{each.verdict}")
    console.print(table)


def print_comparison(results: Mapping[str, Sequence[Finding]], console: Console) -> None:
    """Print one table with a column for each target."""
    table = Table(title="Hostile modality: every target", show_lines=True)
    table.add_column("")
    table.add_column("attack", overflow="fold")
    for name in results:
        table.add_column(name, overflow="fold")
    found: dict[tuple[str, str], dict[str, Finding]] = {}
    for name, findings in results.items():
        for each in findings:
            found.setdefault((each.row, each.attack), {})[name] = each
    for (row, attack), cells in sorted(found.items(), key=lambda item: int(item[0][0][1:])):
        table.add_row(row, _plain(attack), *(_cell(cells.get(name)) for name in results))
    console.print(table)


def summary(results: Mapping[str, Sequence[Finding]]) -> dict[str, Any]:
    """Return everything, JSON-ready."""
    return {
        "hostile_modality": {
            name: {
                "kept": sum(each.verdict == KEPT for each in findings),
                "broken": [f"{e.row} {e.attack}" for e in findings if e.verdict == BROKEN],
                "findings": [asdict(each) for each in findings],
            }
            for name, findings in results.items()
        }
    }


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return "-"
    style = _STYLE.get(finding.verdict, "dim")
    return f"[{style}]{finding.verdict}[/]\n{_plain(finding.figure)}"


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
